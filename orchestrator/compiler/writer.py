"""The plan on disk: whole models appear at once or not at all."""

import contextlib
import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from orchestrator.compiler.plan import FACADE_FILE
from orchestrator.compiler.repository import RepositoryPlan
from orchestrator.errors import CompileError
from orchestrator.formats import MODEL_SPEC_FILE
from orchestrator.spec import NativeModelSpec

__all__ = ["check_repository", "write_repository"]

_OURS = "# Written by `orchestrator export`"


def write_repository(plan: RepositoryPlan, repository: Path) -> None:
    """Writes every model of the plan; models that are on disk as planned are left untouched.

    Each model is written beside its place and then renamed into it, so that neither a reader nor a crash sees half of
    one. Other models in the repository stay.

    Raises:
        CompileError: a folder of a model's name is not ours, or the disk refuses.
    """
    try:
        repository.mkdir(parents=True, exist_ok=True)
        for model in plan.models:
            if list(_differences(plan, repository, model)):
                _replace(plan, repository, model)
        for stale in _stale(plan, repository):
            shutil.rmtree(stale)
    except OSError as error:
        raise CompileError(f"cannot write {error.filename or repository}: {error.strerror}") from error


def check_repository(plan: RepositoryPlan, repository: Path) -> list[str]:
    """What differs between the plan and the disk, one line a file; empty where nothing does."""
    lines = [line for model in plan.models for line in _differences(plan, repository, model)]
    return lines + [f"{stale.name}: {reason}" for stale, reason in _stale(plan, repository).items()]


def _stale(plan: RepositoryPlan, repository: Path) -> dict[Path, str]:
    """Facades of the service's former APIs, and former models of its own, with the reason."""
    found: dict[Path, str] = {}
    marks = ((service, mark) for service in plan.services for mark in sorted(repository.glob(f"{service}.*/*/*")))
    for service, mark in marks:
        place = mark.parents[1]
        # A service may be named like the beginning of another; an API or attribute has no dots.
        ours = place.name.removeprefix(f"{service}.").isidentifier() and _is_ours(place)
        if place.name in plan.models or not ours:
            continue
        if mark.name == FACADE_FILE:
            found[place] = "its API is gone"
        elif mark.name == MODEL_SPEC_FILE and NativeModelSpec.parse(mark.read_bytes()).tag is None:
            # Those from the store have names of their own, and may be somebody else's as well.
            found[place] = "its model is gone"
    return found


def _differences(plan: RepositoryPlan, repository: Path, model: str) -> Iterator[str]:
    planned = set(plan.paths_of(model))
    for path in plan.paths_of(model):
        file = repository / path
        if not file.is_file():
            yield f"{path}: missing"
        elif not (file.read_bytes() == plan.files[path] if path in plan.files else _same(plan.copies[path], file)):
            yield f"{path}: not what the service says"
    for file in sorted((repository / model).rglob("*")):
        path = PurePosixPath(file.relative_to(repository).as_posix())
        # Python writes caches next to the model that it runs.
        if file.is_file() and path not in planned and "__pycache__" not in path.parts:
            yield f"{path}: not part of the service"


def _same(source: Path, file: Path) -> bool:
    return source.is_file() and (source.samefile(file) or filecmp.cmp(source, file, shallow=False))


def _replace(plan: RepositoryPlan, repository: Path, model: str) -> None:
    place = repository / model
    if place.exists() and not _is_ours(place):
        raise CompileError(
            f"{place} was not written by orchestrator and is left alone",
            hint="remove it, or name another --repository",
        )
    fresh = Path(tempfile.mkdtemp(prefix=f".{model}.", dir=repository))
    try:
        fresh.chmod(0o755)
        for path in plan.paths_of(model):
            file = fresh.joinpath(*path.parts[1:])
            file.parent.mkdir(parents=True, exist_ok=True)
            if path in plan.files:
                file.write_bytes(plan.files[path])
            else:
                _copy(plan.copies[path], file)
        old = fresh.with_name(fresh.name + ".old")
        if place.exists():
            os.rename(place, old)
        try:
            os.rename(fresh, place)
        except OSError:
            if old.exists():
                os.rename(old, place)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _copy(source: Path, place: Path) -> None:
    """A hard link where nobody will write into the source, as in the model store; else a copy."""
    source = source.resolve()
    if not source.stat().st_mode & 0o222:
        with contextlib.suppress(OSError):  # another file system, or one without links
            os.link(source, place)
            return
    shutil.copyfile(source, place)


def _is_ours(place: Path) -> bool:
    config = place / "config.pbtxt"
    return config.is_file() and config.read_text(errors="replace").startswith(_OURS)
