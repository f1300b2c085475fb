"""XGBoost to ONNX, by onnxmltools: its estimators and its Booster."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.packages import framework_of, need
from converters.pickled import load_pickled
from converters.tables import inputs_of
from converters.trees import converted_trees
from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converted

__all__ = ["XGBoostToOnnx"]

_NATIVE: Final = (".json", ".ubj", ".model", ".bin")


class XGBoostToOnnx:
    """The input is float32 `X` (rows, features). A classifier gives `label` and `probabilities`, any other `variable`."""

    source = "xgboost"
    target = "onnx"
    description = "an XGBoost model, as .json, .ubj, .joblib or .pkl"
    options: Mapping[str, str] = {}

    def matches(self, model: object) -> bool:
        return framework_of(model) == "xgboost" and hasattr(model, "predict")

    def load(self, path: Path) -> object:
        if path.suffix not in _NATIVE:
            return load_pickled(path, "xgboost")
        if not path.is_file():
            raise ConversionError(f"there is no file {path}")
        xgboost = need("xgboost")
        try:
            return xgboost.Booster(model_file=str(path))
        except xgboost.core.XGBoostError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConversionError(f"{path} is no XGBoost model: {reason}") from error

    def convert(
        self,
        model: Any,
        folder: Path,
        *,
        sample: Mapping[str, NDArray[Any]] | Sequence[NDArray[Any]] | NDArray[Any] | None = None,
        options: Mapping[str, Any] = {},
    ) -> Converted:
        onnxmltools = need("onnxmltools")
        booster = _booster(model)
        inputs = inputs_of(sample, features=booster.num_features(), order=booster.feature_names or ())
        classifies = hasattr(model, "predict_proba")
        plain = copy.deepcopy(model if classifies else booster)
        # onnxmltools reads columns as f0, f1 ... only.
        _booster(plain).feature_names = None
        if json.loads(booster.save_config())["learner"]["objective"]["name"].startswith("rank:"):
            plain = _as_regressor(plain)
        return converted_trees(
            "xgboost",
            lambda types: onnxmltools.convert_xgboost(plain, initial_types=types),
            inputs,
            folder,
            model=_answers(booster) if model is booster else _estimator(model),
        )


def _booster(model: Any) -> Any:
    if not hasattr(model, "get_booster"):
        return model
    if not model.__sklearn_is_fitted__():
        raise ConversionError(f"{type(model).__name__} is not fitted", hint="call its fit first")
    return model.get_booster()


def _as_regressor(booster: Any) -> Any:
    """onnxmltools takes a Booster that ranks for a classifier; its trees are a regressor's."""
    regressor = need("xgboost").XGBRegressor()
    regressor._Booster = booster
    return regressor


def _estimator(model: Any) -> Callable[[Any], dict[str, NDArray[Any]]]:
    def run(table: NDArray[Any]) -> dict[str, NDArray[Any]]:
        answers = np.asarray(model.predict(table))
        if not hasattr(model, "predict_proba"):
            return {"variable": answers.reshape(len(table), -1)}
        return {"label": answers.astype(np.int64), "probabilities": np.asarray(model.predict_proba(table))}

    return run


def _answers(booster: Any) -> Callable[[Any], dict[str, NDArray[Any]]]:
    """A Booster's own predictions, in the shapes of onnxmltools."""
    xgboost = need("xgboost")

    def run(table: NDArray[Any]) -> dict[str, NDArray[Any]]:
        values = np.asarray(booster.predict(xgboost.DMatrix(table, feature_names=booster.feature_names)))
        both = np.stack([1 - values, values], axis=1) if values.ndim == 1 else values
        return {"label": both.argmax(axis=1), "probabilities": both, "variable": values.reshape(len(values), -1)}

    return run
