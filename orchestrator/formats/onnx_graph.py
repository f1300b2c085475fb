"""What an ONNX file says of itself, read with the `onnx` package and without its weights."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from orchestrator.errors import DefinitionError
from orchestrator.formats.packages import package
from orchestrator.spec import ANY, DType, TensorSpec

__all__ = ["Axis", "GraphTensor", "external_files", "read_graph", "read_proto", "tensors_in"]

Axis = int | str | None
"""Length of an axis, or the symbol that stands for it, or None where the file says neither."""
_DTYPES: Final = {
    "FLOAT": DType.FP32,
    "DOUBLE": DType.FP64,
    "FLOAT16": DType.FP16,
    "STRING": DType.BYTES,
    **{
        name: DType(name) for name in ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
    },
}


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """An input or output of an ONNX graph.

    Attributes:
        problem: why Triton cannot have it, or "".
        hint: the way out of that.
    """

    name: str
    dtype: DType | None
    axes: tuple[Axis, ...]
    problem: str = ""
    hint: str = ""

    def spec(self) -> TensorSpec:
        """As Triton has it.

        Raises:
            DefinitionError: Triton has no such tensors.
        """
        if self.dtype is None:
            raise DefinitionError(self.problem, hint=self.hint)
        shape = tuple(axis if isinstance(axis, int) else ANY for axis in self.axes)
        return TensorSpec(name=self.name, dtype=self.dtype, shape=shape)


def read_graph(path: Path) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
    """Inputs and outputs. Graph inputs that are initializers have their values in the file, and are left out.

    Raises:
        DefinitionError: it is not an ONNX model.
    """
    return tensors_in(read_proto(path))


def tensors_in(model: Any) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
    """The same of an `onnx.ModelProto`."""
    onnx = package("onnx", "to read an ONNX file", extra="onnx")
    graph = model.graph
    weights = {weight.name for weight in graph.initializer} | {
        weight.values.name for weight in graph.sparse_initializer
    }
    inputs = tuple(_tensor(onnx, value, "input") for value in graph.input if value.name not in weights)
    outputs = tuple(_tensor(onnx, value, "output") for value in graph.output)
    return inputs, outputs


def read_proto(path: Path) -> Any:
    """The `onnx.ModelProto` of a file, without external weights.

    Raises:
        DefinitionError: it is not an ONNX model.
    """
    onnx = package("onnx", "to read an ONNX file", extra="onnx")
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:
        raise DefinitionError("this is not an ONNX file", file=str(path)) from None
    except OSError as error:
        raise DefinitionError(f"cannot be read: {error.strerror}", file=str(path)) from error
    if not model.graph.output:
        # Protobuf reads nearly any bytes, and none at all, as an empty message.
        raise DefinitionError("this is not an ONNX model: it has no outputs", file=str(path))
    return model


def external_files(path: Path) -> dict[str, Path]:
    """Files of weights beside an ONNX file: name as it refers to them -> file.

    Raises:
        DefinitionError: one is missing, or lies outside the model's folder.
    """
    package("onnx", "to read an ONNX file", extra="onnx")
    from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data

    tensors = (tensor for tensor in _get_all_tensors(read_proto(path)) if uses_external_data(tensor))
    files: dict[str, Path] = {}
    for name in sorted({ExternalDataInfo(tensor).location for tensor in tensors}):
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts:
            raise DefinitionError(f"its weights are in {name}, outside its folder", file=str(path))
        if not (path.parent / inside).is_file():
            raise DefinitionError(f"its weights are in {name}, which is not beside it", file=str(path))
        files[inside.as_posix()] = path.parent / inside
    return files


def _tensor(onnx: Any, value: Any, use: str) -> GraphTensor:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        what = str(kind or "unknown").removesuffix("_type")
        return GraphTensor(
            value.name,
            None,
            (),
            f"{use} {value.name!r} is a {what}, and Triton has tensors only",
            "convert the model again without it: skl2onnx with options={'zipmap': False}; or name the outputs= to keep",
        )
    tensor = value.type.tensor_type
    name = onnx.TensorProto.DataType.Name(tensor.elem_type)
    axes = tuple(_axis(dim) for dim in tensor.shape.dim)
    if name not in _DTYPES:
        problem = f"{use} {value.name!r} is of {name.lower()}, which Triton does not have"
        return GraphTensor(value.name, None, axes, problem, "cast it to float32 or float16 inside the model")
    if not tensor.HasField("shape"):
        problem = f"the file does not say how many axes {use} {value.name!r} has"
        return GraphTensor(value.name, None, axes, problem, "run onnx.shape_inference over it, or export it again")
    return GraphTensor(value.name, _DTYPES[name], axes)


def _axis(dim: Any) -> Axis:
    match dim.WhichOneof("value"):
        case "dim_value":
            return int(dim.dim_value) if dim.dim_value >= 0 else None
        case "dim_param" if dim.dim_param not in ("", "?"):
            return str(dim.dim_param)
        case _:
            return None
