"""Reads one line of text in an image."""

from typing import Annotated

import numpy as np
from recognizer import LineRecognizer

import orchestrator
from orchestrator import validators

LineImage = Annotated[np.ndarray, validators.DType("uint8"), validators.Shape((-1, -1, 3))]
"""RGB, cut closely around one horizontal line of text."""


@orchestrator.service(name="OcrLines", resources={"cpu": "1"}, traffic={"timeout": 10})
class OcrLines:
    """Reads single lines of text; a service that finds the lines in a page can depend on it."""

    def __init__(self) -> None:
        self.recognizer = LineRecognizer()

    @orchestrator.api
    def read(self, image: LineImage) -> str:
        """The text of the line; empty where there is none."""
        return self.recognizer.read(image).text

    @orchestrator.api
    def read_with_score(self, image: LineImage) -> dict[str, object]:
        """The text and how sure the model is of it: {"text": ..., "score": 0 to 1}."""
        line = self.recognizer.read(image)
        return {"text": line.text, "score": line.score}
