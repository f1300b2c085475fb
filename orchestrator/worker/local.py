"""The Backend in this process: the same execution, without Triton.

For tests, and for services that belong on the front-end's own event loop.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Final

from orchestrator.engine import InferRequest, InferResponse, ServiceModels
from orchestrator.engine.lifetime import lifetime_of
from orchestrator.engine.origin import request_id_of
from orchestrator.errors import BackendUnavailable, DeadlineExceeded, EndpointNotFound
from orchestrator.sdk import Definition
from orchestrator.sdk.binding import ServiceCaller
from orchestrator.spec import Placement
from orchestrator.worker.concurrent import Concurrent
from orchestrator.worker.executor import Answer, WorkerCall
from orchestrator.worker.local_models import LocalModels
from orchestrator.worker.running import Running

__all__ = ["LocalBackend"]

_THREADS_S: Final = 5.0
"""How long sync code may take to end that nobody waits for any more."""
logger = logging.getLogger("orchestrator.worker")


class LocalBackend:
    """Runs one service on the event loop of its first call.

    Args:
        definition: the service; its class is instantiated here.
        worker_index: of this process, from 1.
        models: runs the models that the class declares, and is closed with this; default: in this process.
        services: attribute -> what calls the service that the class depends on.

    Raises:
        DefinitionError: the class's `__init__` failed.
    """

    def __init__(
        self,
        definition: Definition,
        worker_index: int = 1,
        *,
        models: ServiceModels | None = None,
        services: Mapping[str, ServiceCaller] = {},
    ) -> None:
        self._name = definition.spec.name
        self._models = models or LocalModels(definition)
        # Triton runs no other model for a worker that starts or stops; what is tested here shall be so there.
        self._models_in_hooks = definition.spec.placement is Placement.FRONTEND
        self.running = Running(definition, worker_index, models=self._models, services=services)
        self._concurrent: Concurrent | None = None
        self._run_on: set[asyncio.Task[Answer]] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    async def open(self) -> None:
        """Runs the start-up hooks, once; the first call does it where nobody did before.

        Raises:
            DefinitionError: a hook failed, or a model's file cannot be run.
        """
        if self._concurrent is None:
            self._concurrent = Concurrent(self.running)
            if self._models_in_hooks:
                await self._models.open()
            await self.running.startup()
            await self._models.open()

    async def infer(self, request: InferRequest) -> InferResponse:
        concurrent = await self._ready(request)
        return await self._answer(concurrent, request, _Caller())

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        concurrent = await self._ready(request)
        caller = _Caller()
        if not concurrent.is_stream(_call_of(request, caller)):
            yield await self._answer(concurrent, request, caller)
            return
        end = None if request.timeout_s is None else asyncio.get_running_loop().time() + request.timeout_s
        answers = concurrent.stream(await concurrent.prepare(_call_of(request, caller)))
        try:
            while True:
                answer = await _next(answers, end)
                if answer is None:
                    return
                yield InferResponse(answer.tensors)
        except TimeoutError:
            raise self._late() from None
        finally:
            caller.gone = True
            await answers.aclose()

    async def ready(self, model: str) -> bool:
        if self._closed:
            return False
        return model == self._name or await self._models.ready(model)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._concurrent is not None:
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_exception(self._stops())
            for running in self._run_on:
                running.cancel()
            if not await asyncio.get_running_loop().run_in_executor(None, self._concurrent.close, _THREADS_S):
                logger.warning("%s: a call that does not end is left behind", self._name)
            if not self._models_in_hooks:
                await self._models.close()
            await self.running.shutdown()
        await self._models.close()

    async def _answer(self, concurrent: Concurrent, request: InferRequest, caller: "_Caller") -> InferResponse:
        running = asyncio.ensure_future(_run(concurrent, _call_of(request, caller)))
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        running.add_done_callback(partial(_end, ended))
        self._waiting.add(ended)
        try:
            async with asyncio.timeout(request.timeout_s):
                await ended
            return InferResponse(running.result().tensors)
        except TimeoutError:
            raise self._late() from None
        finally:
            self._waiting.discard(ended)
            if not running.done():
                caller.gone = True
                running.cancel()
                self._run_on.add(running)  # the loop itself keeps no task alive
                running.add_done_callback(self._ended)
                if request.runs_on is not None:
                    request.runs_on(running)

    def _ended(self, running: asyncio.Task[Answer]) -> None:
        self._run_on.discard(running)
        if not running.cancelled():
            running.exception()  # asyncio: somebody has looked at it

    def _stops(self) -> BackendUnavailable:
        return BackendUnavailable(f"{self._name} stops")

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"{self._name} did not answer in time")

    async def _ready(self, request: InferRequest) -> Concurrent:
        if request.model != self._name:
            raise EndpointNotFound(f"no model {request.model!r}")
        if self._closed:
            raise self._stops()
        await self.open()
        assert self._concurrent is not None
        return self._concurrent


class _Caller:
    """Whoever waits for an answer.

    Attributes:
        gone: no longer.
    """

    gone = False


def _end(ended: asyncio.Future[None], _: asyncio.Task[Answer]) -> None:
    if not ended.done():
        ended.set_result(None)


async def _next(answers: AsyncGenerator[Answer, None], end: float | None) -> Answer | None:
    if end is None:  # a timeout that is none takes a tenth of a chunk's time
        return await anext(answers, None)
    async with asyncio.timeout_at(end):
        return await anext(answers, None)


async def _run(concurrent: Concurrent, call: WorkerCall) -> Answer:
    return await concurrent.call(await concurrent.prepare(call))


def _call_of(request: InferRequest, caller: _Caller) -> WorkerCall:
    lifetime = lifetime_of(request.parameters, board=None, gone=lambda: caller.gone)
    request_id = request_id_of(request.parameters, request.request_id)
    return WorkerCall(request.inputs, request.parameters, request_id, lifetime, request.runs_on)
