"""A model file declared on a service, and the handle that calls it.

    class Reader:
        detector = orchestrator.models.Onnx("text_det:latest")

`self.detector(x)` goes through the `ModelCaller` that the instance is bound to: BLS in a worker of Triton's, the network on
the front-end, this process in tests. An instance that nobody bound, as in a notebook, runs the file itself.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NoReturn, overload

from numpy.typing import NDArray

from orchestrator.errors import ServiceFault
from orchestrator.sdk.binding import ModelCaller, binding_of
from orchestrator.sdk.context import running_call
from orchestrator.sdk.decorators import service_options_of
from orchestrator.sdk.model_inputs import Arrays, checked_outputs, inputs_of, joined, outputs_asked, pieces
from orchestrator.sdk.opened import OpenedModels
from orchestrator.sdk.outgoing import outgoing
from orchestrator.spec import ModelSignature, NativeModelSpec, Tag

if TYPE_CHECKING:
    from orchestrator.formats import ModelFiles

__all__ = [
    "ModelHandle",
    "NativeModel",
    "Resolved",
    "models_of",
    "refuse_at_start",
    "refuse_on_loop",
]

_AT_ONCE: Final = 8
"""Pieces of one async call that are in flight together; other callers want to come in between."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a declaration stands for on this machine, now."""

    spec: NativeModelSpec
    files: "ModelFiles"


class NativeModel(ABC):
    """A model as an attribute of a class (a descriptor): the class gives this object, an instance a `ModelHandle`.

    Attributes:
        file, line: where the user declares it.
    """

    def __init__(self, *, file: str | None = None, line: int | None = None) -> None:
        self.file = file
        self.line = line
        self.attributes: dict[str, None] = {}
        self._alone: dict[type, tuple[NativeModelSpec, ModelCaller]] = {}
        self._lock = Lock()

    @abstractmethod
    def resolve(self, service: str, attribute: str, tag: Tag | None = None) -> Resolved:
        """Finds the file and reads it.

        Args:
            service: name of the service that it is declared on.
            attribute: its name there.
            tag: of a stored model, in the place of the one that is declared.

        Raises:
            DefinitionError: at the user's line; there is no such file, or it is no such model.
            StoreError: the store does not have it.
        """

    def __set_name__(self, owner: type, name: str) -> None:
        self.attributes[name] = None

    @overload
    def __get__(self, instance: None, owner: type) -> "NativeModel": ...
    @overload
    def __get__(self, instance: object, owner: type) -> "ModelHandle": ...
    def __get__(self, instance: object | None, owner: type) -> "NativeModel | ModelHandle":
        if instance is None:
            return self
        return self.handle(self.bound(instance))

    def handle(self, bound: "Callable[[], tuple[NativeModelSpec, ModelCaller]]") -> "ModelHandle":
        """What an instance has in the place of this."""
        return ModelHandle(bound)

    def bound(self, instance: object) -> "Callable[[], tuple[NativeModelSpec, ModelCaller]]":
        """The spec and the caller for an instance: known now where it is bound, else resolved when they are needed."""
        attribute = next(iter(self.attributes), "")
        found = binding_of(instance)
        if found is None:
            return lambda: self._unbound(type(instance), attribute)
        assert found.caller is not None  # whoever binds a class that has models can run them
        connected = (found.specs[attribute], found.caller)
        return lambda: connected

    def _unbound(self, cls: type, attribute: str) -> tuple[NativeModelSpec, ModelCaller]:
        with self._lock:
            if cls not in self._alone:
                options = service_options_of(cls)
                resolved = self.resolve((options and options.name) or cls.__name__, attribute)
                self._alone[cls] = (resolved.spec, OpenedModels({resolved.spec.name: resolved.files}))
            return self._alone[cls]


class ModelHandle:
    """A model as an instance of the service sees it: called like a method, with arrays in and out.

        boxes = self.detector(image)
        boxes = await self.detector.to_async(image)

    Inputs are positional, in the model's order, or by name. The answer is an array where one output is asked for, else a
    dictionary of arrays in the model's order. More rows than `max_batch_size` go in pieces; no rows give no rows.
    How values become the model's dtypes is in `sdk/model_inputs.py`.
    """

    __slots__ = ("_bound",)

    def __init__(self, bound: Callable[[], tuple[NativeModelSpec, ModelCaller]]) -> None:
        self._bound = bound

    @property
    def spec(self) -> NativeModelSpec:
        """What is known of the model."""
        return self._bound()[0]

    @property
    def signature(self) -> ModelSignature:
        """Its inputs and outputs."""
        return self.spec.signature

    def __call__(self, *inputs: Any, outputs: Sequence[str] | str | None = None, **named: Any) -> Any:
        """Runs the model and waits.

        Args:
            *inputs: arrays, lists, numbers or text, in the model's order.
            outputs: names of those that are wanted; None for all. (An input of the name `outputs` goes by position.)
            **named: inputs by name.

        Returns:
            An array, or a dictionary of arrays where several outputs are wanted.

        Raises:
            InvalidInput: an input is not what the model takes.
            BackendUnavailable: nothing runs the model now.
            ServiceFault: the model failed, or an async method called this: it says `await self.model.to_async(...)`.
            OutputMismatch: the model gave what its signature does not say.
        """
        spec, caller = self._bound()
        arrays = inputs_of(spec, inputs, named)
        asked = outputs_asked(spec, outputs)
        with outgoing(spec.name, "", running_call.get()):
            parts = [_checked(spec, part, caller.call(spec, part, asked), asked) for part in pieces(spec, arrays)]
        return _result(joined(spec, parts, asked))

    async def to_async(self, *inputs: Any, outputs: Sequence[str] | str | None = None, **named: Any) -> Any:
        """As a call, for async methods."""
        spec, caller = self._bound()
        arrays = inputs_of(spec, inputs, named)
        asked = outputs_asked(spec, outputs)
        cut = list(pieces(spec, arrays))
        with outgoing(spec.name, "", running_call.get()):
            if len(cut) == 1:  # the usual way has no task of its own
                parts = [_checked(spec, cut[0], await caller.acall(spec, cut[0], asked), asked)]
            else:
                parts = await _all(spec, caller, cut, asked)
        return _result(joined(spec, parts, asked))

    def run(self, *inputs: Any, **named: Any) -> Any:
        """A call, under the name that runners had."""
        return self(*inputs, **named)

    async def async_run(self, *inputs: Any, **named: Any) -> Any:
        """`to_async`, under the name that runners had."""
        return await self.to_async(*inputs, **named)

    def __repr__(self) -> str:
        return f"<model {self.spec.name}>"


async def _all(
    spec: NativeModelSpec, caller: ModelCaller, cut: Sequence[Arrays], outputs: Sequence[str]
) -> list[Arrays]:
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(part: Arrays) -> Arrays:
        async with free:
            return _checked(spec, part, await caller.acall(spec, part, outputs), outputs)

    tasks = [asyncio.ensure_future(one(part)) for part in cut]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _checked(spec: NativeModelSpec, part: Arrays, answer: Arrays, outputs: Sequence[str]) -> Arrays:
    rows = len(next(iter(part.values()))) if spec.signature.batched and part else None
    return checked_outputs(spec, answer, outputs, rows)


def _result(arrays: Arrays) -> NDArray[Any] | dict[str, NDArray[Any]]:
    return next(iter(arrays.values())) if len(arrays) == 1 else dict(arrays)


def models_of(cls: type) -> dict[str, NativeModel]:
    """The models of a class and of its bases by attribute: base classes' first, in the order of their definition."""
    found: dict[str, NativeModel] = {}
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            found.pop(name, None)
            if isinstance(member, NativeModel):
                found[name] = member
    return found


def refuse_on_loop(spec: NativeModelSpec) -> None:
    """Raises: ServiceFault where this thread runs an event loop, which a call that blocks would hold up, or for ever."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ServiceFault(
        f"{spec.name} was called in a way that blocks the event loop",
        hint=f"in an async method write `await self.{spec.attribute}.to_async(...)`",
    )


def refuse_at_start(spec: NativeModelSpec) -> NoReturn:
    """Raises: ServiceFault for a call from `__init__` or a hook, where nothing runs models yet, or any more."""
    raise ServiceFault(
        f"{spec.name} was called while the service starts or stops, when nothing runs it",
        hint=f"keep `self.{spec.attribute}` and call it in an API; Triton warms it up by itself",
    )
