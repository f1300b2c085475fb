"""The one seam between a call and whatever runs it: tensors in, tensors out.

Implementations: `triton.transport.TritonBackend` (network), `worker.local.LocalBackend` (this process). Nothing above
this seam knows how tensors travel; nothing below it knows HTTP, JSON or the user's types.
"""

from asyncio import Future
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Backend", "InferRequest", "InferResponse", "RunsOn", "Tensors"]

Tensors = Mapping[str, NDArray[Any]]
"""Tensor name -> array. Text travels as an object array of `bytes` (Triton's BYTES)."""
RunsOn = Callable[[Future[Any]], None]


@dataclass(frozen=True, slots=True)
class InferRequest:
    """One inference.

    Attributes:
        model: name of the Triton model.
        inputs: tensors by name, shapes as the model's config wants them (batch axis included where it batches).
        parameters: request parameters; they reach the worker unchanged (str, int or bool: Triton knows no others).
        request_id: the caller's id, for logs on both sides.
        timeout_s: seconds from now after which the answer is of no use; None for no limit.
        outputs: names of those that are wanted; empty for all.
        runs_on: called where the caller is let go before the inference has ended (it was cancelled, or out of time), with
            what is done once it has: until then it holds a place in the queue, or a worker. Who knows that it never will,
            because it was lost with its worker, cancels that.
        many: it may have any number of answers; False where there is one, whatever its model could give.
        late: the model's worker gives Triton its thread back before it answers. Where the worker dies in between Triton
            never tells the caller.
    """

    model: str
    inputs: Tensors
    parameters: Mapping[str, str | int | bool] = field(default_factory=dict)
    request_id: str = ""
    timeout_s: float | None = None
    outputs: Sequence[str] = ()
    runs_on: RunsOn | None = None
    many: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The answer to one inference, or one part of a stream.

    Attributes:
        outputs: tensors by name, dtype and shape as the worker made them.
    """

    outputs: Tensors


class Backend(Protocol):
    """Runs inferences. Safe for concurrent use from one event loop.

    Every method raises only `orchestrator.errors.CallError`s: `InvalidInput`, `EndpointNotFound` (no such model),
    `BackendUnavailable`, `DeadlineExceeded`, `Overloaded`, `ServiceFault`, `OutputMismatch`, and the errors that the worker
    sent. Cancelling the awaiting task cancels the inference as far as it can still be cancelled.
    """

    async def open(self) -> None:
        """Connects, or starts what runs in this process. Called once, on the event loop of the calls."""
        ...

    async def infer(self, request: InferRequest) -> InferResponse:
        """Runs a model that gives one answer."""
        ...

    def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        """Runs a model that gives any number of answers (a decoupled Triton model), each as soon as it is there."""
        ...

    async def ready(self, model: str) -> bool:
        """Whether the model can answer now. Never raises: what cannot be reached is not ready."""
        ...

    async def close(self) -> None:
        """Releases connections; in-flight calls fail with `BackendUnavailable`."""
        ...


def text_tensor(*items: bytes) -> NDArray[np.object_]:
    """A one-dimensional BYTES tensor of the given items."""
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array
