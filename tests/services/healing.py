"""Services that die and hang when they are asked to. The models `left.onnx` and `right.onnx` lie beside them."""

import asyncio
import os
import time
from collections.abc import AsyncIterator

import numpy as np

import orchestrator
from orchestrator.models import Onnx

VERSION = "a"


@orchestrator.service(workers=2)
class Steady:
    left = Onnx("left.onnx", max_batch_size=4)

    @orchestrator.api
    def total(self, x: float) -> float:
        """54 + 12 x, by `left`."""
        return float(self.left(np.array([[1, x, 1, 1]], np.float32)).sum())

    @orchestrator.api
    def pid(self) -> int:
        return os.getpid()

    @orchestrator.api
    def sleep(self, seconds: float) -> int:
        time.sleep(seconds)
        return os.getpid()

    @orchestrator.api
    def size(self, values: np.ndarray) -> int:
        return values.nbytes

    @orchestrator.api
    def zeros(self, mebibytes: int) -> np.ndarray:
        return np.zeros(mebibytes << 20, np.uint8)

    @orchestrator.api
    def version(self) -> str:
        return VERSION

    @orchestrator.api
    def leave(self) -> None:
        os._exit(3)

    @orchestrator.api
    def allocate(self, mebibytes: int) -> int:
        return np.ones(mebibytes << 20, np.uint8).nbytes


@orchestrator.service
class Streaming:
    """Many calls at once in one worker."""

    @orchestrator.api
    async def count(self, to: int, pause: float) -> AsyncIterator[str]:
        for number in range(to):
            yield f"{number} "
            await asyncio.sleep(pause)

    @orchestrator.api
    async def pid(self) -> int:
        return os.getpid()

    @orchestrator.api
    async def block(self) -> None:
        time.sleep(600)  # noqa: ASYNC251  # on the event loop, which is the fault

    @orchestrator.api
    def sleep(self, seconds: float) -> int:
        time.sleep(seconds)
        return os.getpid()


@orchestrator.service
class Pair:
    """Runs on the front-end; its models are processes of their own."""

    left = Onnx("left.onnx", max_batch_size=4)
    right = Onnx("right.onnx", max_batch_size=4)

    @orchestrator.api
    async def on_left(self, x: float) -> float:
        return float((await self.left.to_async(np.array([[1, x, 1, 1]], np.float32))).sum())

    @orchestrator.api
    async def on_right(self, x: float) -> float:
        return float((await self.right.to_async(np.array([[1, x, 1, 1]], np.float32))).sum())
