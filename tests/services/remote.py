"""Services that are called from elsewhere by `depends(url=...)`, and those that call them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import numpy as np

import orchestrator
from orchestrator.errors import Overloaded, RequestFailed


class FarRefused(RequestFailed):
    status = 451


@orchestrator.service
class Far:
    """Tells what it has seen of its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.ended: list[str] = []

    @orchestrator.api
    async def seen(self, ctx: orchestrator.Context) -> dict[str, Any]:
        self.calls += 1
        headers = ctx.request.headers
        return {
            "calls": self.calls,
            "id": ctx.request.request_id,
            "trace": headers.get("traceparent"),
            "left_s": ctx.time_left,
            "ended": self.ended,
        }

    @orchestrator.api
    async def wait(self, name: str, seconds: float = 30.0) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.ended.append(name)
            raise
        return name

    @orchestrator.api
    def add(self, a: int, b: int = 1) -> int:
        return a + b

    @orchestrator.api
    def double(self, rows: np.ndarray) -> np.ndarray:
        return rows * 2

    @orchestrator.api
    async def words(self, text: str, fail: bool = False) -> AsyncGenerator[str, None]:
        for word in text.split(" "):
            yield word
        if fail:
            raise FarRefused("no more words")

    @orchestrator.api
    async def ticks(self, name: str) -> AsyncGenerator[int, None]:
        try:
            for number in range(10_000):
                yield number
                await asyncio.sleep(0.01)
        finally:
            self.ended.append(name)

    @orchestrator.api
    def fail(self, how: str) -> str:
        if how == "refused":
            raise FarRefused("not for you")
        if how == "busy":
            raise Overloaded("too much", retry_after_s=7)
        raise ValueError("a secret")


@orchestrator.service
class Waiting:
    """One whose method `ready` has the name of something of ours."""

    @orchestrator.api
    def ready(self) -> str:
        return "yes"


def callers_of(url: str, cls: type | None) -> tuple[type, type]:
    """An async service and a sync one that call what is at a URL."""

    @orchestrator.service
    class Near:
        far = orchestrator.depends(cls, url=url)

        @orchestrator.api
        async def seen(self, after_s: float = 0.0) -> dict[str, Any]:
            await asyncio.sleep(after_s)
            return await self.far.to_async.seen()

        @orchestrator.api
        async def late(self) -> str:
            """Calls when nobody waits any more, and says what came of it."""
            await asyncio.sleep(0)
            time.sleep(0.3)  # noqa: ASYNC251
            await self.far.to_async.seen()
            return "called"

        @orchestrator.api
        async def wait(self, name: str) -> str:
            return await self.far.to_async.wait(name)

        @orchestrator.api
        async def ticks(self, name: str) -> AsyncGenerator[int, None]:
            async for number in self.far.to_async.ticks(name):
                yield number

        @orchestrator.api
        async def fail(self, how: str) -> str:
            return await self.far.to_async.fail(how)

        @orchestrator.api
        async def blocks(self, a: int) -> int:
            return self.far.to_sync.add(a)

    @orchestrator.service(placement="frontend")
    class NearSync:
        far = orchestrator.depends(cls, url=url)

        @orchestrator.api
        def seen(self, after_s: float = 0.0) -> dict[str, Any]:
            time.sleep(after_s)
            return self.far.to_sync.seen()

        @orchestrator.api
        def wait(self, name: str) -> str:
            return self.far.to_sync.wait(name)

        @orchestrator.api
        def ticks(self, name: str) -> Iterator[int]:
            yield from self.far.ticks(name)

        @orchestrator.api
        def fail(self, how: str) -> str:
            return self.far.fail(how)

    return Near, NearSync
