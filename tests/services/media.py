"""Every way in and every way out that is not plain JSON; most APIs give back what they were given."""

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

import orchestrator
from orchestrator.errors import RequestFailed
from orchestrator.validators import ContentType, DataframeSchema, DType, Shape


class Point(BaseModel):
    x: int = 0
    label: str = "here"


@orchestrator.service
class Media:
    """Files, images, tables, arrays, streams."""

    @orchestrator.api
    def size(self, image: Image.Image, prefix: str = "") -> str:
        """How large an image is."""
        return f"{prefix}{image.format} {image.width}x{image.height}"

    @orchestrator.api
    def flip(self, image: Image.Image) -> Image.Image:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    @orchestrator.api
    def copy(self, file: Path) -> Path:
        return file

    @orchestrator.api
    def sizes(self, files: list[Path], labels: list[str] | None = None) -> list[Any]:
        return [[len(file.read_bytes()) for file in files], labels]

    @orchestrator.api
    def pair(self, file: Path) -> list[Path]:
        return [file, file]

    @orchestrator.api
    def song(self, audio: Annotated[Path, ContentType("audio/*")]) -> int:
        return len(audio.read_bytes())

    @orchestrator.api
    def maybe(self, image: Image.Image | None = None) -> Image.Image | None:
        return image

    @orchestrator.api
    def raw(self, data: bytes) -> bytes:
        return data

    @orchestrator.api
    def page(self, title: str) -> Annotated[str, ContentType("text/html")]:
        return f"<h1>{title}</h1>"

    @orchestrator.api
    def report(self, name: str, ctx: orchestrator.Context) -> Path:
        path = Path(ctx.temp_dir) / (name.replace("/", "").replace("\0", "")[:20].strip(".") or "x")
        path.write_text("a,b\n1,2\n")
        return path

    @orchestrator.api
    def mixed(
        self,
        text: str,
        number: float,
        flag: bool,
        point: Point,
        words: list[str],
        either: int | str,
        file: Path | None = None,
    ) -> list[Any]:
        return [text, number, flag, point.model_dump(), words, either, file and len(file.read_bytes())]

    @orchestrator.api
    def spread(self, first: int, *more: int, **named: str) -> list[Any]:
        return [first, list(more), named]

    @orchestrator.api
    def double(self, rows: Annotated[NDArray[np.float32], Shape((-1, 2))]) -> NDArray[np.float32]:
        return rows * 2

    @orchestrator.api
    def words(self, texts: Annotated[np.ndarray, DType("str")]) -> np.ndarray:
        return texts

    @orchestrator.api
    def total(self, frame: pd.DataFrame) -> dict[str, float]:
        return {str(name): float(total) for name, total in frame.sum(numeric_only=True).items()}

    @orchestrator.api
    def frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame

    @orchestrator.api
    def columns(self, frame: pd.DataFrame) -> Annotated[pd.DataFrame, DataframeSchema(orient="columns")]:
        return frame

    @orchestrator.api
    def answer(self, status: int, ctx: orchestrator.Context, header: str = "", value: str = "") -> str:
        ctx.response.status_code = status
        if header:
            ctx.response.headers.append(header, value)
            ctx.response.headers.append(header, value + "!")
        ctx.response.set_cookie("first", "1")
        ctx.response.set_cookie("second", "a b", path="/x", httponly=True, secure=True, samesite="strict", max_age=60)
        return "done"

    @orchestrator.api
    def asked(self, ctx: orchestrator.Context) -> dict[str, Any]:
        request = ctx.request
        client = request.client
        return {
            "method": request.method,
            "path": request.url.path,
            "query": dict(request.query_params),
            "header": request.headers.getlist("x-two"),
            "client": client.host if client else None,
            "id": request.request_id,
        }

    @orchestrator.api
    def teapot(self) -> str:
        raise Teapot("short and stout")

    @orchestrator.api
    def root_text(self, text: str, /) -> str:
        return text

    @orchestrator.api
    def root_bytes(self, data: bytes, /) -> bytes:
        return data

    @orchestrator.api
    def root_file(self, file: Path, /) -> Path:
        return file

    @orchestrator.api
    def root_image(self, image: Image.Image, /) -> str:
        return f"{image.format} {image.width}x{image.height}"

    @orchestrator.api
    def root_model(self, point: Point, /) -> Point:
        return point

    @orchestrator.api
    def root_list(self, numbers: list[int], /) -> int:
        return sum(numbers) % 1000

    @orchestrator.api
    def root_array(self, rows: NDArray[np.int64], /) -> NDArray[np.int64]:
        return rows

    @orchestrator.api
    def root_frame(self, frame: pd.DataFrame, /) -> pd.DataFrame:
        return frame

    @orchestrator.api
    def root_default(self, point: Point = Point(x=7), /) -> Point:  # noqa: B008
        return point


class Teapot(RequestFailed):
    status = 418


@orchestrator.service
class Batches:
    """Images, one a row."""

    @orchestrator.api(batchable=True, max_batch_size=2)
    def sizes(self, images: list[Image.Image]) -> list[str]:
        return [f"{image.width}x{image.height}" for image in images]

    @orchestrator.api(batchable=True, max_batch_size=2)
    def flip(self, images: list[Image.Image]) -> list[Image.Image]:
        return [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]


@orchestrator.service
class Streams:
    """Streams of every kind of chunk."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    @orchestrator.api
    def text(self, count: int = 3, fail: bool = False) -> Iterator[str]:
        for number in range(count):
            yield f"line {number}\n"
        if fail:
            raise RuntimeError("broken")

    @orchestrator.api
    def content(self) -> Iterator[bytes]:
        yield b"\x00\xff"
        yield b"\x01"

    @orchestrator.api
    async def numbers(self, count: int = 3, fail: bool = False) -> AsyncGenerator[int, None]:
        for number in range(count):
            yield number
        if fail:
            raise Teapot("short and stout")

    @orchestrator.api
    def arrays(self) -> Iterator[NDArray[np.float32]]:
        yield np.ones((1, 2), np.float32)
        yield np.zeros((2, 1), np.float32)

    @orchestrator.api
    def events(self) -> Annotated[Iterator[str], ContentType("text/event-stream")]:
        yield "data: one\n\n"
        yield "data: two\n\n"

    @orchestrator.api
    async def forever(self) -> AsyncGenerator[str, None]:
        import asyncio

        try:
            while True:
                yield "tick\n"
                await asyncio.sleep(0.02)
        finally:
            self.closed.append("forever")

    @orchestrator.api
    async def late(self) -> AsyncGenerator[str, None]:
        import asyncio

        try:
            await asyncio.sleep(30)
            yield "never\n"
        finally:
            self.closed.append("late")

    @orchestrator.api
    def signed(self, ctx: orchestrator.Context, status: int = 202) -> Iterator[str]:
        ctx.response.status_code = status
        ctx.response.headers["x-signed"] = "yes"
        yield "a"

    @orchestrator.api
    async def history(self) -> list[str]:
        return self.closed
