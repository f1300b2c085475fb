"""`import bentoml` in the user's code, answered by `orchestrator.bentoml`.

That package is named here and not imported: it stands above this layer, and services without the flag do without it.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Final, cast

__all__ = ["ALIAS", "install_bentoml", "uninstall_bentoml"]

ALIAS: Final = "bentoml"
_PACKAGE: Final = "orchestrator.bentoml"
_INSIDES: Final = ("_bentoml_sdk", "_bentoml_impl")
"""Top-level packages of BentoML's that only BentoML itself should import."""


def install_bentoml() -> None:
    """From now on `import bentoml` means `orchestrator.bentoml` in this process, also where a real one is installed."""
    _forget()
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def uninstall_bentoml() -> None:
    """Undoes `install_bentoml`; modules that have imported the alias keep what they have."""
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)
    _forget()


def _forget() -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] in (ALIAS, *_INSIDES):
            del sys.modules[name]


class _Finder(MetaPathFinder):
    """Finds `bentoml` and its modules, and says why it does not find one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, _, rest = fullname.partition(".")
        if top in _INSIDES:
            raise ImportError(f"{fullname} is an inside of BentoML; use the public names of bentoml", name=fullname)
        if top == ALIAS:
            return ModuleSpec(fullname, _Loader(f"{_PACKAGE}.{rest}" if rest else _PACKAGE))
        if fullname.startswith(f"{_PACKAGE}.") and PathFinder.find_spec(fullname, path) is None:
            # Also where Python looks for `from bentoml import name`: it goes by the module's own name.
            raise ImportError(_reason(fullname.removeprefix(f"{_PACKAGE}.")), name=fullname)
        return None


class _Loader(Loader):
    """Gives a module of ours under its second name: the same object, and as it was."""

    def __init__(self, real: str) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._real)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has just put the alias's there


_FINDER: Final = _Finder()


def _reason(name: str) -> str:
    """Why `bentoml.<name>` is not there, in one line."""
    return cast(str, importlib.import_module(f"{_PACKAGE}.absent").reason_of(name))
