"""What must be changed in a scikit-learn model, in a copy of it, for skl2onnx to keep its meaning."""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["parts_of", "prepared"]


def parts_of(model: Any) -> list[Any]:
    """The model itself and every estimator inside it, such as the steps of a pipeline."""
    found: list[Any] = []
    waiting = [model]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list | tuple):
            waiting += part
        elif hasattr(part, "get_params") and not isinstance(part, type) and all(part is not each for each in found):
            found.append(part)
            waiting += vars(part).values()
    return found


def prepared(model: Any) -> Any:
    """The model, or a copy that skl2onnx converts better and that predicts the same."""
    if not any(_votes(part) or _has_histograms(part) for part in parts_of(model)):
        return model
    model = copy.deepcopy(model)
    for part in parts_of(model):
        if _votes(part):
            # skl2onnx refuses the default, which only `transform` reads.
            part.flatten_transform = False
        if _has_histograms(part):
            for tree in (tree for trees in part._predictors for tree in trees):
                tree.nodes["num_threshold"] = _rounded_down(tree.nodes["num_threshold"])
    return model


def _votes(part: Any) -> bool:
    return bool(getattr(part, "flatten_transform", False))


def _has_histograms(part: Any) -> bool:
    return hasattr(part, "_predictors") and type(part).__name__.startswith("HistGradientBoosting")


def _rounded_down(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """For a float32 x, `x <= threshold` is `x <= the largest float32 that is no larger`; skl2onnx rounds to the nearest one.

    A threshold is often a value of the data, so the nearest one sends the very rows that the model was fitted on elsewhere.
    """
    nearest = thresholds.astype(np.float32)
    lower = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest > thresholds, lower, nearest).astype(np.float64)
