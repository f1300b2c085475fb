"""Tells three species of iris apart by the size of their flowers."""

import contextlib
from pathlib import Path
from typing import Annotated

import joblib
import numpy as np
from sklearn.pipeline import Pipeline
from train import MODEL_FILE, save, train

import orchestrator
from orchestrator import validators


def load_model(path: Path = MODEL_FILE) -> Pipeline:
    """The model in `path`, trained and written first where it is missing (several workers may do so at once)."""
    if path.exists():
        return joblib.load(path)
    model = train().model
    with contextlib.suppress(OSError):  # a container may read its folder alone: then each worker trains for itself
        save(model, path)
    return model


LONGEST_CM = 1000
"""Of no flower; far larger numbers would overflow in the model."""


@orchestrator.service(name="Iris", resources={"cpu": "1"}, traffic={"timeout": 10})
class Iris:
    """Classifies irises."""

    def __init__(self) -> None:
        self.model = load_model()

    @orchestrator.api(batchable=True, max_batch_size=64)
    def classify(
        self, input_series: Annotated[np.ndarray, validators.DType("float64"), validators.Shape((-1, 4))]
    ) -> Annotated[np.ndarray, validators.DType("int64"), validators.Shape((-1,))]:
        """The species of each flower: 0 setosa, 1 versicolor, 2 virginica.

        Args:
            input_series: one row a flower: sepal length, sepal width, petal length, petal width, in cm.
        """
        if not np.all(np.abs(input_series) < LONGEST_CM):
            raise orchestrator.errors.InvalidInput.at(["input_series"], f"lengths are within {LONGEST_CM} cm")
        return np.asarray(self.model.predict(input_series), dtype=np.int64)
