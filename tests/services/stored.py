"""Stored models, read by a class itself and run by Triton."""

import joblib
import numpy as np

import orchestrator
from orchestrator import models


@orchestrator.service
class Flowers:
    own = models.BentoModel("iris:production")
    python = models.Python("iris:production")
    onnx = models.Onnx("iris_onnx")

    def __init__(self) -> None:
        self.model = joblib.load(self.own.path_of("model.pkl"))

    @orchestrator.api
    def classify(self, rows: np.ndarray) -> dict:
        return {
            "own": self.model.predict(rows).tolist(),
            "python": self.python(rows).tolist(),
            "onnx": self.onnx(rows.astype(np.float32), outputs="label").tolist(),
            "version": str(self.own.tag),
        }
