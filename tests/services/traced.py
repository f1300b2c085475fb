"""Three services, one below the other, with a model below the last; the root on the front-end or in Triton."""

import time
from collections.abc import AsyncGenerator, Iterator

import numpy as np

import orchestrator
from orchestrator.errors import RequestFailed
from orchestrator.models import Onnx


class Teapot(RequestFailed):
    status = 418


@orchestrator.service
class Leaf:
    both = Onnx("both.onnx")

    @orchestrator.api
    def add(self, a: float, b: float) -> float:
        row = np.array([[a, 0]], np.float32)
        return float(self.both(row, np.full_like(row, b), outputs="total")[0, 0])

    @orchestrator.api
    def fail(self, how: str) -> float:
        raise Teapot("a secret") if how == "refused" else ValueError("a secret")

    @orchestrator.api
    def count(self, to: int, pause_s: float) -> Iterator[int]:
        for number in range(to):
            yield number
            time.sleep(pause_s)


@orchestrator.service
class Middle:
    leaf = orchestrator.depends(Leaf)

    @orchestrator.api
    async def twice(self, x: float) -> float:
        return float(await self.leaf.to_async.add(x, await self.leaf.to_async.add(x, 0)))

    @orchestrator.api
    async def fail(self, how: str) -> float:
        return float(await self.leaf.to_async.fail(how))


@orchestrator.service
class Root:
    middle = orchestrator.depends(Middle)
    leaf = orchestrator.depends(Leaf)

    @orchestrator.api
    async def through(self, x: float) -> float:
        return float(await self.middle.twice(x))

    @orchestrator.api
    async def fail(self, how: str) -> float:
        return float(await self.middle.fail(how))

    @orchestrator.api
    async def count(self, to: int, pause_s: float = 0, break_after: int | None = None) -> AsyncGenerator[int, None]:
        async for number in self.leaf.to_async.count(to, pause_s):
            if number == break_after:
                raise Teapot("a secret")
            yield number


@orchestrator.service(placement="triton")
class RootInTriton(Root):
    pass
