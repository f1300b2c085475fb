"""IrisClassifier of BentoML's page on services, without `bentoml.depends`."""

import bentoml  # type: ignore[import-not-found]
import numpy as np


@bentoml.service(name="iris_classifier", resources={"cpu": "200m", "memory": "512Mi"})
class IrisClassifier:
    iris_model = bentoml.models.get("iris_sklearn:latest")

    def __init__(self) -> None:
        import joblib

        self.model = joblib.load(self.iris_model.path_of("model.pkl"))

    @bentoml.api  # type: ignore[untyped-decorator]
    def classify(self, input_series: np.ndarray) -> np.ndarray:
        return self.model.predict(input_series)
