"""What an instance of a service goes through to reach what it does not run itself: models and other services."""

import contextlib
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.sdk.definition import DependencyBinding
from orchestrator.sdk.model_inputs import Arrays
from orchestrator.spec import NativeModelSpec

__all__ = ["Binding", "ModelCaller", "ServiceCaller", "bind", "binding", "binding_of"]


class ModelCaller(Protocol):
    """Runs models. Inputs and outputs are arrays by name, checked; BYTES is an object array of `bytes`.

    Both methods raise only `CallError`s.
    """

    def call(self, spec: NativeModelSpec, inputs: Arrays, outputs: Sequence[str]) -> Arrays:
        """Runs a model, at most `max_batch_size` rows, and blocks until it has answered."""
        ...

    async def acall(self, spec: NativeModelSpec, inputs: Arrays, outputs: Sequence[str]) -> Arrays:
        """The same for an event loop."""
        ...


class ServiceCaller(Protocol):
    """Calls the APIs of one other service. Values are plain forms by name (see `codec`), checked.

    All methods raise only `CallError`s. What the caller inherits to the call (deadline, request id, trace) is that of
    `running_call`, as it is where the method is called.
    """

    def call(self, api: str, arguments: Mapping[str, Any]) -> Any:
        """Runs an API and blocks until it has answered."""
        ...

    async def acall(self, api: str, arguments: Mapping[str, Any]) -> Any:
        """The same for an event loop."""
        ...

    def stream(self, api: str, arguments: Mapping[str, Any]) -> Iterator[Any]:
        """Runs an API that is a stream; blocks for each chunk. Has a `close`, which ends the stream."""
        ...

    def astream(self, api: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """The same for an event loop."""
        ...


@dataclass(frozen=True, slots=True)
class Binding:
    """What an instance is bound to.

    Attributes:
        specs: its models by attribute.
        caller: runs them.
        services: attribute -> how the APIs of the other service are called, and what calls them; None where it is
            elsewhere, known by its URL.
    """

    specs: Mapping[str, NativeModelSpec] = field(default_factory=dict)
    caller: ModelCaller | None = None
    services: Mapping[str, tuple[DependencyBinding, ServiceCaller | None]] = field(default_factory=dict)


_binding_now: ContextVar[tuple[type, Binding] | None] = ContextVar("orchestrator_binding", default=None)
_bound_instances: dict[int, tuple[Callable[[], object | None], Binding]] = {}
"""By id, not by hash: the user's class may have an `__eq__`, and no `__hash__` or `__weakref__`."""


@contextlib.contextmanager
def binding(cls: type, bound: Binding) -> Iterator[None]:
    """While an instance of the class is being made, its handles go through this binding already."""
    token = _binding_now.set((cls, bound))
    try:
        yield
    finally:
        _binding_now.reset(token)


def bind(instance: object, bound: Binding) -> None:
    """From now on the handles of an instance go through this binding."""
    key = id(instance)
    alive: Callable[[], object | None]
    try:
        alive = weakref.ref(instance, lambda _: _bound_instances.pop(key, None))
    except TypeError:  # __slots__ without __weakref__: it stays as long as the process

        def alive() -> object | None:
            return instance

    _bound_instances[key] = (alive, bound)


def binding_of(instance: object) -> Binding | None:
    """What an instance is bound to; None where nobody runs it."""
    found = _bound_instances.get(id(instance))
    if found is not None and found[0]() is instance:
        return found[1]
    now = _binding_now.get()
    return now[1] if now is not None and isinstance(instance, now[0]) else None
