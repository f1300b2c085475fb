"""An ONNX model as the original of a conversion."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.packages import framework_of, need
from converters.samples import Given, named
from orchestrator.errors import ConversionError, DefinitionError, OrchestratorError
from orchestrator.formats import OpenModel, generate, open_model, read_signature
from orchestrator.spec.conversion import Run
from orchestrator.spec.model import ModelFormat, ModelSignature, NativeModelSpec

__all__ = ["OnnxSource", "is_onnx", "load_onnx", "opened_onnx"]

_ROWS: Final = 17
_LENGTHS: Final = (8, 32, 64, 224, 1)
"""Of free axes, tried in turn: a network that halves images needs lengths that can be halved."""


@dataclass(frozen=True, slots=True)
class OnnxSource:
    """An ONNX model that runs.

    Attributes:
        proto: the `onnx.ModelProto`, weights included.
        sample: the user's, or one made by the signature.
        run: the model.
    """

    proto: Any
    signature: ModelSignature
    sample: Mapping[str, NDArray[Any]]
    run: Run

    @property
    def scale(self) -> float:
        """Largest magnitude in the sample's outputs; of several outputs the smallest such, 1 where none is a float."""
        floats = [array for array in self.run(self.sample).values() if array.dtype.kind == "f" and array.size]
        return min((float(np.abs(array[np.isfinite(array)]).max(initial=0.0)) for array in floats), default=1.0)


def is_onnx(model: object) -> bool:
    """Whether it is an `onnx.ModelProto`, or the path of an ONNX file."""
    if isinstance(model, Path):
        return model.suffix == ".onnx"
    return framework_of(model) == "onnx" and type(model).__name__ == "ModelProto"


def load_onnx(path: Path) -> Path:
    """The path itself: the file may be larger than a protobuf can be in memory.

    Raises:
        ConversionError: there is no ONNX model.
    """
    found = path / "model.onnx" if path.is_dir() else path
    if not found.is_file():
        raise ConversionError(f"there is no ONNX file {found}")
    return found


def opened_onnx(model: Any, sample: Given) -> OnnxSource:
    """Opens an ONNX model to convert it.

    Args:
        model: from `load_onnx`, or an `onnx.ModelProto`.

    Raises:
        ConversionError: it cannot be read or run, or does not take the sample.
    """
    onnx = need("onnx")
    need("onnxruntime")
    try:
        if isinstance(model, Path):
            return _source(None, model, sample)
        with tempfile.TemporaryDirectory(prefix="orchestrator-onnx-") as folder:
            path = Path(folder) / "model.onnx"
            onnx.save(model, path)
            return _source(model, path, sample)
    except DefinitionError as error:
        raise ConversionError(f"this ONNX model cannot be read: {error}") from error


def _source(proto: Any, path: Path, sample: Given) -> OnnxSource:
    signature = read_signature(path, ModelFormat.ONNX)
    spec = NativeModelSpec(
        attribute="original",
        name="original",
        format=ModelFormat.ONNX,
        file=path.name,
        signature=signature,
        files_digest="",
    )
    opened = open_model(path.parent, spec)
    arrays = named(signature, sample) if sample is not None else _made_up(signature, opened)
    # Only now: what onnx says of a broken file is no sentence.
    return OnnxSource(need("onnx").load(path) if proto is None else proto, signature, arrays, opened.run)


def _made_up(signature: ModelSignature, opened: OpenModel) -> Mapping[str, NDArray[Any]]:
    for length in _LENGTHS:
        arrays = generate(signature, _ROWS, seed=0, length=length)
        try:
            opened.run(arrays)
        except OrchestratorError:
            continue
        return arrays
    raise ConversionError(
        "this ONNX model takes no made-up inputs", hint="give a sample: one row or more of its inputs"
    )
