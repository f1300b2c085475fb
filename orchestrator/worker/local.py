"""The Backend in this process: the same execution, without Triton.

For tests, and for services that belong on the front-end's own event loop.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from orchestrator.engine import InferRequest, InferResponse
from orchestrator.errors import BackendUnavailable, DeadlineExceeded, EndpointNotFound
from orchestrator.sdk import Definition
from orchestrator.worker.concurrent import Concurrent
from orchestrator.worker.executor import WorkerCall
from orchestrator.worker.running import Running

__all__ = ["LocalBackend"]


class LocalBackend:
    """Runs one service on the event loop of its first call.

    Args:
        definition: the service; its class is instantiated here.
        worker_index: of this process, from 1.

    Raises:
        DefinitionError: the class's `__init__` failed.
    """

    def __init__(self, definition: Definition, worker_index: int = 1) -> None:
        self._name = definition.spec.name
        self.running = Running(definition, worker_index)
        self._concurrent: Concurrent | None = None
        self._closed = False

    async def open(self) -> None:
        """Runs the start-up hooks, once; the first call does it where nobody did before.

        Raises:
            DefinitionError: a hook failed.
        """
        if self._concurrent is None:
            self._concurrent = Concurrent(self.running)
            await self.running.startup()

    async def infer(self, request: InferRequest) -> InferResponse:
        concurrent = await self._ready(request)
        async with _within(request.timeout_s, self._name):
            answer = await concurrent.call(await concurrent.prepare(_call_of(request)))
        return InferResponse(answer.tensors)

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        concurrent = await self._ready(request)
        prepared = await concurrent.prepare(_call_of(request))
        if not prepared.binding.spec.stream:
            yield InferResponse((await concurrent.call(prepared)).tensors)
            return
        async with contextlib.aclosing(concurrent.stream(prepared)) as answers:
            async for answer in answers:
                yield InferResponse(answer.tensors)

    async def ready(self, model: str) -> bool:
        return model == self._name and not self._closed

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._concurrent is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._concurrent.close)
            await self.running.shutdown()

    async def _ready(self, request: InferRequest) -> Concurrent:
        if request.model != self._name:
            raise EndpointNotFound(f"no model {request.model!r}")
        if self._closed:
            raise BackendUnavailable(f"{self._name} is closed")
        await self.open()
        assert self._concurrent is not None
        return self._concurrent


def _call_of(request: InferRequest) -> WorkerCall:
    return WorkerCall(request.inputs, request.parameters, request.request_id)


@contextlib.asynccontextmanager
async def _within(timeout_s: float | None, name: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise DeadlineExceeded(f"{name} did not answer in {timeout_s:g} seconds") from None
