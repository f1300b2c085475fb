"""One Backend for several: each request goes to the one that runs its model."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from orchestrator.engine.backend import Backend, InferRequest, InferResponse
from orchestrator.errors import EndpointNotFound

__all__ = ["RoutedBackend"]


class RoutedBackend:
    """Services of this process, and what is elsewhere (implements `Backend`).

    Args:
        elsewhere: runs all that nothing here runs; None where there is nothing else.
    """

    def __init__(self, elsewhere: Backend | None = None) -> None:
        self._elsewhere = elsewhere
        self._here: dict[str, Backend] = {}

    def add(self, name: str, backend: Backend) -> None:
        """Has a service run here. It may call those that were added before it."""
        self._here[name] = backend

    def runs_here(self, name: str) -> bool:
        """Whether a service runs in this process."""
        return name in self._here

    async def open(self) -> None:
        for backend in ([] if self._elsewhere is None else [self._elsewhere]) + list(self._here.values()):
            await backend.open()

    async def infer(self, request: InferRequest) -> InferResponse:
        return await self._of(request.model).infer(request)

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        async with aclosing(self._of(request.model).stream(request)) as responses:
            async for response in responses:
                yield response

    async def ready(self, model: str) -> bool:
        backend = self._here.get(model, self._elsewhere)
        return backend is not None and await backend.ready(model)

    async def close(self) -> None:
        for backend in reversed(self._here.values()):
            await backend.close()
        if self._elsewhere is not None:
            await self._elsewhere.close()

    def _of(self, model: str) -> Backend:
        backend = self._here.get(model, self._elsewhere)
        if backend is None:
            raise EndpointNotFound(f"no model {model!r}")
        return backend
