"""What `save_model` is given: an object, or a user's file or folder, and which framework it is of."""

import shutil
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import OrchestratorError, StoreError
from orchestrator.models.faults import as_store_error
from orchestrator.models.frameworks import Framework, framework_of, named_framework
from orchestrator.models.user_files import framework_of_file, framework_of_kind

__all__ = ["Source", "kind_of", "require_framework", "source_of"]

_KEEPS_TOO: Final = {
    "sklearn": ("xgboost", "lightgbm"),
    "tensorflow": ("keras",),
    "torch": ("huggingface", "sentence_transformers"),
}
"""Framework -> others whose objects it can keep, where the user says so."""
_CONVERTER_OF: Final = {"torchscript": "torch"}
"""Framework -> source of its converters, where they go by another name."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be saved.

    Attributes:
        kind: what it is, as the converters say.
        row: None for a file that is kept as it is.
        path: of a user's file or folder; None for an object.
        value: the object.
    """

    kind: str
    row: Framework | None
    path: Path | None = None
    value: Any = None

    def write(self, folder: Path) -> str:
        """Puts its own files into a folder; returns the name of the one that is the model, "" where there is no such one."""
        if self.path is None:
            return self._write_object(folder)
        if self.row is not None:
            return self.row.copy(self.path, folder)
        if self.path.is_dir():
            shutil.copytree(self.path, folder, dirs_exist_ok=True)
            return "model.py" if (folder / "model.py").is_file() else ""
        shutil.copyfile(self.path, folder / self.path.name)
        return self.path.name

    def _write_object(self, folder: Path) -> str:
        assert self.row is not None
        try:
            return self.row.write(self.value, folder)
        except OrchestratorError:
            raise
        except Exception as error:  # whatever a framework raises
            reason = " ".join(str(error).split())[:300]
            what = f"a {kind_of(self.value)} cannot be kept as a model of {self.row.name}"
            raise StoreError(f"{what}: {type(error).__name__}: {reason}") from error

    def read(self, folder: Path, file: str) -> Any:
        """The object, from the file that was written where there is none in memory."""
        if self.path is None or self.row is None:
            return self.value
        return self.row.read(folder / file)


def source_of(model: Any, framework: str | None, to: str | None) -> Source:
    """What is to be saved.

    Args:
        framework: as the user says; None: what the model, or the file, is.
        to: target of a conversion, which may know frameworks that we do not.

    Raises:
        StoreError: there is no such file; or it is of no framework that is known.
    """
    if isinstance(model, str | PathLike):
        return _file_of(Path(model).expanduser(), framework, to)
    row = framework_of(model) if framework is None else named_framework(framework)
    if row is None:
        raise StoreError(
            f"no framework that is known has made a {kind_of(model)}", hint="framework='pickle' pickles anything"
        )
    require_framework(model, row)
    return Source(_CONVERTER_OF.get(row.name, row.name), row, value=model)


def require_framework(value: object, row: Framework) -> None:
    """Refuses an object that another framework made.

    Raises:
        StoreError: it is of one that we know, and that the row's does not keep.
    """
    found = framework_of(value)
    if found is None or found is row or row.name == "pickle" or found.name in _KEEPS_TOO.get(row.name, ()):
        return
    raise StoreError(f"a {kind_of(value)} is no model of {row.name}", hint=f"framework={found.name!r}")


def _file_of(path: Path, framework: str | None, to: str | None) -> Source:
    with as_store_error():
        found = framework_of_file(path) if framework is None else None
    if framework is None:
        kind = found.name if found else ""
        if to and not found:
            raise StoreError(f"{path} does not show which framework's it is", hint="name it: framework='sklearn'")
        return Source(_CONVERTER_OF.get(kind, kind), found, path)
    if not path.exists():
        raise StoreError(f"there is no file or folder {path}")
    try:
        row = named_framework(framework_of_kind(path, framework))
    except StoreError:
        if to is None:  # a converter may know what we do not
            raise
        row = None
    return Source(_CONVERTER_OF.get(framework, framework), row, path)


def kind_of(value: object) -> str:
    """An object's class, for messages."""
    return f"{type(value).__module__.partition('.')[0]}.{type(value).__qualname__}"
