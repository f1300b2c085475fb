"""Plain values in, plain value out: packs one call into tensors, runs it through the Backend, unpacks the answer."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.codec.layout import CONTEXT_PARAMETER, Layout, PackedCall
from orchestrator.engine.backend import Backend, InferRequest, InferResponse, RunsOn
from orchestrator.engine.lifetime import DEADLINE_PARAMETER, deadline_after
from orchestrator.errors import EndpointNotFound, InvalidInput, OutputMismatch
from orchestrator.spec import CalledService, CallInfo, ResponseEffects

__all__ = ["Invoker", "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call gave, or one chunk of a stream.

    Attributes:
        value: plain form.
        effects: what the method asked of its response; None where it could not ask.
    """

    value: Any
    effects: ResponseEffects | None = None


class Invoker:
    """Calls the APIs of one service.

    Args:
        in_place: the backend's coroutines block and never wait, so that the parts of a call go one after the other.
    """

    def __init__(self, service: CalledService, backend: Backend, *, in_place: bool = False) -> None:
        self._service = service
        self._decoupled, self._late = service.decoupled, service.concurrent
        self._in_place = in_place
        self._backend = backend
        self._layouts = {api.name: Layout.of(service, api) for api in service.methods}

    async def call(
        self,
        api: str,
        arguments: Mapping[str, Any],
        *,
        info: CallInfo | None = None,
        request_id: str = "",
        timeout_s: float | None = None,
        runs_on: RunsOn | None = None,
        parameters: Mapping[str, str] = {},
    ) -> Outcome:
        """Runs an API that has one answer.

        Args:
            api: its name.
            arguments: plain forms; arguments left to their defaults are missing.
            info: the request behind the call, for methods that take a context.
            request_id: for the logs.
            timeout_s: seconds from now; default: the service's limit.
            runs_on: see `InferRequest`; called for every part of a call that is split.
            parameters: of the request, besides its own: see `engine/origin.py`.

        Raises:
            EndpointNotFound: no such API.
            InvalidInput: a value cannot be sent.
            CallError: whatever the backend says.
        """
        layout = self._layout(api)
        packed = self._packed(layout, arguments, info)
        timeout_s = self._service.timeout_s if timeout_s is None else timeout_s
        if layout.api.batch is not None:
            timeout_s = min(timeout_s, layout.api.batch.max_latency_ms / 1000)
            parts = _split_rows(packed, layout.api.batch.max_batch_size)
        else:
            parts = [packed]
        requests = [self._request(part, request_id, timeout_s, runs_on, parameters) for part in parts]
        if len(requests) == 1:
            return _unpacked(await self._run(requests[0]), layout)
        if self._in_place:
            responses = [await self._run(request) for request in requests]
        else:
            responses = await asyncio.gather(*(self._run(request) for request in requests))
        return _unpacked(_joined(responses, layout), layout)

    async def stream(
        self,
        api: str,
        arguments: Mapping[str, Any],
        *,
        info: CallInfo | None = None,
        request_id: str = "",
        timeout_s: float | None = None,
        runs_on: RunsOn | None = None,
        parameters: Mapping[str, str] = {},
    ) -> AsyncGenerator[Outcome, None]:
        """Runs an API that is a stream; effects come with the first chunk.

        Closing the generator ends the method, too. Arguments and errors as `call`, but the time limit is for all of it, and
        there is none by default.
        """
        layout = self._layout(api)
        request = self._request(self._packed(layout, arguments, info), request_id, timeout_s, runs_on, parameters)
        request = dataclasses.replace(request, many=True)
        async with contextlib.aclosing(self._backend.stream(request)) as responses:
            async for response in responses:
                yield _unpacked(response, layout)

    def rows(self, api: str, arguments: Mapping[str, Any]) -> int:
        """Rows of one call; see `Layout.rows`.

        Raises:
            EndpointNotFound: no such API.
        """
        return self._layout(api).rows(arguments)

    def _layout(self, api: str) -> Layout:
        layout = self._layouts.get(api)
        if layout is None:
            raise EndpointNotFound(f"service {self._service.name} has no API {api!r}")
        return layout

    def _packed(self, layout: Layout, arguments: Mapping[str, Any], info: CallInfo | None) -> PackedCall:
        packed = layout.pack(arguments)
        if layout.api.context is not None and info is not None:
            packed.parameters[CONTEXT_PARAMETER] = info.model_dump_json(exclude_defaults=True)
        return packed

    def _request(
        self,
        packed: PackedCall,
        request_id: str,
        timeout_s: float | None,
        runs_on: RunsOn | None,
        parameters: Mapping[str, str],
    ) -> InferRequest:
        all_parameters: dict[str, str | int | bool] = {**packed.parameters, **parameters}
        if timeout_s is not None:
            all_parameters[DEADLINE_PARAMETER] = deadline_after(timeout_s)
        return InferRequest(
            self._service.name, packed.tensors, all_parameters, request_id, timeout_s,
            runs_on=runs_on, late=self._late,
        )  # fmt: skip

    async def _run(self, request: InferRequest) -> InferResponse:
        if not self._decoupled:
            return await self._backend.infer(request)
        # A decoupled model answers on a stream, also where it has one answer.
        # It is read to its end: a stream that is closed early counts as cancelled.
        answers = [response async for response in self._backend.stream(request)]
        if len(answers) != 1:
            raise OutputMismatch(f"{self._service.name} gave {len(answers)} answers where one was due")
        return answers[0]


def _joined(responses: Sequence[InferResponse], layout: Layout) -> InferResponse:
    """The rows of all parts of a call, in their order."""
    name = layout.result_name
    try:
        return InferResponse({name: np.concatenate([response.outputs[name] for response in responses])})
    except (KeyError, ValueError) as error:
        raise OutputMismatch(f"{layout.api.name}: the answers to its parts do not fit together: {error}") from error


def _unpacked(response: InferResponse, layout: Layout) -> Outcome:
    tensor = response.outputs.get(layout.result_name)
    if tensor is None:
        raise OutputMismatch(f"{layout.api.name}: the answer has no {layout.result_name!r}")
    try:
        effects = response.outputs.get(layout.effects_name)
        known = layout.unpack_effects(effects) if effects is not None else None
        return Outcome(layout.unpack_result(tensor, known.hint if known else ""), known)
    except ValueError as error:
        raise OutputMismatch(f"{layout.api.name}: the answer cannot be read: {error}") from error


def _split_rows(packed: PackedCall, most: int) -> list[PackedCall]:
    """A call of many rows as several that Triton takes.

    Raises:
        InvalidInput: no rows, or arguments of different numbers of rows.
    """
    # Tensors are called `argument`, or `api.argument` in a service with several APIs.
    counts = {name.rpartition(".")[2]: len(tensor) for name, tensor in packed.tensors.items()}
    rows = next(iter(counts.values()))
    for name, count in counts.items():
        if count != rows:
            raise InvalidInput.at([name], f"has {count} rows where the other arguments have {rows}")
    if rows == 0:
        raise InvalidInput.at([next(iter(counts))], "a batch needs at least one row")
    if rows <= most:
        return [packed]
    return [
        PackedCall({name: tensor[start : start + most] for name, tensor in packed.tensors.items()}, packed.parameters)
        for start in range(0, rows, most)
    ]
