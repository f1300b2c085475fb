"""A repository that our Triton reads, before it does: which models are there, and what keeps it from loading them twice."""

import py_compile
from collections.abc import Iterator
from pathlib import Path

from orchestrator.formats import MODEL_SPEC_FILE
from orchestrator.spec import SPEC_FILE

__all__ = ["compile_workers", "load_order"]


def load_order(repository: Path) -> tuple[list[str], list[str], list[str]]:
    """The models that are there now: model files, services, and then facades, which must come one after the other."""
    native = sorted(set(_holding(repository, MODEL_SPEC_FILE)))
    services = sorted(set(_holding(repository, SPEC_FILE)))
    names = sorted(
        path.parent.name for path in repository.glob("*/config.pbtxt") if not path.parent.name.startswith(".")
    )
    return native, services, [name for name in names if name not in native and name not in services]


def compile_workers(repository: Path) -> None:
    """Writes what Python would write beside each `model.py` when it imports it.

    To Triton that is a change: with the first facade it would load the service again, with all of its workers.
    """
    for source in repository.glob("*/*/model.py"):
        py_compile.compile(str(source), quiet=2)


def _holding(repository: Path, name: str) -> Iterator[str]:
    return (path.parents[1].name for path in repository.glob(f"*/*/{name}") if not path.parents[1].name.startswith("."))
