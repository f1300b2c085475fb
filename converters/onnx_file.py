"""An ONNX model in memory to `model.onnx`, as every onnxruntime reads it that Triton may have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.packages import need
from orchestrator.errors import ConversionError, DefinitionError
from orchestrator.formats import read_signature
from orchestrator.spec.model import ModelFormat, ModelSignature

__all__ = ["FILE", "OPSET", "flatten_output", "opset_from", "rename_outputs", "shaped_by", "write_onnx"]

FILE: Final = "model.onnx"
OPSET: Final = 17
"""What is written unless asked otherwise: every operator here has a kernel in the onnxruntime of Triton 22.08 and later."""
_IR: Final = 10
"""onnx writes 11 by itself since 1.18, which the onnxruntime in Triton 24.10 (1.19) does not read."""
_LARGEST: Final = 1_800_000_000
"""Bytes; protobuf ends at 2 GiB."""


def write_onnx(model: Any, folder: Path, *, batched: bool | None = None) -> ModelSignature:
    """Writes an `onnx.ModelProto`, its weights beside it where they are too large for one file.

    Args:
        batched: what the converter knows of axis 0; None: what the file shows.

    Raises:
        ConversionError: it is not a valid model, or not one that Triton can have.
    """
    onnx = need("onnx")
    model.ir_version = min(model.ir_version, _IR)
    path = folder / FILE
    large = model.ByteSize() > _LARGEST
    onnx.save(model, path, save_as_external_data=large, **({"location": f"{FILE}.data"} if large else {}))
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConversionError(f"the conversion made no valid ONNX model: {reason}") from error
    try:
        return read_signature(path, ModelFormat.ONNX, batched=batched)
    except DefinitionError as error:
        raise ConversionError(f"the converted model is not one for Triton: {error.message}", hint=error.hint) from error


def rename_outputs(model: Any, names: Mapping[str, str]) -> None:
    """Gives outputs of the graph other names, in place."""
    for node in model.graph.node:
        for fields in (node.input, node.output):
            for index, name in enumerate(fields):
                fields[index] = names.get(name, name)
    for value in (*model.graph.output, *model.graph.value_info):
        value.name = names.get(value.name, value.name)


def flatten_output(model: Any, name: str) -> None:
    """Makes an output one axis long, in place."""
    helper, numpy_helper = need("onnx.helper"), need("onnx.numpy_helper")
    raw, shape = f"{name}_unflattened", f"{name}_shape"
    for node in model.graph.node:
        for index, output in enumerate(node.output):
            if output == name:
                node.output[index] = raw
        for index, given in enumerate(node.input):
            if given == name:
                node.input[index] = raw
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), shape))
    model.graph.node.append(helper.make_node("Reshape", [raw, shape], [name]))


def shaped_by(model: Any, inputs: Mapping[str, NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    """Makes the outputs' declared shapes what the model really gives: converters declare other ones, and Triton refuses them.

    Args:
        inputs: one sample; zeros are taken where it has no rows.

    Returns:
        The shape of each output for two rows.

    Raises:
        ConversionError: the model does not run.
    """
    onnxruntime = need("onnxruntime")
    rows = {name: np.repeat(array[:1], 2, axis=0) if len(array) else _zeros(array) for name, array in inputs.items()}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = session.run(None, rows)
    except Exception as error:  # onnxruntime's exceptions have no root of their own
        reason = " ".join(str(error).split())
        raise ConversionError(f"the converted model does not run: {reason[:300]}") from error
    shapes = {}
    for output, array in zip(model.graph.output, found, strict=True):
        shapes[output.name] = np.shape(array)
        if output.type.HasField("tensor_type"):
            dims = output.type.tensor_type.shape
            del dims.dim[:]
            dims.dim.add()
            for length in np.shape(array)[1:]:
                dims.dim.add(dim_value=length)
    return shapes


def _zeros(array: NDArray[Any]) -> NDArray[Any]:
    return np.zeros((2, *array.shape[1:]), dtype=array.dtype)


def opset_from(options: Mapping[str, Any]) -> int:
    """The option `opset`, or what we write by default.

    Raises:
        ConversionError: it is not a whole number of an opset that there is.
    """
    try:
        opset = int(options.get("opset", OPSET))
    except (TypeError, ValueError):
        opset = 0
    newest = need("onnx").defs.onnx_opset_version()
    if not 7 <= opset <= newest:
        raise ConversionError(f"opset={options['opset']!r} is not an opset", hint=f"a whole number from 7 to {newest}")
    return opset
