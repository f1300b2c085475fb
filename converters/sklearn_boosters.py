"""XGBoost's and LightGBM's estimators inside scikit-learn's pipelines: skl2onnx learns of them from onnxmltools."""

from collections.abc import Iterable
from typing import Any, Final

from converters.packages import framework_of, need

__all__ = ["register_boosters"]

_CLASSIFIERS: Final = ("XGBClassifier", "XGBRFClassifier", "LGBMClassifier")
_REGRESSORS: Final = ("XGBRegressor", "XGBRFRegressor", "LGBMRegressor")


def register_boosters(parts: Iterable[object]) -> None:
    """Makes skl2onnx able to convert the boosters among the parts of a model.

    Raises:
        ConversionError: onnxmltools is not installed.
    """
    for part in parts:
        framework, name = framework_of(part), type(part).__name__
        if framework not in ("xgboost", "lightgbm") or name not in (*_CLASSIFIERS, *_REGRESSORS):
            continue
        _register(type(part), framework, name in _CLASSIFIERS)


def _register(kind: type[Any], framework: str, classifies: bool) -> None:
    skl2onnx = need("skl2onnx")
    shapes = need("skl2onnx.common.shape_calculator")
    if framework == "xgboost":
        convert = need("onnxmltools.convert.xgboost.operator_converters.XGBoost").convert_xgboost
    else:
        convert = need("onnxmltools.convert.lightgbm.operator_converters.LightGbm").convert_lightgbm
    shape = (
        shapes.calculate_linear_classifier_output_shapes
        if classifies
        else shapes.calculate_linear_regressor_output_shapes
    )
    options = {"nocl": [True, False], "zipmap": [True, False, "columns"]} if classifies else {}
    skl2onnx.update_registered_converter(kind, f"Orchestrator{kind.__name__}", shape, convert, options=options)
