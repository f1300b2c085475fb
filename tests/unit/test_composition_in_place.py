"""Sync calls whose Backend blocks in place, also from code that an event loop runs."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import orchestrator
from orchestrator.engine.backend import Backend, InferRequest, InferResponse
from orchestrator.engine.composition import BackendService, Run
from orchestrator.sdk import read_service
from orchestrator.worker.executor import drive


@orchestrator.service
class Rows:
    @orchestrator.api(batchable=True, max_batch_size=2)
    def double(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return rows * 2


class Blocks:
    """Never waits."""

    def __init__(self) -> None:
        self.calls = 0

    async def open(self) -> None: ...

    async def infer(self, request: InferRequest) -> InferResponse:
        self.calls += 1
        return InferResponse({"result": request.inputs["rows"] * 2})

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        yield await self.infer(request)

    async def ready(self, model: str) -> bool:
        return True

    async def close(self) -> None: ...


class InPlace:
    in_place: Final = True

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def way(self, service: str) -> tuple[Backend, Run]:
        return self._backend, drive


def test_a_call_of_more_rows_than_a_batch_goes_in_parts_with_and_without_a_loop() -> None:
    backend = Blocks()
    service = BackendService(read_service(Rows, "m:Rows").spec.called(), Blocks(), InPlace(backend))
    rows: dict[str, Any] = {"rows": np.arange(5.0).reshape(5, 1)}

    async def on_loop() -> Any:
        return service.call("double", rows)

    for result in (service.call("double", rows), asyncio.run(on_loop())):
        assert result.tolist() == [[0], [2], [4], [6], [8]]
    assert backend.calls == 6
