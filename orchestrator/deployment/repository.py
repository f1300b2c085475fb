"""What a repository on disk says that is served from it, where that is on other machines."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from google.protobuf.message import Message

from orchestrator.compiler import Target as Engine
from orchestrator.compiler.config import parse_config
from orchestrator.compiler.native_config import runs_in_our_worker
from orchestrator.deployment.code import ServiceCode
from orchestrator.deployment.folder import ModelFolder
from orchestrator.deployment.serving import NativeTarget, ServiceTarget, Serving
from orchestrator.errors import DeploymentError
from orchestrator.formats import MODEL_SPEC_FILE
from orchestrator.spec import SPEC_FILE, ServiceSpec
from orchestrator.worker.snapshot import take_snapshot
from orchestrator.worker.source import CODE_FILE, code_files

__all__ = ["keep_code", "pin", "serving_in", "versions_in"]


def serving_in(repository: Path) -> Serving:
    """All services and models of ours in a repository; a service that runs on the front-end has left none there.

    Raises:
        DeploymentError: there is nothing of ours.
    """
    services: list[ServiceSpec] = []
    native: list[str] = []
    for config in sorted(repository.glob("*/config.pbtxt")):
        folder = ModelFolder(repository, config.parent.name)
        if folder.name.startswith(".") or not folder.versions:
            continue
        place = folder.version(folder.serving)
        if (place / SPEC_FILE).is_file():
            services.append(ServiceTarget(folder).spec)
        elif (place / MODEL_SPEC_FILE).is_file():
            native.append(folder.name)
    if not services and not native:
        raise DeploymentError(
            f"{repository} has no service or model of ours",
            hint="--repository is the folder that `orchestrator export` wrote and that the Tritons read",
        )
    ordered = _callees_first(services)
    return Serving(
        repository,
        ordered[-1] if ordered else None,
        others=tuple(ordered[:-1]),
        native=tuple(native),
        built_for=_built_for(repository, services, native),
        elsewhere=True,
    )


def versions_in(serving: Serving) -> dict[str, int]:
    """Model -> the version that serves; those that others call first."""
    return {target.folder.name: target.folder.serving for target in serving.targets}


def pin(serving: Serving) -> None:
    """Makes each config name its version: an exported one leaves that to what lies on disk, where the next one will lie."""
    for target in serving.targets:
        target.folder.pin()


def keep_code(serving: Serving, code: ServiceCode, before: Path | None) -> bool:
    """Keeps the code that serves with its version, where an export has left it in its folder: for the way back.

    Args:
        code: as it is in its folder now.
        before: a folder with the code that serves; None: it is that of `code`, if nothing there has changed since the export.

    Returns:
        Whether there was something to keep.

    Raises:
        DeploymentError: nobody knows any more what serves.
    """
    folder = serving.own(code.spec.name).folder
    bare = [number for number in folder.versions if not (folder.version(number) / CODE_FILE).is_file()]
    if folder.serving not in bare:
        return False
    if before is None:
        changed = _changed_since(folder.version(folder.serving) / SPEC_FILE, code)
        if changed:
            raise DeploymentError(
                f"the code of the {folder.name} that serves was not kept by the export, and {changed[0]} has changed since: "
                "there would be no way back",
                hint="--before names a folder with the code that serves; once, or never if `orchestrator deploy` runs "
                "before the first change",
            )
    files = code_files(None, code.snapshot if before is None else take_snapshot(before.resolve()))
    for number in bare:
        folder.add(number, files)
    return True


def _changed_since(mark: Path, code: ServiceCode) -> list[str]:
    exported_ns = mark.stat().st_mtime_ns
    with zipfile.ZipFile(io.BytesIO(code.snapshot.archive)) as sources:
        return [name for name in sources.namelist() if (code.folder / name).stat().st_mtime_ns > exported_ns]


def _callees_first(services: Sequence[ServiceSpec]) -> list[ServiceSpec]:
    """The one that nobody calls comes last."""
    by_name = {service.name: service for service in services}
    called = {name for service in services for name in _calls(service, by_name)}
    found: dict[str, ServiceSpec] = {}

    def add(service: ServiceSpec) -> None:
        for name in _calls(service, by_name):
            if name not in found:
                add(by_name[name])
        found[service.name] = service

    for service in sorted(services, key=lambda service: service.name not in called):
        if service.name not in found:
            add(service)
    return list(found.values())


def _calls(service: ServiceSpec, known: Mapping[str, ServiceSpec]) -> list[str]:
    names = [each.service.name for each in service.dependencies if each.service is not None]
    return [name for name in names if name in known]


def _built_for(repository: Path, services: Sequence[ServiceSpec], native: Sequence[str]) -> Engine:
    """Which Triton an export was for, where that shows: with neither a GPU nor a model file both get the same."""
    for name in native:
        folder = ModelFolder(repository, name)
        spec = NativeTarget(folder).spec
        ours = _config(folder).backend == "python"
        if not ours and runs_in_our_worker(spec, Engine.EMBEDDED):
            return Engine.CONTAINER
    for service in services:
        if any(group.gpus for group in _config(ModelFolder(repository, service.name)).instance_group):
            return Engine.CONTAINER
    return Engine.EMBEDDED


def _config(folder: ModelFolder) -> Message:
    return parse_config(folder.config)
