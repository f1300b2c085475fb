"""The models that a service declares, run by whatever the Backend reaches."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Protocol

from orchestrator.engine.backend import Backend, InferRequest, Tensors
from orchestrator.errors import BackendUnavailable, CallCancelled, CallError, EndpointNotFound, InvalidInput
from orchestrator.formats import from_triton, to_triton
from orchestrator.sdk.binding import ModelCaller
from orchestrator.sdk.native import refuse_at_start, refuse_on_loop
from orchestrator.spec import NativeModelSpec

__all__ = ["BackendModels", "ServiceModels", "of_model"]


class ServiceModels(ModelCaller, Protocol):
    """A `ModelCaller` that lives as long as a service on one event loop does."""

    async def open(self) -> None:
        """Makes the models ready to be called; more than once does nothing more.

        Raises:
            DefinitionError: a model's file cannot be run.
        """
        ...

    async def ready(self, model: str) -> bool:
        """Whether a model, by its Triton name, can answer now. Never raises."""
        ...

    async def close(self) -> None:
        """Releases what `open` took; more than once does nothing more."""
        ...


class BackendModels:
    """Runs models through a Backend (implements `ServiceModels`).

    Coroutines run on the Backend's event loop; calls that block come from other threads.

    Args:
        backend: closed with this.
        timeout_s: seconds that one call may take; None for no limit.
    """

    def __init__(self, backend: Backend, *, timeout_s: float | None = None) -> None:
        self._backend = backend
        self._timeout_s = timeout_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def open(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            await self._backend.open()

    def call(self, spec: NativeModelSpec, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        refuse_on_loop(spec)
        if self._loop is None:
            refuse_at_start(spec)
        coroutine = self.acall(spec, inputs, outputs)
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
        except CancelledError:
            raise CallCancelled(f"{spec.name}: the service stops") from None
        except RuntimeError as error:  # the loop is closed
            coroutine.close()
            raise BackendUnavailable(f"{spec.name}: the service has stopped") from error

    async def acall(self, spec: NativeModelSpec, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        if self._loop is None:
            refuse_at_start(spec)
        try:
            response = await self._backend.infer(
                InferRequest(spec.name, to_triton(spec, inputs), timeout_s=self._timeout_s, outputs=outputs)
            )
        except CallError as error:
            raise of_model(error, spec) from error.__cause__
        return from_triton(spec, response.outputs)

    async def ready(self, model: str) -> bool:
        return not self._closed and await self._backend.ready(model)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._backend.close()


def of_model(error: CallError, spec: NativeModelSpec) -> CallError:
    """The error as one of this model: it is named, and one that is not there is one that does not run now."""
    message = error.message if spec.name in error.message else f"{spec.name}: {error.message}"
    if isinstance(error, EndpointNotFound):
        return BackendUnavailable(message, hint=error.hint)
    if isinstance(error, InvalidInput):
        problems = [{**problem, "loc": [spec.name, *problem.get("loc", ())]} for problem in error.problems]
        return InvalidInput(message, problems=problems, hint=error.hint)
    error.message = message
    return error
