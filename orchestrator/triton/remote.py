"""A Triton in a container or on another machine, as one of several."""

from collections.abc import AsyncGenerator

from orchestrator.engine.backend import InferRequest, InferResponse
from orchestrator.triton.remote_health import RemoteHealth
from orchestrator.triton.supervised import SupervisedBackend
from orchestrator.triton.transport import TritonBackend

__all__ = ["RemoteTriton"]


class RemoteTriton:
    """Implements `several.Server`: calls that are lost with a worker there fail at once, or are sent again.

    Args:
        triton: reaches it; closed with this.
        health: what the supervisor beside it tells.
    """

    def __init__(self, triton: TritonBackend, health: RemoteHealth) -> None:
        self._triton = triton
        self._health = health
        self._calls = SupervisedBackend(triton, health, alone=False)

    @property
    def takes_calls(self) -> bool:
        return self._health.read().whole.answers

    def answers(self, model: str) -> bool:
        return self._health.read().of(model).answers

    async def open(self) -> None:
        await self._health.open()
        await self._calls.open()

    async def infer(self, request: InferRequest) -> InferResponse:
        return await self._calls.infer(request)

    def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        return self._calls.stream(request)

    async def server_ready(self) -> bool:
        return await self._triton.server_ready()

    async def ready(self, model: str) -> bool:
        return await self._calls.ready(model)

    async def close(self) -> None:
        await self._health.close()
        await self._calls.close()
