"""LightGBM to ONNX, by onnxmltools: its estimators and its Booster."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.packages import framework_of, need
from converters.pickled import load_pickled
from converters.tables import inputs_of
from converters.trees import converted_trees
from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converted

__all__ = ["LightGBMToOnnx"]


class LightGBMToOnnx:
    """The input is float32 `X` (rows, features). A classifier gives `label` and `probabilities`, any other `variable`."""

    source = "lightgbm"
    target = "onnx"
    description = "a LightGBM model, as .txt, .joblib or .pkl"
    options: Mapping[str, str] = {}

    def matches(self, model: object) -> bool:
        return framework_of(model) == "lightgbm" and hasattr(model, "predict")

    def load(self, path: Path) -> object:
        if path.suffix != ".txt":
            return load_pickled(path, "lightgbm")
        if not path.is_file():
            raise ConversionError(f"there is no file {path}")
        lightgbm = need("lightgbm")
        try:
            return lightgbm.Booster(model_file=str(path))
        except lightgbm.basic.LightGBMError as error:
            raise ConversionError(f"{path} is no LightGBM model: {error}") from error

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
        inputs = inputs_of(sample, features=booster.num_feature(), order=booster.feature_name())
        return converted_trees(
            "lightgbm",
            lambda types: onnxmltools.convert_lightgbm(model, initial_types=types, zipmap=False),
            inputs,
            folder,
            model=_answers(model),
        )


def _booster(model: Any) -> Any:
    if hasattr(model, "num_feature"):
        return model
    if getattr(model, "_Booster", None) is None:
        raise ConversionError(f"{type(model).__name__} is not fitted", hint="call its fit first")
    return model.booster_


def _answers(model: Any) -> Callable[[Any], dict[str, NDArray[Any]]]:
    def run(table: NDArray[Any]) -> dict[str, NDArray[Any]]:
        values = np.asarray(model.predict(table))
        if hasattr(model, "predict_proba"):
            return {"label": values, "probabilities": np.asarray(model.predict_proba(table))}
        both = np.stack([1 - values, values], axis=1) if values.ndim == 1 else values
        return {"label": both.argmax(axis=1), "probabilities": both, "variable": values.reshape(len(values), -1)}

    return run
