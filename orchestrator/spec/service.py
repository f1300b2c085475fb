"""A service as data: everything that the compiler, the server and the client know of a user's class."""

from typing import Any, Final

from pydantic import Field

from orchestrator.spec.frozen import Frozen
from orchestrator.spec.values import ValueSpec

__all__ = ["ApiSpec", "ArgumentSpec", "BatchPolicy", "Resources", "ServiceSpec", "Traffic"]

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


class ArgumentSpec(Frozen):
    """One argument of an API.

    Attributes:
        required: the method has no default for it.
        default: the default in JSON form, for documentation; the worker leaves the real one to Python.
        has_default_example: whether `default` holds one (None is a value).
    """

    name: str
    value: ValueSpec
    required: bool = True
    default: Any = None
    has_default_example: bool = False


class ApiSpec(Frozen):
    """One method that answers calls."""

    name: str
    route: str
    doc: str | None = None
    arguments: tuple[ArgumentSpec, ...] = ()
    result: ValueSpec
    batch: BatchPolicy | None = None


class Resources(Frozen):
    """What one worker asks for.

    Attributes:
        cpu: cores; None where not said.
        memory_bytes: bytes of RAM.
        gpu: GPUs; a fraction is a share of one.
        gpu_type: name of the kind of GPU, for schedulers.
    """

    cpu: float | None = None
    memory_bytes: int | None = None
    gpu: float = 0
    gpu_type: str | None = None


class Traffic(Frozen):
    """Limits on calls.

    Attributes:
        timeout_s: a call that takes longer is answered with a time-out.
        max_concurrency: calls in flight in the whole service; None for no limit.
        concurrency: how many calls at once one replica is meant for (a hint for schedulers).
    """

    timeout_s: float = 60.0
    max_concurrency: int | None = None
    concurrency: int | None = None


class ServiceSpec(Frozen):
    """A service.

    Attributes:
        name: name of the service and of its Triton model.
        target: `module:Class`, where the worker finds the user's class.
        workers: processes that each hold one instance of the class.
    """

    name: str
    target: str
    doc: str | None = None
    apis: tuple[ApiSpec, ...] = Field(min_length=1)
    workers: int = 1
    resources: Resources = Resources()
    traffic: Traffic = Traffic()

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
    def max_batch_size(self) -> int:
        """Rows that one Triton request of the service's model may carry; 0 where no API batches.

        Where it is not 0 every tensor of the model has a batch axis in front, of length 1 for APIs that do not batch.
        """
        return max((api.batch.max_batch_size for api in self.apis if api.batch), default=0)
