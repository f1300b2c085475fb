"""The modules of an example, as its service imports them."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

__all__ = ["EXAMPLES", "example_modules"]

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example_modules(example: str, *names: str) -> tuple[ModuleType, ...]:
    """Modules of an example's folder, which is not left on the path: `service` is in more than one of them."""
    with _folder_first(EXAMPLES / example):
        return tuple(importlib.import_module(name) for name in names)


@contextmanager
def _folder_first(folder: Path) -> Iterator[None]:
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(f"{folder}/"):
                del sys.modules[name]
