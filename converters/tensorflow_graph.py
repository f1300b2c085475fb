"""A TensorFlow function to ONNX, by tf2onnx."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.onnx_file import FILE, write_onnx
from converters.packages import need
from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converted
from orchestrator.spec.model import ModelFormat

__all__ = ["converted_function", "quiet_tensorflow"]


def quiet_tensorflow() -> None:
    """Keeps the remarks of TensorFlow and tf2onnx out of standard error."""
    for name in ("tensorflow", "tf2onnx", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)


def converted_function(
    function: Callable[..., Mapping[str, Any]],
    specs: Sequence[Any],
    arrays: Mapping[str, NDArray[Any]] | None,
    folder: Path,
    *,
    opset: int,
) -> Converted:
    """Converts a function of tensors.

    Args:
        function: tensors by position -> tensors by name.
        specs: a `TensorSpec` for each input, in order; None for a free axis.
        arrays: a sample by input name.

    Raises:
        ConversionError: tf2onnx cannot convert it.
    """
    tensorflow, tf2onnx = need("tensorflow"), need("tf2onnx")
    graph = tensorflow.function(function, input_signature=list(specs))
    try:
        with _silent():
            proto, _ = tf2onnx.convert.from_function(graph, input_signature=list(specs), opset=opset)
    except Exception as error:  # tf2onnx and TensorFlow raise whatever they meet
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConversionError(f"tf2onnx does not convert this model: {reason[:300]}") from error
    batched = _name_batch(proto)
    signature = write_onnx(proto, folder, batched=batched)
    if arrays is not None:
        arrays = {spec.name: arrays[spec.name].astype(spec.dtype.as_numpy_dtype) for spec in specs}

    def run(given: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        answer = graph(*(tensorflow.convert_to_tensor(given[spec.name]) for spec in specs))
        return {name: np.asarray(value) for name, value in answer.items()}

    return Converted(
        format=ModelFormat.ONNX,
        file=FILE,
        signature=signature,
        original=run,
        sample=arrays,
        notes=(f"opset {opset}",),
    )


def _name_batch(proto: Any) -> bool:
    """Gives axis 0 one name where it is free throughout: tf2onnx names every axis of unknown length differently."""
    axes = [
        value.type.tensor_type.shape.dim[0]
        for value in (*proto.graph.input, *proto.graph.output)
        if value.type.tensor_type.shape.dim
    ]
    free = len(axes) == len(proto.graph.input) + len(proto.graph.output) and not any(axis.dim_value for axis in axes)
    for axis in axes if free else ():
        axis.dim_param = "batch"
    return free


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield
