"""What will run where, and why, as data: read from the spec and from the plan that `export` would write, so that both agree."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from orchestrator.cli.loading import models_of_graph
from orchestrator.compiler import RepositoryPlan, Target, plan_graph, plan_repository
from orchestrator.compiler.config import Config, parse_config
from orchestrator.compiler.native_config import runs_in_our_worker
from orchestrator.formats import ModelFiles
from orchestrator.sdk import Definition
from orchestrator.spec import (
    ANY,
    ApiSpec,
    DependencySpec,
    ModelFormat,
    NativeModelSpec,
    Placement,
    ServiceSpec,
)
from orchestrator.worker.native import threads_for

__all__ = [
    "ApiPlace",
    "Batching",
    "Devices",
    "Explanation",
    "ModelPlace",
    "Reasoned",
    "ServiceCall",
    "StoredRead",
    "explain",
]

_NAMES = {
    ModelFormat.ONNX: ("ONNX", "onnxruntime"),
    ModelFormat.TENSORRT: ("TensorRT", "tensorrt"),
    ModelFormat.TORCHSCRIPT: ("TorchScript", "torch"),
    ModelFormat.PYTHON: ("Python", "python"),
}


@dataclass(frozen=True, slots=True)
class Reasoned:
    """A decision in words.

    Attributes:
        why: the rule that made it, as a clause.
    """

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Batching:
    """How requests are merged.

    Attributes:
        max_rows: in one batch; 0 for no batching.
        queue_delay_us: how long a request is held back for others.
        by: who merges: `triton`, `worker` or `front-end`; empty for no batching.
    """

    max_rows: int
    queue_delay_us: int
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Devices:
    """Processes, or instances, and where they run.

    Attributes:
        count: of all; None for one in each front-end process.
        gpus: number of a GPU -> how many are on it; empty where none is assigned.
        sees_gpus: nothing is assigned, and each finds every GPU of the machine.
    """

    count: int | None
    gpus: Mapping[str, int]
    sees_gpus: bool = False


@dataclass(frozen=True, slots=True)
class ApiPlace:
    """One API.

    Attributes:
        kind: `sync`, `async`, `stream` or `async stream`.
        runs: how its calls run in the process that has the instance.
    """

    name: str
    route: str
    kind: str
    runs: str
    batching: Batching


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """One native model.

    Attributes:
        attribute: of the class.
        name: of the Triton model.
        format: of the file.
        file: where it comes from, on this machine.
        size: of all its files, in bytes; a process needs at least that much memory.
        tag: of the stored model; None for a path.
        requested: as the class names it; None for a path.
        digest: sha256 over its files.
        threads: of one instance; None where its backend decides.
        accelerator: only in the container; None for none.
    """

    attribute: str
    name: str
    format: str
    file: str
    size: int
    requested: str | None
    tag: str | None
    version: int
    digest: str
    backend: Reasoned
    batching: Batching
    instances: Devices
    threads: int | None
    threads_why: str
    warmup: bool
    response_cache: bool
    accelerator: str | None


@dataclass(frozen=True, slots=True)
class StoredRead:
    """A stored model that the class reads by itself."""

    requested: str
    tag: str


@dataclass(frozen=True, slots=True)
class ServiceCall:
    """Another service that the methods call.

    Attributes:
        attribute: of the class.
        service: its name; None for one that is known by its URL alone.
        url: where it is served elsewhere; None for one that is served together with its caller.
        through: how a call gets there.
    """

    attribute: str
    service: str | None
    url: str | None
    through: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A service.

    Attributes:
        source: `module:Class`, or `model:NAME`.
        placement: `triton`, `frontend` or `command`.
        runs: the same in words, and the rule.
        processes: that hold an instance of the class.
        threads: sync calls that one instance runs at once.
        memory_bytes: of one process, as `resources.memory` says; None where nobody said.
        calls_models: how its methods reach its models; empty where it has none.
        facades: Triton models for plain Triton clients: one API each, with no process of their own.
        calls: the other services that its methods call.
        called_by: names of the services that call it; callers by HTTP are not among them.
        others: the services that it reaches and that are served with it, in the order in which their callers name them;
            only the named service has some.
    """

    service: str
    source: str
    target: str
    placement: str
    runs: Reasoned
    processes: Devices
    threads: int
    memory_bytes: int | None
    calls_models: str
    apis: tuple[ApiPlace, ...]
    models: tuple[ModelPlace, ...]
    facades: tuple[str, ...]
    stored: tuple[StoredRead, ...]
    calls: tuple[ServiceCall, ...] = ()
    called_by: tuple[str, ...] = ()
    others: "tuple[Explanation, ...]" = ()


def explain(definition: Definition, target: Target, cores: int) -> Explanation:
    """What runs where.

    Args:
        definition: only the specs of its graph, the reasons of their placement, and the places of their models' files
            are looked at.
        cores: of the machine that will run it.

    Raises:
        CompileError: it cannot run there.
    """
    services = {each.spec.name: each for each in definition.graph}
    if definition.others:
        specs = [each.spec for each in services.values()]
        plan_graph(specs, target=target, service_path=".", models=models_of_graph(definition))
    own, *others = (_service(services[name], services, target, cores) for name in _reached(definition, services))
    return replace(own, others=tuple(others))


def _reached(definition: Definition, services: Mapping[str, Definition]) -> Iterator[str]:
    """Names of the services as a reader meets them: each before those that it calls."""
    found = dict.fromkeys([definition.spec.name])
    yield definition.spec.name
    to_do = [iter(definition.spec.dependencies)]
    while to_do:
        called = next(to_do[-1], None)
        if called is None:
            to_do.pop()
        elif called.service is not None and called.service.name not in found:
            found[called.service.name] = None
            yield called.service.name
            to_do.append(iter(services[called.service.name].spec.dependencies))


def _service(definition: Definition, services: Mapping[str, Definition], target: Target, cores: int) -> Explanation:
    spec = definition.spec
    plan = RepositoryPlan({}, ())
    if spec.placement is not Placement.COMMAND:
        plan = plan_repository(spec, target=target, service_path=".", models=definition.models)
    configs = {name: parse_config(plan.files[PurePosixPath(name) / "config.pbtxt"].decode()) for name in plan.models}
    native = {model.name for model in spec.models}
    return Explanation(
        service=spec.name,
        source=spec.target,
        target=target.value,
        placement=spec.placement.value,
        runs=Reasoned(_PLACES[spec.placement], definition.placement_reason),
        processes=_processes(spec, configs),
        threads=spec.threads,
        memory_bytes=spec.resources.memory_bytes,
        calls_models=_CALLS[spec.placement] if spec.models else "",
        apis=tuple(_api(spec, api) for api in spec.apis),
        models=tuple(
            _model(each, definition.models[each.name], configs[each.name], target, cores) for each in spec.models
        ),
        facades=tuple(name for name in plan.models if name != spec.name and name not in native),
        stored=tuple(StoredRead(each.requested, each.tag) for each in spec.stored),
        calls=tuple(_call(spec, each, services) for each in spec.dependencies),
        called_by=tuple(each.spec.name for each in services.values() if spec.name in _called(each.spec)),
    )


def _called(spec: ServiceSpec) -> Iterator[str]:
    return (each.service.name for each in spec.dependencies if each.service is not None)


def _call(caller: ServiceSpec, dependency: DependencySpec, services: Mapping[str, Definition]) -> ServiceCall:
    if dependency.service is None:
        return ServiceCall(dependency.attribute, None, dependency.url, "HTTP")
    name = dependency.service.name
    together = caller.placement is services[name].spec.placement is Placement.FRONTEND
    through = "the same event loop" if together else _CALLS[caller.placement]
    return ServiceCall(dependency.attribute, name, None, through)


_PLACES = {
    Placement.TRITON: "worker processes in Triton's Python backend",
    Placement.FRONTEND: "the front-end's event loop",
    Placement.COMMAND: "a process of its own, behind the front-end",
}
_CALLS: Final = {
    Placement.TRITON: "BLS, inside Triton",
    Placement.FRONTEND: "Triton's network API",
    Placement.COMMAND: "",
}


def _processes(spec: ServiceSpec, configs: Mapping[str, Config]) -> Devices:
    match spec.placement:
        case Placement.TRITON:
            found = _instances(configs[spec.name])
            return replace(found, sees_gpus=spec.resources.gpu > 0 and not found.gpus)
        case Placement.FRONTEND:
            return Devices(None, {}, sees_gpus=spec.resources.gpu > 0)
        case Placement.COMMAND:
            return Devices(1, {})


def _instances(config: Config) -> Devices:
    gpus = {str(gpu): group.count for group in config.instance_group for gpu in group.gpus}
    return Devices(sum(group.count * max(1, len(group.gpus)) for group in config.instance_group), gpus)


def _api(spec: ServiceSpec, api: ApiSpec) -> ApiPlace:
    kind = " ".join(word for word, is_so in (("async", api.is_async), ("stream", api.stream)) if is_so) or "sync"
    own_loop = spec.concurrent or spec.placement is Placement.FRONTEND
    if api.is_async:
        runs = "many at once, on the event loop"
    elif own_loop:
        runs = f"{spec.threads} at once, in threads" if spec.threads > 1 else "one at a time, in a thread"
    else:
        runs = "one at a time in each worker"
    return ApiPlace(api.name, api.route, kind, runs, _api_batching(spec, api, own_loop))


def _api_batching(spec: ServiceSpec, api: ApiSpec, own_loop: bool) -> Batching:
    if api.batch is None:
        return Batching(0, 0, "", "it is not batchable")
    rows = api.batch.max_batch_size
    if not own_loop:
        return Batching(
            rows, api.batch.queue_delay_us, "triton", "it is batchable, and a worker takes one batch at a time"
        )
    why = "it is batchable; calls that come while others run go together afterwards"
    return Batching(rows, 0, "front-end" if spec.placement is Placement.FRONTEND else "worker", why)


def _model(spec: NativeModelSpec, files: ModelFiles, config: Config, target: Target, cores: int) -> ModelPlace:
    ours = runs_in_our_worker(spec, target)
    instances = _instances(config)
    if spec.options.gpus and not instances.gpus:
        # Our workers are processes of the host, and each takes the GPU of its number.
        instances = Devices(instances.count, dict.fromkeys(map(str, spec.options.gpus), spec.options.instances))
    threads, threads_why = _threads(spec, ours, cores)
    return ModelPlace(
        attribute=spec.attribute,
        name=spec.name,
        format=_NAMES[spec.format][0],
        file=str(files.files[files.file]),
        size=sum(path.stat().st_size for path in files.files.values()),
        requested=spec.requested,
        tag=spec.tag,
        version=spec.version,
        digest=spec.files_digest,
        backend=_backend(spec, ours),
        batching=_model_batching(spec, config),
        instances=instances,
        threads=threads,
        threads_why=threads_why,
        warmup=spec.options.warmup,
        response_cache=spec.options.response_cache,
        accelerator=spec.options.accelerator.value if spec.options.accelerator and target is Target.CONTAINER else None,
    )


def _backend(spec: NativeModelSpec, ours: bool) -> Reasoned:
    kind, library = _NAMES[spec.format]
    if spec.format is ModelFormat.PYTHON:
        if spec.framework:
            why = f"only {spec.framework} itself reads the file"
            return Reasoned(f"{spec.framework}, in Triton's Python backend", why)
        return Reasoned("Triton's Python backend", "the file is a model.py of that backend")
    if ours:
        return Reasoned(f"{library}, in Triton's Python backend", "the embedded Triton has no other backend")
    return Reasoned(f"Triton's {library} backend", f"the container has it for {kind} files")


def _model_batching(spec: NativeModelSpec, config: Config) -> Batching:
    if not config.max_batch_size:
        why = "max_batch_size=0 says so" if spec.signature.batched else "an input or output has no free axis 0"
        return Batching(0, 0, "", why)
    why = "axis 0 of all its inputs and outputs is free"
    if any(_free_lengths(spec)):
        why += "; only requests whose other free axes have the same lengths share a batch"
    return Batching(config.max_batch_size, config.dynamic_batching.max_queue_delay_microseconds, "triton", why)


def _free_lengths(spec: NativeModelSpec) -> Iterator[str]:
    return (tensor.name for tensor in spec.signature.inputs if ANY in tensor.shape[1:])


def _threads(spec: NativeModelSpec, ours: bool, cores: int) -> tuple[int | None, str]:
    if spec.options.threads:
        return spec.options.threads, "threads= says so"
    if not ours:
        return None, "its backend decides"
    share = threads_for(spec, cores)
    return share, f"its share of this machine's {cores} cores"
