"""A service as data: everything that the compiler, the server and the client know of a user's class."""

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import model_validator

from orchestrator.spec.config import ServiceConfig
from orchestrator.spec.frozen import Frozen
from orchestrator.spec.model import NativeModelSpec, StoredModelRef
from orchestrator.spec.values import ValueKind, ValueSpec

__all__ = [
    "ApiSpec",
    "ArgumentSpec",
    "BatchPolicy",
    "CalledService",
    "DependencySpec",
    "Methods",
    "Passing",
    "Placement",
    "ServiceInterface",
    "ServiceSpec",
]

_HINTED_RESULTS: Final = frozenset({ValueKind.BLOB, ValueKind.IMAGE, ValueKind.FILE, ValueKind.MANY})
SPEC_FILE: Final = "service.json"
"""Name of the spec's document inside an exported model version."""


class BatchPolicy(Frozen):
    """How calls of one API are merged into one call of the user's method.

    Attributes:
        max_batch_size: most rows in one call of the method.
        max_latency_ms: longest that a caller accepts to wait for an answer; older calls are refused.
        queue_delay_us: how long Triton may hold a request back, waiting for others to join it.
        input_axis: batch axis of every array argument, as the method sees it.
        output_axis: batch axis of an array result.
    """

    max_batch_size: int
    max_latency_ms: float
    queue_delay_us: int
    input_axis: int = 0
    output_axis: int = 0


class Passing(StrEnum):
    """How an argument reaches the method."""

    KEYWORD = "keyword"
    POSITIONAL = "positional"
    SPREAD = "spread"
    SPREAD_KEYWORDS = "spread_keywords"


class Placement(StrEnum):
    """Where the methods of a service run: in a worker of Triton's, or on the front-end's event loop.

    With `command` it has none: a process of its own answers its HTTP, and the front-end passes that on.
    """

    TRITON = "triton"
    FRONTEND = "frontend"
    COMMAND = "command"


class ArgumentSpec(Frozen):
    """One argument of an API.

    Attributes:
        passing: by name, by position only, or spread (`*args`: a list; `**kwargs`: an object).
        required: the method has no default for it.
        default: the default in JSON form, for documentation; the worker leaves the real one to Python.
        has_default_example: whether `default` holds one (None is a value).
    """

    name: str
    value: ValueSpec
    passing: Passing = Passing.KEYWORD
    required: bool = True
    default: Any = None
    has_default_example: bool = False


class ApiSpec(Frozen):
    """One method that answers calls.

    Attributes:
        result: of a stream, what one chunk is.
        root: the one argument is the whole body, not a field in it.
        is_async: the method is a coroutine function or an async generator.
        stream: the method is a generator: any number of chunks, each sent as soon as it is there.
        context: the method takes the call's context, under this name.
    """

    name: str
    route: str
    doc: str | None = None
    arguments: tuple[ArgumentSpec, ...] = ()
    result: ValueSpec
    batch: BatchPolicy | None = None
    root: bool = False
    is_async: bool = False
    stream: bool = False
    context: str | None = None

    @property
    def has_effects(self) -> bool:
        """Whether an answer carries more than its result: see `ResponseEffects`."""
        return self.context is not None or self.result.nullable or self.result.kind in _HINTED_RESULTS


class Methods:
    """What follows from a service's APIs and checks alone."""

    if TYPE_CHECKING:  # pydantic would put them before the fields of the models that have them
        apis: tuple[ApiSpec, ...]
        checks: tuple[ApiSpec, ...]

    @property
    def methods(self) -> tuple[ApiSpec, ...]:
        """All that a worker runs: the APIs and the checks."""
        return self.apis + self.checks

    def api(self, name: str) -> ApiSpec:
        """The API of that name.

        Raises:
            KeyError: there is none.
        """
        for api in self.apis:
            if api.name == name:
                return api
        raise KeyError(name)

    @property
    def decoupled(self) -> bool:
        """Whether the service's Triton model may give any number of answers to a request. Calls of it are streams then."""
        return any(api.stream for api in self.methods)

    @property
    def max_batch_size(self) -> int:
        """Rows that one Triton request of the service's model may carry; 0 where no API batches.

        Where it is not 0 every tensor of the model has a batch axis in front, of length 1 for APIs that do not batch.
        """
        return max((api.batch.max_batch_size for api in self.apis if api.batch), default=0)


class CalledService(Frozen, Methods):
    """What somebody must know of a service to call it.

    Attributes:
        concurrent: see `ServiceSpec.concurrent`.
        timeout_s: that one call may take.
    """

    name: str
    apis: tuple[ApiSpec, ...] = ()
    checks: tuple[ApiSpec, ...] = ()
    placement: Placement = Placement.TRITON
    concurrent: bool = False
    timeout_s: float


class DependencySpec(Frozen):
    """Another service that the methods of a service call.

    Attributes:
        attribute: of the class.
        service: as it was when the caller was exported; None for one that is known by its URL alone.
        url: where it is served elsewhere; None for one that is served together with its caller.
    """

    attribute: str
    service: CalledService | None = None
    url: str | None = None


class ServiceInterface(Frozen, Methods):
    """What callers see of a service.

    Attributes:
        name: name of the service and of its Triton model.
        target: `module:Class`, where the worker finds the user's class.
        bentoml: the module's `import bentoml` means `orchestrator.bentoml`, wherever it is imported.
        template: the arguments that `use_arguments` gives to the module.
        checks: the service's own `__is_alive__`, `__is_ready__` and `__metrics__`: run like APIs, without a route.
        placement: where its methods run.
        models: model files that its class declares; each is a Triton model of its own.
        stored: stored models that its class reads by itself.
        dependencies: the services that its methods call.
    """

    name: str
    target: str
    bentoml: bool = False
    template: dict[str, Any] = {}
    doc: str | None = None
    apis: tuple[ApiSpec, ...] = ()
    checks: tuple[ApiSpec, ...] = ()
    placement: Placement = Placement.TRITON
    models: tuple[NativeModelSpec, ...] = ()
    stored: tuple[StoredModelRef, ...] = ()
    dependencies: tuple[DependencySpec, ...] = ()

    @model_validator(mode="after")
    def _check_apis(self) -> Self:
        if bool(self.apis) is (self.placement is Placement.COMMAND):
            raise ValueError("apis: a service has some, and one that is a process of its own has none")
        return self


class ServiceSpec(ServiceConfig, ServiceInterface):
    """A service: what callers see, and how it is run. The document has them in this order."""

    @property
    def concurrent(self) -> bool:
        """Whether a worker has several calls in flight, and answers them after it has given `execute` back to Triton."""
        return self.threads > 1 or any(api.is_async or api.stream for api in self.methods)

    def called(self) -> CalledService:
        """What those must know who call it."""
        return CalledService(
            name=self.name,
            apis=self.apis,
            checks=self.checks,
            placement=self.placement,
            concurrent=self.concurrent,
            timeout_s=self.traffic.timeout_s,
        )
