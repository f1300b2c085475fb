"""Plain values in, plain value out: packs one call into tensors, runs it through the Backend, unpacks the answer."""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.codec.layout import Layout, PackedCall
from orchestrator.engine.backend import Backend, InferRequest
from orchestrator.errors import EndpointNotFound, InvalidInput, OutputMismatch
from orchestrator.spec import ServiceSpec

__all__ = ["Invoker"]


class Invoker:
    """Calls the APIs of one service."""

    def __init__(self, service: ServiceSpec, backend: Backend) -> None:
        self._service = service
        self._backend = backend
        self._layouts = {api.name: Layout.of(service, api) for api in service.apis}

    async def call(
        self, api: str, arguments: Mapping[str, Any], *, request_id: str = "", timeout_s: float | None = None
    ) -> Any:
        """Runs one API.

        Args:
            api: its name.
            arguments: plain forms; arguments left to their defaults are missing.
            request_id: for the logs.
            timeout_s: seconds from now; default: the service's limit.

        Returns:
            The result's plain form.

        Raises:
            EndpointNotFound: no such API.
            InvalidInput: a value cannot be sent.
            CallError: whatever the backend says.
        """
        layout = self._layouts.get(api)
        if layout is None:
            raise EndpointNotFound(f"service {self._service.name} has no API {api!r}")
        packed = layout.pack(arguments)
        timeout_s = self._service.traffic.timeout_s if timeout_s is None else timeout_s
        if layout.api.batch is not None:
            timeout_s = min(timeout_s, layout.api.batch.max_latency_ms / 1000)
            parts = _split_rows(packed, layout.api.batch.max_batch_size)
        else:
            parts = [packed]
        requests = [
            InferRequest(self._service.name, part.tensors, part.parameters, request_id, timeout_s) for part in parts
        ]
        if len(requests) == 1:
            tensors = [await self._run(requests[0], layout)]
        else:
            tensors = await asyncio.gather(*(self._run(request, layout) for request in requests))
        try:
            return layout.unpack_result(tensors[0] if len(tensors) == 1 else np.concatenate(tensors))
        except ValueError as error:
            raise OutputMismatch(f"{api}: the answer cannot be read: {error}") from error

    async def ready(self) -> bool:
        """Whether the service's model can answer now."""
        return await self._backend.ready(self._service.name)

    async def _run(self, request: InferRequest, layout: Layout) -> NDArray[Any]:
        response = await self._backend.infer(request)
        tensor = response.outputs.get(layout.result_name)
        if tensor is None:
            raise OutputMismatch(f"{layout.api.name}: the answer has no {layout.result_name!r}")
        return tensor


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
