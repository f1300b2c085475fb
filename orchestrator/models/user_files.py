"""Which framework a user's file or folder is of, by what is in it."""

import json
import zipfile
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import StoreError
from orchestrator.formats.python_model import read_object
from orchestrator.models.frameworks import FRAMEWORKS, PICKLES, Framework, framework_of

__all__ = ["framework_of_file", "framework_of_kind"]

_BY_ENDING: Final = {
    ".onnx": "onnx",
    ".plan": "tensorrt",
    ".engine": "tensorrt",
    ".trt": "tensorrt",
    ".keras": "keras",
    ".h5": "keras",
    ".ubj": "xgboost",
    ".ts": "torchscript",
    ".torchscript": "torchscript",
}


def framework_of_file(path: Path) -> Framework | None:
    """The framework of a file or a folder; None where it is none that we know: it is kept as it is.

    A pickle is read to see, which runs code of whoever wrote it.

    Raises:
        StoreError: there is no such file.
    """
    if not path.exists():
        raise StoreError(f"there is no file or folder {path}")
    name = _of_folder(path) if path.is_dir() else _of_file(path)
    if name in PICKLES:
        return framework_of(_unpickled(path)) or FRAMEWORKS["pickle"]
    return FRAMEWORKS.get(name)


def framework_of_kind(path: Path, kind: str) -> str:
    """The framework to keep a file under, of which the user says what it is: a TorchScript file is torch's, too."""
    return "torchscript" if kind == "torch" and path.is_file() and _is_torchscript(path) else kind


def _of_file(path: Path) -> str:
    ending = path.suffix
    if ending in PICKLES:
        return ending
    if ending in (".pt", ".pth"):
        return "torchscript" if _is_torchscript(path) else "torch"
    if ending == ".txt":
        with path.open("rb") as file:
            return "lightgbm" if file.read(5) == b"tree\n" else ""
    if ending == ".json":
        return "xgboost" if "learner" in _json(path) else ""
    return _BY_ENDING.get(ending, "")


def _of_folder(path: Path) -> str:
    if (path / "modules.json").is_file():
        return "sentence_transformers"
    if (path / "config.json").is_file() and "model_type" in _json(path / "config.json"):
        return "huggingface"
    if (path / "saved_model.pb").is_file():
        return "tensorflow"
    return "onnx" if len([*path.glob("*.onnx")]) == 1 else ""


def _is_torchscript(path: Path) -> bool:
    """torch writes both into zip files; a script has code in it."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _unpickled(path: Path) -> Any:
    return read_object("pickle", path)
