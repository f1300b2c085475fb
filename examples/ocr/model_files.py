"""The three models inside the `rapidocr` wheel, which is not imported for them."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["characters_of", "find", "with_best_class"]


def find(kind: str) -> Path:
    """The model of a kind: `det`, `cls` or `rec`.

    Raises:
        FileNotFoundError: the package, or the model in it, is missing.
    """
    package = find_spec("rapidocr")
    for folder in (package.submodule_search_locations or []) if package else []:
        for model in sorted(Path(folder, "models").glob(f"*_{kind}_*.onnx")):
            return model
    raise FileNotFoundError(f"there is no {kind} model: pip install 'rapidocr>=3.4,<4'")


def with_best_class(source: Path, folder: Path = Path(__file__).parent) -> Path:
    """The recognition model with one more step: of 18 710 probabilities a column only the best one, and its class.

    That is all that CTC decoding needs, and 6 000 times less to carry between processes: 500 bytes a line, not 3 MB.

    Args:
        source: its one output has the classes on the last axis.
        folder: the model is written there where it is missing; several processes may do so at once.

    Returns:
        A model with the outputs `probability` and `class`, each with a last axis of length 1.
    """
    target = folder / f"{source.stem}_best.onnx"
    if target.exists():
        return target
    model = onnx.load(source)
    graph = model.graph
    last = graph.output[0]
    one = numpy_helper.from_array(np.array([1], dtype=np.int64), "best_count")
    graph.initializer.append(one)
    graph.node.append(
        helper.make_node("TopK", [last.name, one.name], ["probability", "class"], name="best_class", axis=-1)
    )
    axes = [axis.dim_param or axis.dim_value for axis in last.type.tensor_type.shape.dim[:-1]]
    del graph.output[:]
    for name, kind in (("probability", TensorProto.FLOAT), ("class", TensorProto.INT64)):
        graph.output.append(helper.make_tensor_value_info(name, kind, [*axes, 1]))
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    onnx.save(model, unfinished)
    unfinished.replace(target)
    return target


def characters_of(model: Path) -> list[str]:
    """The character of each class of a recognition model: its metadata has all but the blank and the space."""
    metadata = {each.key: each.value for each in onnx.load(model).metadata_props}
    return ["", *metadata["character"].split("\n"), " "]
