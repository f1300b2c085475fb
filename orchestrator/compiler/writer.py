"""The plan on disk: whole models appear at once or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from orchestrator.compiler.plan import FACADE_FILE, VERSION, RepositoryPlan
from orchestrator.errors import CompileError

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
        for stale in _stale_facades(plan, repository):
            shutil.rmtree(stale)
    except OSError as error:
        raise CompileError(f"cannot write {error.filename or repository}: {error.strerror}") from error


def check_repository(plan: RepositoryPlan, repository: Path) -> list[str]:
    """What differs between the plan and the disk, one line a file; empty where nothing does."""
    lines = [line for model in plan.models for line in _differences(plan, repository, model)]
    return lines + [f"{stale.name}: its API is gone" for stale in _stale_facades(plan, repository)]


def _stale_facades(plan: RepositoryPlan, repository: Path) -> list[Path]:
    """Facades of the service's former APIs."""
    main = plan.models[0]
    return [
        mark.parents[1]
        for mark in sorted(repository.glob(f"{main}.*/{VERSION}/{FACADE_FILE}"))
        if mark.parents[1].name not in plan.models and _is_ours(mark.parents[1])
    ]


def _files_of(plan: RepositoryPlan, model: str) -> dict[PurePosixPath, bytes]:
    return {path: content for path, content in plan.files.items() if path.parts[0] == model}


def _differences(plan: RepositoryPlan, repository: Path, model: str) -> Iterator[str]:
    planned = _files_of(plan, model)
    for path, content in planned.items():
        file = repository / path
        if not file.is_file():
            yield f"{path}: missing"
        elif file.read_bytes() != content:
            yield f"{path}: not what the service says"
    for file in sorted((repository / model).rglob("*")):
        path = PurePosixPath(file.relative_to(repository).as_posix())
        # Python writes caches next to the model that it runs.
        if file.is_file() and path not in planned and "__pycache__" not in path.parts:
            yield f"{path}: not part of the service"


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
        for path, content in _files_of(plan, model).items():
            file = fresh.joinpath(*path.parts[1:])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
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


def _is_ours(place: Path) -> bool:
    config = place / "config.pbtxt"
    return config.is_file() and config.read_text(errors="replace").startswith(_OURS)
