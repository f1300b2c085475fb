"""Services that run in different places. Their models lie beside the module."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import numpy as np

import orchestrator
from orchestrator.models import Onnx
from orchestrator.validators import DType, Shape

Rows = Annotated[np.ndarray, DType("float32"), Shape((-1, 4))]


class Models:
    linear = Onnx("linear.onnx", max_batch_size=8, queue_delay_us=500, instances=2, threads=3)
    plain = Onnx("fixed.onnx")


@orchestrator.service(threads=2, resources={"memory": "2Gi"})
class Workers(Models):
    @orchestrator.api(batchable=True, max_batch_size=16)
    def score(self, rows: Rows) -> np.ndarray:
        return self.linear(rows)

    @orchestrator.api
    async def wait(self) -> int:
        return 1

    @orchestrator.api
    def count(self) -> Iterator[str]:
        yield "1"


@orchestrator.service
class Waits(Models):
    @orchestrator.api
    async def score(self, rows: Rows) -> np.ndarray:
        return await self.linear.to_async(rows)

    @orchestrator.api
    async def words(self) -> AsyncIterator[str]:
        yield "1"


@orchestrator.service(resources={"gpu": 1}, workers=2)
class OnGpu:
    strict = Onnx(
        "linear.onnx", max_batch_size=0, gpus=[0, 1], accelerator="tensorrt", response_cache=True, warmup=False
    )

    @orchestrator.api
    async def score(self, rows: Rows) -> np.ndarray:
        return await self.strict.to_async(rows)


@orchestrator.service
class NoGpu:
    strict = Onnx("linear.onnx", accelerator="tensorrt")

    @orchestrator.api
    async def score(self, rows: Rows) -> np.ndarray:
        return await self.strict.to_async(rows)


@orchestrator.service(placement="triton")
class Told(Waits):
    pass


@orchestrator.service(workers=3)
class Leaf:
    @orchestrator.api(batchable=True, max_batch_size=32)
    def score(self, rows: Rows) -> np.ndarray:
        return rows.sum(axis=1)


@orchestrator.service(cmd=["python", "-m", "http.server"])
class Process:
    pass
