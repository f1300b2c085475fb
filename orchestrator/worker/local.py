"""The Backend in this process: the same executor, without Triton. For tests and for a first look."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from orchestrator.engine import InferRequest, InferResponse
from orchestrator.errors import BackendUnavailable, CallError, DeadlineExceeded, EndpointNotFound
from orchestrator.sdk import Definition
from orchestrator.worker.executor import Executor, WorkerCall
from orchestrator.worker.instance import make_instance

__all__ = ["LocalBackend"]


class LocalBackend:
    """Runs one service on one thread, as one worker of Triton would.

    Args:
        definition: the service; its class is instantiated here.

    Raises:
        DefinitionError: the class's `__init__` failed.
    """

    def __init__(self, definition: Definition) -> None:
        self._name = definition.spec.name
        self._executor = Executor(definition, make_instance(definition))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{self._name}-worker")
        self._closed = False

    async def infer(self, request: InferRequest) -> InferResponse:
        if request.model != self._name:
            raise EndpointNotFound(f"no model {request.model!r}")
        if self._closed:
            raise BackendUnavailable(f"{self._name} is closed")
        call = WorkerCall(request.inputs, request.parameters, request.request_id)
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._executor.run, [call])
        try:
            (answer,) = await asyncio.wait_for(running, request.timeout_s)
        except TimeoutError:
            raise DeadlineExceeded(f"{self._name} did not answer in {request.timeout_s:g} seconds") from None
        if isinstance(answer, CallError):
            raise answer
        return InferResponse({answer.name: answer.tensor})

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        yield await self.infer(request)

    async def ready(self, model: str) -> bool:
        return model == self._name and not self._closed

    async def close(self) -> None:
        self._closed = True
        self._thread.shutdown(wait=True, cancel_futures=True)
