"""What XGBoost and LightGBM share on their way through onnxmltools."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from converters.onnx_file import FILE, shaped_by, write_onnx
from converters.packages import need
from converters.tables import EstimatorInputs
from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converted
from orchestrator.spec.model import ModelFormat

__all__ = ["converted_trees"]


def converted_trees(
    framework: str,
    convert: Callable[[list[tuple[str, Any]]], Any],
    inputs: EstimatorInputs,
    folder: Path,
    *,
    model: Callable[[Any], Mapping[str, NDArray[Any]]],
) -> Converted:
    """Converts trees and writes them.

    Args:
        convert: makes the ONNX model for inputs of these names and types.
        model: the original: a table -> at least the outputs of the converted model.

    Raises:
        ConversionError: onnxmltools cannot convert them.
    """
    types = need("onnxmltools.convert.common.data_types")
    try:
        converted = convert(
            [(name, types.FloatTensorType([None, array.shape[1]])) for name, array in inputs.arrays.items()]
        )
    except Exception as error:  # onnxmltools raises whatever its converters do, such as a KeyError of the model's JSON
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        raise ConversionError(
            f"onnxmltools does not convert this {framework} model: {reason}",
            hint="trees (gbtree) are converted; serve others as they are, from a service class or with models.Python",
        ) from error
    names = list(shaped_by(converted, inputs.arrays))
    signature = write_onnx(converted, folder, batched=True)

    def run(given: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        answers = model(inputs.joined(given))
        return {name: answers[name] for name in names}

    return Converted(format=ModelFormat.ONNX, file=FILE, signature=signature, original=run, sample=inputs.sample)
