"""What is to be done for a deployment or a rollback, before anything is: swaps, or the reason that there can be none."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from orchestrator.compiler import RepositoryPlan, plan_model
from orchestrator.compiler import Target as Engine
from orchestrator.deployment.code import ServiceCode
from orchestrator.deployment.configs import for_version
from orchestrator.deployment.differences import WITH_CODE, interface_differences, model_differences
from orchestrator.deployment.history import History, Served
from orchestrator.deployment.neighbours import among, callers_of
from orchestrator.deployment.serving import NativeTarget, ServiceTarget, Target
from orchestrator.deployment.swap import Swap
from orchestrator.errors import DeploymentError
from orchestrator.sdk.native import Resolved
from orchestrator.spec import SPEC_FILE, ServiceConfig, ServiceSpec, StoredModelRef, Tag
from orchestrator.worker.source import CODE_FILE

__all__ = ["to_before", "to_code", "to_native", "to_stored"]


def to_native(target: NativeTarget, resolved: Resolved, built_for: Engine = Engine.EMBEDDED) -> Swap | None:
    """Another version of a native model; None where it serves already.

    Args:
        built_for: the Triton that will run it.

    Raises:
        DeploymentError: it does not take and give the same.
    """
    now, fresh = target.spec, resolved.spec
    if now.tag == fresh.tag and now.files_digest == fresh.files_digest:
        return None
    differences = model_differences(now, fresh)
    if differences:
        raise DeploymentError(f"{fresh.tag} cannot stand in for {now.tag}: {'; '.join(differences)}")
    fresh = fresh.model_copy(update={"name": now.name, "options": now.options})
    plan = plan_model(fresh, resolved.files, built_for)
    root = PurePosixPath(now.name)
    history = target.history()
    served = Served(
        version=fresh.version,
        what=str(fresh.tag),
        config=for_version(plan.files[root / "config.pbtxt"].decode(), fresh.version),
        since=datetime.now(UTC),
    )
    return Swap(target.folder, history, history.deployed(served), _writer(plan, root / str(fresh.version)))


def _writer(plan: RepositoryPlan, inside: PurePosixPath) -> Callable[[Path], None]:
    """What writes one version's folder of a plan."""

    def write(place: Path) -> None:
        for path in (*plan.files, *plan.copies):
            if path.parts[: len(inside.parts)] != inside.parts:
                continue
            file = place.joinpath(*path.parts[len(inside.parts) :])
            file.parent.mkdir(parents=True, exist_ok=True)
            if path in plan.files:
                file.write_bytes(plan.files[path])
            else:
                shutil.copyfile(plan.copies[path], file)

    return write


def to_stored(target: ServiceTarget, tag: Tag) -> Swap | None:
    """The same code, reading another version of a stored model; None where it does already."""
    if target.pins[tag.name] == str(tag):
        return None
    history = target.history()
    return _repinned(target, history, history, tag)


def _repinned(target: ServiceTarget, history: History, below: History, tag: Tag) -> Swap:
    """A new version of the service that differs in one stored model.

    Args:
        below: what the new one is put on top of.
    """
    now, number = history.now, history.highest + 1
    spec = target.spec
    refs = [
        ref if Tag.of(ref.tag).name != tag.name else StoredModelRef(requested=ref.requested, tag=str(tag))
        for ref in spec.stored
    ]
    document = spec.model_copy(update={"stored": tuple(refs)}).document()
    source = target.folder.version(now.version)

    def write(place: Path) -> None:
        shutil.copytree(source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        (place / SPEC_FILE).write_bytes(document)

    served = now.model_copy(
        update={
            "version": number,
            "what": f"version {number} with {tag}",
            "config": for_version(now.config, number),
            "since": datetime.now(UTC),
            "stored": now.stored | {tag.name: str(tag)},
        }
    )
    return Swap(target.folder, history, below.deployed(served), write)


def to_code(target: ServiceTarget, code: ServiceCode, serves: Mapping[str, ServiceSpec]) -> Swap | None:
    """New code of a service; None where it is the code that serves.

    Args:
        code: for the Triton that will run it.
        serves: all services of the server by name, each as it serves now.

    Raises:
        DeploymentError: callers or the front-end would see a difference, it calls what is not served here, or the code
            that serves was not kept.
    """
    old = target.spec
    fresh_spec = among(code.spec, serves)
    differences = interface_differences(old, fresh_spec)
    if differences:
        callers = ", ".join(each.name for each in callers_of(old.name, serves))
        called = f", which {callers} call{'' if ',' in callers else 's'}" if callers else ""
        raise DeploymentError(
            f"the new {old.name} cannot stand in for the old{called}: {'; '.join(differences)}",
            hint="start the server again with it",
        )
    history = target.history()
    if not (target.folder.version(history.now.version) / CODE_FILE).is_file():
        raise DeploymentError(
            f"the code of the {old.name} that serves was not kept, for its folder is too large: there would be no way back",
            hint="start the server with --working-dir naming the folder of the module",
        )
    number = history.highest + 1
    fresh = _beside(replace(code, spec=fresh_spec), old)
    served = Served(
        version=number,
        what=f"version {number} of {code.folder}",
        config=fresh.config(number),
        since=datetime.now(UTC),
        stored={Tag.of(ref.tag).name: ref.tag for ref in fresh.spec.stored},
        code=fresh.digest,
    )
    if served.code == history.now.code and served.stored == history.now.stored:
        return None
    return Swap(target.folder, history, history.deployed(served), fresh.write)


def _beside(code: ServiceCode, old: ServiceSpec) -> ServiceCode:
    """The code among what goes on: the models that serve now, and the front-end's settings. Code moves alone."""
    pins = {ref.requested: ref for ref in old.stored}
    stored = tuple(pins.get(ref.requested, ref) for ref in code.spec.stored)
    kept = {name: getattr(old, name) for name in ServiceConfig.model_fields if name not in WITH_CODE}
    return replace(code, spec=code.spec.model_copy(update={**kept, "models": old.models, "stored": stored}))


def to_before(target: Target, name: str) -> Swap:
    """The version that served before.

    Args:
        name: a stored model's, where only that one is to go back; the others that a service reads stay.

    Raises:
        DeploymentError: nothing served before.
    """
    history = target.history()
    if isinstance(target, ServiceTarget) and name in target.stored:
        position = history.position_before(name)
        if position is None:
            raise _nothing_before(name, history.now.stored[name])
        earlier, now = history.served[position], history.now
        only_that = earlier.code == now.code and earlier.stored == now.stored | {name: earlier.stored[name]}
        if not only_that:
            return _repinned(target, history, history.back_to(position), Tag.of(earlier.stored[name]))
    else:
        position = len(history.served) - 2
        if position < 0:
            raise _nothing_before(name, history.now.what)
    return Swap(target.folder, history, history.back_to(position, since=datetime.now(UTC)))


def _nothing_before(name: str, now: str) -> DeploymentError:
    return DeploymentError(
        f"{name}: nothing served before {now}, as far as this server knows",
        hint="what was there before its start, or before the last five versions, is deployed by its name",
    )
