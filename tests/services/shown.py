"""A graph of services with something of everything that the status page shows. Its texts try to be markup."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageOps
from pydantic import BaseModel, Field

import orchestrator
from orchestrator.errors import RequestFailed

TRICK = '<img src=x onerror="window.tricked=true"><script>window.tricked=true</script>'


class Box(BaseModel):
    """A part of a picture."""

    left: int = 0
    width: int = Field(ge=1)


class Tricky(RequestFailed):
    status = 422


@orchestrator.service
class Counter:
    __doc__ = f"Counts words. {TRICK}"

    @orchestrator.api
    def count(self, text: str) -> int:
        return len(text.split())


@orchestrator.service
class Shown:
    __doc__ = f"Shows everything. {TRICK}"
    counter = orchestrator.depends(Counter)

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.left = 0

    @orchestrator.api
    async def describe(
        self,
        text: str,
        times: int = Field(2, ge=1, le=5),
        style: Literal["plain", "loud"] = "plain",
        reverse: bool = False,
        box: Box | None = None,
        number: int | None = None,
    ) -> dict[str, Any]:
        """Says what it was given."""
        words = await self.counter.to_async.count(text)
        return {
            "text": text,
            "times": times,
            "style": style,
            "reverse": reverse,
            "box": box,
            "number": number,
            "words": words,
        }

    @orchestrator.api
    async def trick(self) -> dict[str, str]:
        return {"trick": TRICK}

    @orchestrator.api
    async def fail(self) -> str:
        raise Tricky(TRICK)

    @orchestrator.api
    async def rows(self, count: int = 3) -> list[dict[str, Any]]:
        return [{"name": f"row {number}", "value": number * 1.5} for number in range(count)]

    @orchestrator.api
    async def mirror(self, image: Image.Image, turn: bool = False) -> Image.Image:
        """Turns a picture."""
        return image.transpose(Image.Transpose.ROTATE_90) if turn else ImageOps.mirror(image)

    @orchestrator.api
    async def sizes(self, files: list[Path], note: str = "") -> list[Any]:
        return [note, *[len(file.read_bytes()) for file in files]]

    @orchestrator.api
    async def story(self) -> AsyncGenerator[str, None]:
        """Waits in its middle until it is told to go on."""
        self.told.clear()
        yield "Once upon "
        await self.told.wait()
        yield "a time."

    @orchestrator.api
    async def go_on(self) -> None:
        self.told.set()

    @orchestrator.api
    async def numbers(self) -> AsyncGenerator[dict[str, int], None]:
        """Never ends by itself."""
        number = 0
        try:
            while True:
                yield {"number": number}
                number += 1
                await asyncio.sleep(0.02)
        finally:
            self.left += 1

    @orchestrator.api
    async def were_left(self) -> int:
        return self.left


@orchestrator.service
class AtHome:
    """Answers `/` itself."""

    @orchestrator.api(route="/")
    def home(self) -> str:
        return "mine"

    @orchestrator.api(route="/status.json")
    def status(self) -> str:
        return "mine, too"
