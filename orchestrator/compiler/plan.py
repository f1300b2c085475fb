"""Spec -> the files of a model repository, in memory. Pure: the same spec gives the same bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final

from orchestrator.codec import Layout
from orchestrator.compiler.config import config_text, ensemble_config, python_config
from orchestrator.errors import CompileError
from orchestrator.spec import SPEC_FILE, Placement, ServiceSpec

__all__ = ["FACADE_FILE", "VERSION", "RepositoryPlan", "Target", "plan_repository"]

VERSION: Final = "1"
FACADE_FILE: Final = ".facade"
"""Marks a facade, so that one whose API has gone can be told from a model of somebody else's."""
_MODEL_PY: Final = '''\
"""Written by `orchestrator export`. The service's code is not in here: see `service_path` in ../config.pbtxt."""

from orchestrator.worker.triton_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


class Target(StrEnum):
    """Which Triton the repository is for."""

    EMBEDDED = "embedded"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class RepositoryPlan:
    """What a model repository must hold for a service.

    Attributes:
        files: path inside the repository -> content.
        models: names of its Triton models, in the order to load them.
    """

    files: Mapping[PurePosixPath, bytes]
    models: tuple[str, ...]


def plan_repository(service: ServiceSpec, *, target: Target, service_path: str) -> RepositoryPlan:
    """The files of one service.

    Args:
        service: what to serve.
        target: the embedded server runs every worker as a process of the host, which sees its GPUs anyway; the container gets
            an instance group a GPU where the service asks for one.
        service_path: folder of the user's module, relative to the repository.

    Raises:
        CompileError: the service is a process of its own.
    """
    if service.placement is Placement.COMMAND:
        hint = "`orchestrator serve` runs it"
        raise CompileError(f"{service.name} has no Triton model: it is a process of its own", hint=hint)
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
        decoupled=service.concurrent,
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
