"""Spec -> the files of a model repository, in memory. Pure: the same spec gives the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from orchestrator.codec import Layout
from orchestrator.compiler.config import config_text, ensemble_config, python_config
from orchestrator.compiler.native import plan_model
from orchestrator.compiler.repository import RepositoryPlan, Target
from orchestrator.errors import CompileError
from orchestrator.formats import ModelFiles
from orchestrator.spec import SPEC_FILE, NativeModelSpec, Placement, ServiceSpec

__all__ = ["FACADE_FILE", "VERSION", "plan_graph", "plan_repository"]

VERSION: Final = "1"
FACADE_FILE: Final = ".facade"
"""Marks a facade, so that one whose API has gone can be told from a model of somebody else's."""
_MODEL_PY: Final = '''\
"""Written by `orchestrator export`. The service's code is not in here: see `service_path` in ../config.pbtxt."""

from orchestrator.worker.triton_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def plan_graph(
    services: Sequence[ServiceSpec], *, target: Target, service_path: str, models: Mapping[str, ModelFiles] = {}
) -> RepositoryPlan:
    """The files of services that are served together; arguments and errors as `plan_repository`.

    Args:
        services: dependencies before their callers, which may call them as soon as they start.
    """
    plans = [plan_repository(service, target=target, service_path=service_path, models=models) for service in services]
    files: dict[PurePosixPath, bytes] = {}
    copies: dict[PurePosixPath, Path] = {}
    for plan, service in zip(plans, services, strict=True):
        for path, content in plan.files.items():
            if files.setdefault(path, content) != content:
                raise CompileError(
                    f"{service.name} and another service have different models of the name {path.parts[0]!r}",
                    hint="give one of them a name=",
                )
        copies |= plan.copies
    names = dict.fromkeys(name for plan in plans for name in plan.models)
    return RepositoryPlan(files, tuple(names), copies, tuple(service.name for service in services))


def plan_repository(
    service: ServiceSpec, *, target: Target, service_path: str, models: Mapping[str, ModelFiles] = {}
) -> RepositoryPlan:
    """The files of one service; its native models come first, for it may call them as soon as it starts.

    A service that runs on the front-end has no model of its own, only its native ones.

    Args:
        service: what to serve.
        target: the embedded server runs every worker as a process of the host, which sees its GPUs anyway; the container gets
            an instance group a GPU where the service asks for one.
        service_path: folder of the user's module, relative to the repository.
        models: name of a native model -> its files.

    Raises:
        CompileError: the service is a process of its own, or a native model cannot be one of Triton's.
    """
    if service.placement is Placement.COMMAND:
        hint = "`orchestrator serve` runs it"
        raise CompileError(f"{service.name} has no Triton model: it is a process of its own", hint=hint)
    native = [plan_model(spec, _files_for(spec, models), target) for spec in _distinct(service).values()]
    own = RepositoryPlan({}, ())
    if service.placement is Placement.TRITON:
        own = _plan_service(service, target, service_path)
    plans = [*native, own]
    names = [name for plan in plans for name in plan.models]
    for name in names:
        if names.count(name) > 1:
            raise CompileError(f"{service.name} has two Triton models of the name {name!r}", hint="give one a name=")
    return RepositoryPlan(
        files={path: content for plan in plans for path, content in plan.files.items()},
        models=tuple(names),
        copies={path: source for plan in plans for path, source in plan.copies.items()},
        services=(service.name,),
    )


def _distinct(service: ServiceSpec) -> dict[str, NativeModelSpec]:
    """The native models by name; several attributes may be the same one."""
    found: dict[str, NativeModelSpec] = {}
    for spec in service.models:
        known = found.setdefault(spec.name, spec)
        if known.shared() != spec.shared():
            raise CompileError(
                f"{service.name}.{known.attribute} and {service.name}.{spec.attribute} are both the Triton model "
                f"{spec.name!r}, and differ",
                hint="give one of them a name=, or both the same version and options",
            )
    return found


def _files_for(spec: NativeModelSpec, models: Mapping[str, ModelFiles]) -> ModelFiles:
    if spec.name not in models:
        raise CompileError(f"the files of model {spec.name!r} are not known")
    return models[spec.name]


def _plan_service(service: ServiceSpec, target: Target, service_path: str) -> RepositoryPlan:
    layouts = [Layout.of(service, method) for method in service.methods]
    several = len(layouts) > 1
    max_batch_size = service.max_batch_size
    delays = [api.batch.queue_delay_us for api in service.apis if api.batch]
    inputs = [tensor for layout in layouts for tensor in layout.inputs()]
    if several:
        # One model for all APIs: every call sends the inputs of its own API only.
        inputs = [tensor.model_copy(update={"optional": True}) for tensor in inputs]
    main = python_config(
        service.name,
        inputs=inputs,
        outputs=[tensor for layout in layouts for tensor in layout.outputs()],
        max_batch_size=max_batch_size,
        queue_delay_us=min(delays, default=0),
        instances=service.workers,
        devices=_devices(service) if target is Target.CONTAINER and service.resources.gpu > 0 else None,
        decoupled=service.decoupled,
        parameters={"service_path": service_path},
    )
    root = PurePosixPath(service.name)
    files = {
        root / "config.pbtxt": config_text(main).encode(),
        root / VERSION / "model.py": _MODEL_PY.encode(),
        root / VERSION / SPEC_FILE: service.document(),
    }
    models = [service.name]
    for layout in layouts[: len(service.apis)] if several else ():
        name = f"{service.name}.{layout.api.name}"
        facade = ensemble_config(
            name,
            model=service.name,
            inputs=layout.inputs(),
            outputs=layout.outputs(),
            prefix=layout.name_of(""),
            max_batch_size=max_batch_size,
        )
        files[PurePosixPath(name) / "config.pbtxt"] = config_text(facade).encode()
        # Triton wants a version folder, and git keeps no empty ones.
        files[PurePosixPath(name) / VERSION / FACADE_FILE] = b""
        models.append(name)
    return RepositoryPlan(files, tuple(models))


def _devices(service: ServiceSpec) -> dict[int, int]:
    """GPU -> workers on it: each worker has its own, several that ask for a fraction share one.

    A worker that asks for several is on the first of its own; Triton gives an instance no more than one to start with.
    """
    first = [int(worker * service.resources.gpu) for worker in range(service.workers)]
    return {device: first.count(device) for device in dict.fromkeys(first)}
