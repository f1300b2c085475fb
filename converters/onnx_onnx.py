"""ONNX to ONNX: another opset, fewer nodes, half the bytes or a quarter of them."""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from converters.onnx_file import FILE, opset_from, write_onnx
from converters.onnx_source import OnnxSource, is_onnx, load_onnx, opened_onnx
from converters.packages import need
from converters.switches import switch
from converters.tolerances import float16_tolerance, int8_tolerance
from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converted, Tolerance
from orchestrator.spec.model import ModelFormat

__all__ = ["OnnxToOnnx"]

_FLOAT16_MAX: Final = 65504.0
_QUANTIZED: Final = ("MatMul", "Gather", "LSTM", "Attention")
"""Not Conv: onnxruntime runs it slower in 8 bits on a CPU, and not at all with signed weights."""


class OnnxToOnnx:
    """Inputs and outputs keep their names, dtypes and shapes."""

    source = "onnx"
    target = "onnx"
    description = "an ONNX file, rewritten"
    options: Mapping[str, str] = {
        "opset": "converts to this opset; as it is unless given",
        "float16": "weights and arithmetic in float16: half the bytes; for GPUs",
        "int8": "weights of matrix products in 8 bits (dynamic quantisation): a quarter of the bytes; for CPUs",
        "simplify": "folds constants and removes what has no effect (onnxsim)",
    }

    def matches(self, model: object) -> bool:
        return is_onnx(model)

    def load(self, path: Path) -> object:
        return load_onnx(path)

    def convert(
        self,
        model: Any,
        folder: Path,
        *,
        sample: Mapping[str, NDArray[Any]] | Sequence[NDArray[Any]] | NDArray[Any] | None = None,
        options: Mapping[str, Any] = {},
    ) -> Converted:
        half, quantized = switch(options, "float16"), switch(options, "int8")
        if half and quantized:
            raise ConversionError("float16 and int8 exclude each other", hint="float16 for GPUs, int8 for CPUs")
        source = opened_onnx(model, sample)
        proto = source.proto
        if "opset" in options:
            proto = _other_opset(proto, opset_from(options))
        if switch(options, "simplify"):
            proto = _simplified(proto)
        tolerance: Tolerance | None = None
        if half:
            proto, tolerance = _half(proto), float16_tolerance(source.scale)
        if quantized:
            proto, tolerance = _quantized(proto), int8_tolerance(source.scale)
        signature = write_onnx(proto, folder, batched=source.signature.batched)
        return Converted(
            format=ModelFormat.ONNX,
            file=FILE,
            signature=signature,
            original=source.run,
            sample=source.sample,
            tolerance=tolerance,
            notes=_notes(source, proto, folder),
        )


def _notes(source: OnnxSource, proto: Any, folder: Path) -> Sequence[str]:
    opset = next((each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")), 0)
    written = sum(file.stat().st_size for file in folder.iterdir())
    return (f"opset {opset}", f"{source.proto.ByteSize():,} bytes before, {written:,} after")


def _other_opset(proto: Any, opset: int) -> Any:
    version_converter = need("onnx.version_converter")
    try:
        return version_converter.convert_version(proto, opset)
    except Exception as error:  # onnx raises RuntimeError, ValueError and its own
        raise ConversionError(
            f"onnx cannot convert this model to opset {opset}: {_reason(error)}", hint="another opset, or leave it"
        ) from error


def _simplified(proto: Any) -> Any:
    onnxsim = need("onnxsim")
    try:
        simplified, equal = onnxsim.simplify(proto)
    except Exception as error:  # onnxsim's C++ raises what it likes
        raise ConversionError(f"onnxsim cannot simplify this model: {_reason(error)}") from error
    if not equal:
        raise ConversionError("onnxsim simplified this model into another one", hint="leave simplify out")
    return simplified


def _half(proto: Any) -> Any:
    float16 = need("onnxconverter_common.float16")
    copy = _without_idle_casts(proto)
    try:
        with warnings.catch_warnings():
            # Of every weight beyond float16; what that does to the outputs is the gate's to find out.
            warnings.simplefilter("ignore")
            # Its default cuts weights at 10000, long before float16 ends.
            half = float16.convert_float_to_float16(copy, keep_io_types=True, max_finite_val=_FLOAT16_MAX)
    except Exception as error:  # onnxconverter_common raises ValueError and what protobuf raises
        raise ConversionError(f"this model cannot be made float16: {_reason(error)}") from error
    _narrow_casts(half)
    return half


def _narrow_casts(half: Any) -> None:
    """onnxconverter_common declares what the model's own casts give to be float16, and lets them cast to float32."""
    kinds = need("onnx").TensorProto
    narrow = {value.name for value in half.graph.value_info if value.type.tensor_type.elem_type == kinds.FLOAT16}
    for node in half.graph.node:
        if node.op_type == "Cast" and node.output[0] in narrow:
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == kinds.FLOAT:
                    attribute.i = kinds.FLOAT16


def _without_idle_casts(proto: Any) -> Any:
    """A copy without casts from float32 to float32: onnxconverter_common takes one for its own, and leaves float32 behind it."""
    onnx = need("onnx")
    copy = onnx.shape_inference.infer_shapes(proto)
    floats = onnx.TensorProto.FLOAT
    known = {
        value.name
        for value in (*copy.graph.input, *copy.graph.value_info)
        if value.type.tensor_type.elem_type == floats
    }
    for node in copy.graph.node:
        if node.op_type == "Cast" and node.input[0] in known and any(each.i == floats for each in node.attribute):
            node.op_type = "Identity"
            del node.attribute[:]
    return copy


def _quantized(proto: Any) -> Any:
    quantization, onnx = need("onnxruntime.quantization"), need("onnx")
    with tempfile.TemporaryDirectory(prefix="orchestrator-int8-") as folder, _silent():
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(proto, before)
        try:
            quantization.quantize_dynamic(
                before,
                after,
                op_types_to_quantize=list(_QUANTIZED),
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                # Without VNNI a processor saturates sums of 8-bit products: the model would pass here and fail elsewhere.
                reduce_range=True,
            )
        except Exception as error:  # onnxruntime's exceptions have no root of their own
            raise ConversionError(f"this model cannot be quantised: {_reason(error)}") from error
        quantized = onnx.load(after)
    if not any(
        node.op_type in ("MatMulInteger", "DynamicQuantizeLSTM", "QAttention", "DequantizeLinear")
        for node in quantized.graph.node
    ):
        raise ConversionError(
            "there is nothing to quantise: the model has no matrix products with weights", hint="leave int8 out"
        )
    return quantized


@contextmanager
def _silent() -> Iterator[None]:
    """onnxruntime's quantisation warns through the root logger, and would set up a handler for it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _reason(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
