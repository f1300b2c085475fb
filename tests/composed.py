"""A folder with `tests/services/composed.py` and the small ONNX models that it names."""

import shutil
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests import onnx_models
from tests.onnx_models import value

__all__ = ["place_composed"]

_MODULE = Path(__file__).parent / "services" / "composed.py"


def place_composed(folder: Path) -> Path:
    """Writes the module and its models; the folder is the working directory for it."""
    shutil.copy(_MODULE, folder)
    onnx_models.linear(folder / "linear.onnx")
    onnx_models.text(folder / "text.onnx")
    _both(folder / "both.onnx")
    _lookup(folder / "lookup.onnx")
    _number(folder / "number.onnx")
    return folder


def _both(path: Path) -> None:
    """`total = a + b` and `difference = a - b`, of shape [batch, 2]."""
    nodes = [helper.make_node("Add", ["a", "b"], ["total"]), helper.make_node("Sub", ["a", "b"], ["difference"])]
    shape = ("batch", 2)
    inputs = [value(name, TensorProto.FLOAT, shape) for name in ("a", "b")]
    onnx_models.save(path, nodes, inputs, [value(n, TensorProto.FLOAT, shape) for n in ("total", "difference")])


def _lookup(path: Path) -> None:
    """Row `i` of a table of three; any other `i` fails inside of onnxruntime."""
    nodes = [helper.make_node("Gather", ["table", "i"], ["row"])]
    onnx_models.save(
        path,
        nodes,
        [value("i", TensorProto.INT32, ("batch",))],
        [value("row", TensorProto.FLOAT, ("batch", 2))],
        {"table": np.arange(6, dtype=np.float32).reshape(3, 2)},
    )


def _number(path: Path) -> None:
    """The sum of any number of numbers: no batch axis, and a result without any axis."""
    nodes = [helper.make_node("ReduceSum", ["values"], ["total"], keepdims=0)]
    onnx_models.save(
        path, nodes, [value("values", TensorProto.DOUBLE, ("n",))], [value("total", TensorProto.DOUBLE, ())]
    )
