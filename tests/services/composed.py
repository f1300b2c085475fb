"""A service that calls models, sync and async, each in a worker and on the front-end. The models lie beside it."""

from typing import Any

import numpy as np

import orchestrator
from orchestrator.models import Onnx

WORDS = {"i32": "int32", "i64": "int64", "f4": "float32", "f8": "float64"}


def array_of(values: Any, dtype: str) -> Any:
    """`list` leaves it as it came."""
    return values if dtype == "list" else np.array(values, dtype=WORDS[dtype])


def plain(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {name: plain(array) for name, array in answer.items()}
    items = [item.decode() if isinstance(item, bytes) else item for item in answer.reshape(-1).tolist()]
    return {"dtype": answer.dtype.name, "shape": list(answer.shape), "values": items}


class Models:
    linear = Onnx("linear.onnx", max_batch_size=3)
    words = Onnx("text.onnx")
    both = Onnx("both.onnx")
    lookup = Onnx("lookup.onnx")
    number = Onnx("number.onnx")


@orchestrator.service
class Composed(Models):
    @orchestrator.api
    def call(self, model: str, inputs: dict[str, Any], dtype: str = "f4", outputs: list[str] | None = None) -> Any:
        given = {name: array_of(values, dtype) for name, values in inputs.items()}
        return plain(getattr(self, model)(**given, outputs=outputs))

    @orchestrator.api
    def chain(self, x: list[list[float]]) -> Any:
        return plain(self.both.run(self.linear(x)[:, :2], self.linear.run(x)[:, 1:]))


@orchestrator.service
class ComposedAsync(Models):
    @orchestrator.api
    async def call(
        self, model: str, inputs: dict[str, Any], dtype: str = "f4", outputs: list[str] | None = None
    ) -> Any:
        given = {name: array_of(values, dtype) for name, values in inputs.items()}
        return plain(await getattr(self, model).to_async(**given, outputs=outputs))

    @orchestrator.api
    async def chain(self, x: list[list[float]]) -> Any:
        return plain(
            await self.both.async_run((await self.linear.to_async(x))[:, :2], (await self.linear.async_run(x))[:, 1:])
        )


@orchestrator.service(placement="triton")
class ComposedBls(ComposedAsync):
    pass


@orchestrator.service(placement="frontend")
class ComposedThreads(Composed):
    pass
