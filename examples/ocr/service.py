"""Reads the text in an image: where the lines are, which way up they lie, what they say."""

import detection
import direction
import numpy as np
import recognition
from lines import cut, reading_order, upright
from model_files import characters_of, find, with_best_class
from PIL import Image
from pydantic import BaseModel

import orchestrator
from orchestrator.models import Onnx


class Line(BaseModel):
    """A line of text.

    Attributes:
        text: what it says.
        box: its corners as [x, y] in pixels of the image, clockwise from the upper left corner of the text itself.
        score: mean probability of its characters, 0 to 1.
    """

    text: str
    box: list[tuple[int, int]]
    score: float


@orchestrator.service(name="Ocr", threads=4, traffic={"timeout": 60})
class Ocr:
    """Three models of Triton's, and the code between them."""

    detector = Onnx(find("det"), max_batch_size=4, warmup=False)  # a made-up image is not a multiple of 32
    classifier = Onnx(find("cls"))
    recognizer = Onnx(with_best_class(find("rec")), max_batch_size=16)

    def __init__(self) -> None:
        self.characters = characters_of(find("rec"))

    @orchestrator.api
    def read(self, image: Image.Image) -> list[Line]:
        """The lines of text in an image, in the order in which one reads them."""
        pixels = pixels_of(image)
        boxes = upright(detection.find_boxes(self.detector(detection.prepare(pixels))[0, 0], *image.size))
        if len(boxes) == 0:
            return []
        cuts = [cut(pixels, box) for box in boxes]
        # A line that may be upside down is read both ways; the better reading wins.
        turned = direction.maybe_upside_down(self.classifier(direction.prepare(cuts)))
        readings = self._read_lines([*cuts, *(cuts[index][::-1, ::-1] for index in turned)])
        for index, other in zip(turned, readings[len(cuts) :], strict=True):
            if other.score > readings[index].score:
                readings[index] = other
                boxes[index] = np.roll(boxes[index], 2, axis=0)
        return [
            Line(text=readings[index].text, box=boxes[index].round().astype(int).tolist(), score=readings[index].score)
            for index in reading_order(boxes)
            if readings[index].text
        ]

    def _read_lines(self, lines: list[np.ndarray]) -> list[recognition.Reading]:
        readings = [recognition.Reading("", 0.0)] * len(lines)
        for indices, batch in recognition.batches(lines):
            best = self.recognizer(batch)
            for index, classes, probabilities in zip(indices, best["class"], best["probability"], strict=True):
                readings[index] = recognition.decode(classes[:, 0], probabilities[:, 0], self.characters)
        return readings


def pixels_of(image: Image.Image) -> np.ndarray:
    """RGB, shape (height, width, 3); what is transparent is white, as on paper."""
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))
