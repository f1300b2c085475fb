"""The files of a model, where they are and what they are called in Triton's version folder."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.errors import DefinitionError
from orchestrator.formats.onnx_graph import external_files
from orchestrator.spec import ModelFormat, StoredFile, digest_of

__all__ = ["MAIN_NAMES", "MODEL_SPEC_FILE", "SAMPLE_FILE", "ModelFiles", "files_of", "main_file"]

SAMPLE_FILE: Final = "sample.npz"
MODEL_SPEC_FILE: Final = "model.json"
"""Beside a model's files in a version's folder: its `NativeModelSpec`."""
MAIN_NAMES: Final = {
    ModelFormat.ONNX: "model.onnx",
    ModelFormat.TENSORRT: "model.plan",
    ModelFormat.TORCHSCRIPT: "model.pt",
    ModelFormat.PYTHON: "model.py",
}
"""What Triton's backends look for."""
_ENDINGS: Final = {
    ModelFormat.ONNX: (".onnx",),
    ModelFormat.TENSORRT: (".plan", ".engine", ".trt"),
    ModelFormat.TORCHSCRIPT: (".pt", ".pth", ".ts", ".torchscript"),
    ModelFormat.PYTHON: (".py",),
}
_NOT_THE_MODELS: Final = {"config.pbtxt", SAMPLE_FILE}
_OURS: Final = {MODEL_SPEC_FILE, SAMPLE_FILE, "model.py"}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of one version of a model.

    Attributes:
        files: name inside Triton's version folder, with forward slashes -> the file on this machine.
        file: the main one of these names.
        sample: a `sample.npz` (see `formats/sample.py`), or None.
        digest: over names and contents of `files`, as `spec.digest_of` has it.
    """

    files: Mapping[str, Path]
    file: str
    sample: Path | None
    digest: str


def files_of(path: Path, format: ModelFormat, *, file: str | None = None) -> ModelFiles:
    """The files of a model.

    External weights of an ONNX file keep the names that it knows them by. Of a folder of a Python model every file is
    the model's (a `model.py` reads what lies beside it), of other formats only those that the main file names.

    Args:
        path: the model file, or a folder that holds it, and `sample.npz` where there is a sample.
        file: name of the main file in a folder that holds several.

    Raises:
        DefinitionError: there is no such file, or more than one, or external weights are missing.
    """
    main = main_file(path, format, file=file)
    files: dict[str, Path] = {}
    if format is ModelFormat.PYTHON:
        # A framework's own file keeps its name: its ending may tell the framework how to read it.
        name = MAIN_NAMES[format] if main.suffix == ".py" else main.name
        if path.is_dir():
            files |= {inside.relative_to(path).as_posix(): inside for inside in _inside(path) if inside != main}
            name = main.relative_to(path).as_posix() if main.suffix != ".py" else name
        if main.suffix != ".py" and name in _OURS:  # xgboost's users say model.json
            name = f"original-{name}"
    else:
        name = MAIN_NAMES[format]
    files[name] = main
    if format is ModelFormat.ONNX:
        files |= external_files(main)
    sample = path / SAMPLE_FILE
    stored = tuple(StoredFile(path=each, size=0, sha256=_sha256(source)) for each, source in files.items())
    return ModelFiles(dict(sorted(files.items())), name, sample if sample.is_file() else None, digest_of(stored))


def main_file(path: Path, format: ModelFormat, *, file: str | None = None) -> Path:
    """The model file itself.

    Raises:
        DefinitionError: it is not there, or a folder does not say which it is.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise DefinitionError("there is no such model file", file=str(path))
    if file is not None:
        if (path / file).is_file():
            return path / file
        raise DefinitionError(f"there is no {file} in this folder", file=str(path))
    found = sorted(each for each in path.iterdir() if each.is_file() and each.suffix in _ENDINGS[format])
    usual = path / MAIN_NAMES[format]
    if usual in found:
        return usual
    if len(found) != 1:
        endings = " or ".join(f"*{ending}" for ending in _ENDINGS[format])
        names = ", ".join(each.name for each in found)
        problem = f"several model files: {names}" if found else f"no model file ({endings})"
        raise DefinitionError(f"there is {problem} in this folder", file=str(path), hint="name the file itself")
    return found[0]


def _inside(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not hidden and parts[0] not in _NOT_THE_MODELS:
            yield path


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
