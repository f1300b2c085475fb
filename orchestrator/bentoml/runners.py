"""BentoML 1.1's runners in a service: `runner_service` and `depends`, for a stored model that Triton runs.

runner = bentoml.models.get("iris:latest").to_runner()
Iris = bentoml.runner_service(runner=runner)

@bentoml.service
class Classifier:
    iris = bentoml.depends(Iris)

    @bentoml.api
    def classify(self, rows: np.ndarray) -> np.ndarray:
        return self.iris.predict.run(rows)
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from orchestrator.errors import DefinitionError
from orchestrator.sdk.binding import ModelCaller
from orchestrator.sdk.dependency import service_dependency
from orchestrator.sdk.native import ModelHandle, NativeModel, Resolved
from orchestrator.spec import NativeModelSpec, StoredModelRef, Tag

__all__ = ["Runner", "RunnerHandle", "RunnerService", "depends", "runner_service"]

_RUNS: Final = ("run", "async_run")


class Runner(Protocol):
    """What `to_runner` of a stored model gives.

    Attributes:
        name: of the model.
        model: to be declared on a service.
        methods: that a call may name; each runs the model.
    """

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> Any: ...  # a NativeModel, which a type checker would take for a descriptor here
    @property
    def methods(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class RunnerService:
    """A runner, to be given to `depends`."""

    runner: Runner

    def stored_ref(self) -> StoredModelRef | None:
        """The stored model behind it: a worker is to get the same."""
        found = getattr(self.runner.model, "stored_ref", None)
        ref: StoredModelRef | None = found() if callable(found) else None
        return ref


class RunnerHandle:
    """A runner as an instance of the service sees it: one attribute a method, each with `run` and `async_run`."""

    __slots__ = ("_methods", "_model")

    def __init__(self, model: ModelHandle, methods: Sequence[str]) -> None:
        self._model = model
        self._methods = tuple(methods)

    def __getattr__(self, name: str) -> Any:
        if name in self._methods:
            return self._model
        if name in _RUNS:  # a runner of one method has them itself
            return getattr(self._model, name)
        raise AttributeError(f"the runner has no method {name!r}: it has {', '.join(self._methods)}")


class _Dependency(NativeModel):
    """A runner's model as an attribute of a service."""

    def __init__(self, runner: Runner, *, file: str, line: int) -> None:
        super().__init__(file=file, line=line)
        self._runner = runner

    def resolve(self, service: str, attribute: str, tag: Tag | None = None) -> Resolved:
        try:
            resolved: Resolved = self._runner.model.resolve(service, attribute, tag)
        except DefinitionError as error:
            raise DefinitionError(error.message, file=self.file, line=self.line, hint=error.hint) from error
        return resolved

    def handle(self, bound: Callable[[], tuple[NativeModelSpec, ModelCaller]]) -> Any:
        return RunnerHandle(super().handle(bound), self._runner.methods)


def runner_service(runner: Runner) -> RunnerService:
    """A runner as something that a service can depend on. Triton runs its model; there is no process of its own.

    Raises:
        DefinitionError: at this line; it is not what `to_runner` gives.
    """
    if not isinstance(getattr(runner, "model", None), NativeModel):
        raise _at_caller(f"{type(runner).__name__} is no runner", "runner_service(models.get('name').to_runner())")
    return RunnerService(runner)


def depends(on: Any = None, **options: Any) -> Any:
    """Another service, or a `runner_service`: the attribute gets its methods. See `orchestrator.depends`.

    Args:
        on: the other service's class, or what `runner_service` gave.
        **options: `url`; `deployment` and `cluster` have nothing behind them.

    Raises:
        DefinitionError: at this line; it is no service.
    """
    if not isinstance(on, RunnerService):
        return service_dependency(on, depth=2, **options)
    frame = sys._getframe(1)
    return _Dependency(on.runner, file=frame.f_code.co_filename, line=frame.f_lineno)


def _at_caller(message: str, hint: str) -> DefinitionError:
    frame = sys._getframe(2)
    return DefinitionError(message, file=frame.f_code.co_filename, line=frame.f_lineno, hint=hint)
