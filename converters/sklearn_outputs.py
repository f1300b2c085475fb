"""What a scikit-learn model gives, under the names and in the shapes of its ONNX counterpart."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ConversionError

__all__ = ["Answer", "answers_of"]

Answer = Callable[[Any], NDArray[Any]]
"""One output of an estimator: its own inputs -> (rows, columns), or (rows,) for labels."""


def answers_of(model: Any) -> dict[str, Answer]:
    """The outputs of skl2onnx, in its order: name -> how the estimator itself computes it."""
    from sklearn.base import is_classifier, is_outlier_detector, is_regressor

    if is_classifier(model):
        return {"label": _labels(model.predict), **_scores(model)}
    if is_regressor(model):
        return {"variable": _columns(model.predict)}
    if is_outlier_detector(model):
        return {"label": model.predict, "scores": _columns(model.decision_function)}
    if hasattr(model, "predict") and hasattr(model, "predict_proba"):
        return {"label": model.predict, "probabilities": model.predict_proba}
    if hasattr(model, "predict") and hasattr(model, "transform"):
        return {"label": model.predict, "distances": _columns(model.transform)}
    if hasattr(model, "predict"):
        return {"label": model.predict}
    if hasattr(model, "transform"):
        return {"variable": _columns(model.transform)}
    raise ConversionError(f"{type(model).__name__} has neither predict nor transform")


def _scores(model: Any) -> dict[str, Answer]:
    if hasattr(model, "predict_proba"):
        return {"probabilities": model.predict_proba}
    if hasattr(model, "decision_function"):
        return {"scores": _columns(model.decision_function)}
    return {}


def _labels(predict: Callable[[Any], Any]) -> Answer:
    """skl2onnx makes labels that are true, false or whole floats int64."""

    def answer(given: Any) -> NDArray[Any]:
        values = np.asarray(predict(given))
        return values.astype(np.int64) if values.dtype.kind in "bf" else values

    return answer


def _columns(method: Callable[[Any], Any]) -> Answer:
    def answer(given: Any) -> NDArray[Any]:
        values = method(given)
        array = np.asarray(values.todense() if hasattr(values, "todense") else values)
        return array[:, None] if array.ndim == 1 else array

    return answer
