"""Small ONNX models of known meaning, made with `onnx.helper`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["OPSET", "linear", "save", "text", "value", "write"]

OPSET = 17
Axis = int | str | None


def value(name: str, kind: int, shape: Sequence[Axis] | None) -> Any:
    """An input or output of a graph."""
    return helper.make_tensor_value_info(name, kind, shape)


def save(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: dict[str, NDArray[Any]] | None = None,
) -> Path:
    """Writes a model of these nodes."""
    initializers = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    return write(path, helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), initializers))


def write(path: Path, graph: Any) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.save(model, path)
    return path


def linear(
    path: Path,
    *,
    factor: float = 1.0,
    axes: tuple[Axis, Axis] = ("batch", 4),
    output: Sequence[Axis] = ("batch", 3),
) -> Path:
    """`y = x @ w`, with `w` of shape [4, 3]: 0, 1, 2 ... times `factor`."""
    weights = {"w": (factor * np.arange(12, dtype=np.float32)).reshape(4, 3)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return save(path, nodes, [value("x", TensorProto.FLOAT, axes)], [value("y", TensorProto.FLOAT, output)], weights)


def text(path: Path) -> Path:
    """Text of shape [batch, 1], given back as `t`."""
    nodes = [helper.make_node("Identity", ["s"], ["t"])]
    shape = ("batch", 1)
    return save(path, nodes, [value("s", TensorProto.STRING, shape)], [value("t", TensorProto.STRING, shape)])
