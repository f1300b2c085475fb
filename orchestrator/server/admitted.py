"""Admission for the calls that services on the front-end make to those in Triton: as if they came by HTTP."""

import dataclasses
import time
from asyncio import Future
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from orchestrator.codec.layout import API_PARAMETER
from orchestrator.engine.backend import Backend, InferRequest, InferResponse, RunsOn
from orchestrator.server.admission import Admission, Ticket
from orchestrator.server.capacity import capacity_of, size_of
from orchestrator.server.metrics import FrontendMetrics, QueueMetrics
from orchestrator.server.patience import Caller
from orchestrator.spec import ServiceSpec

__all__ = ["AdmittedBackend"]


class AdmittedBackend:
    """Lets calls of services wait before they get to a Backend, which then has no long queue (implements `Backend`).

    Args:
        backend: runs them; closed with this.
        services: what is asked for admission; all else goes straight on.
        metrics: where queues are counted.
        processes: front-end processes that share the services' limits.
    """

    def __init__(
        self, backend: Backend, services: Sequence[ServiceSpec], metrics: FrontendMetrics, *, processes: int
    ) -> None:
        self._backend = backend
        self._services = {service.name: service for service in services}
        self._admissions = {
            service.name: Admission(
                service.name,
                capacity_of(service, processes),
                QueueMetrics(metrics, service.name),
                queue_timeout_s=service.traffic.queue_timeout_s,
            )
            for service in services
        }

    async def open(self) -> None:
        await self._backend.open()

    async def infer(self, request: InferRequest) -> InferResponse:
        if request.model not in self._admissions:
            return await self._backend.infer(request)
        ticket, admitted = await self._admitted(request)
        try:
            return await self._backend.infer(admitted)
        finally:
            ticket.release()

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        ticket, admitted = None, request
        if request.model in self._admissions:
            ticket, admitted = await self._admitted(request)
        try:
            async with aclosing(self._backend.stream(admitted)) as responses:
                async for response in responses:
                    yield response
        finally:
            if ticket is not None:
                ticket.release()

    async def ready(self, model: str) -> bool:
        return await self._backend.ready(model)

    async def close(self) -> None:
        for admission in self._admissions.values():
            admission.stop()
        await self._backend.close()

    async def _admitted(self, request: InferRequest) -> tuple[Ticket, InferRequest]:
        """A place, and the request as it goes on.

        Raises:
            CallError: see `Admission.enter`.
        """
        service = self._services[request.model]
        began = time.monotonic()
        caller = Caller((), priority=service.traffic.priority)
        if request.timeout_s is not None:
            caller.within(request.timeout_s)
        ticket = await self._admissions[request.model].enter(caller, _size(service, request))
        timeout_s = request.timeout_s
        if timeout_s is not None:
            timeout_s = max(0.0, timeout_s - (time.monotonic() - began))
        return ticket, dataclasses.replace(request, timeout_s=timeout_s, runs_on=_both(ticket.runs_on, request.runs_on))


def _size(service: ServiceSpec, request: InferRequest) -> int:
    apis = service.methods
    name = request.parameters.get(API_PARAMETER, apis[0].name)
    api = next((each for each in apis if each.name == name), apis[0])
    rows = next((len(tensor) for tensor in request.inputs.values()), 1) if api.batch is not None else 1
    return size_of(service, api, rows)


def _both(ours: RunsOn, callers: RunsOn | None) -> RunsOn:
    def runs_on(work: Future[Any]) -> None:
        ours(work)
        if callers is not None:
            callers(work)

    return runs_on
