"""Reads the text of one line with the ONNX recognition model inside the `rapidocr` wheel.

An image becomes a row of columns, the model says for each column how likely every character is, and CTC decoding turns
that into text. `LineRecognizer` is all that a detector of lines needs after it has cut them out.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

__all__ = ["Line", "LineRecognizer", "decode", "find_model", "prepare"]

HEIGHT: Final = 48
"""Height in pixels of every image that the model reads."""
MIN_WIDTH: Final = 320
"""Narrower images are padded to this width, the one that the model was trained with."""
MAX_WIDTH: Final = 3200
"""Wider lines are squeezed, which bounds time and memory; reached at about 240 letters."""
BLANK: Final = 0
"""CTC's class for "no character here"."""


class Line(NamedTuple):
    """A line that was read.

    Attributes:
        text: the characters; empty where there are none.
        score: mean probability of the characters, 0 to 1; 0 for an empty text.
    """

    text: str
    score: float


class LineRecognizer:
    """The model and its characters, loaded once."""

    def __init__(self, model: Path | None = None, threads: int = 1) -> None:
        """Loads the model.

        Args:
            model: an ONNX file whose metadata holds its characters; by default the one of `rapidocr`.
            threads: of one call; more calls at once are the business of whoever makes them.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(model or find_model()), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        characters = self._session.get_modelmeta().custom_metadata_map["character"].split("\n")
        self._characters = ["", *characters, " "]  # the blank comes first, the space last; the metadata has neither

    def read(self, image: npt.NDArray[np.uint8]) -> Line:
        """Reads one line.

        Args:
            image: RGB, shape (height, width, 3), cut closely around one horizontal line; any size.
        """
        if image.size == 0:
            return Line("", 0.0)
        (probabilities,) = self._session.run(None, {self._input: prepare(image)[np.newaxis]})
        return decode(probabilities[0], self._characters)


def find_model() -> Path:
    """The recognition model in the installed `rapidocr`, which is not imported for it.

    Raises:
        FileNotFoundError: the package, or the model in it, is missing.
    """
    package = find_spec("rapidocr")
    folders = package.submodule_search_locations if package else None
    for folder in folders or []:
        for model in sorted(Path(folder, "models").glob("*_rec_*.onnx")):
            return model
    raise FileNotFoundError("no recognition model found: pip install 'rapidocr>=3.4,<4'")


def prepare(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The model's view of a line.

    Args:
        image: RGB, shape (height, width, 3), not empty.

    Returns:
        BGR, values from -1 to 1, shape (3, HEIGHT, width); padded on the right with 0 (grey).
    """
    height, width, _ = image.shape
    scaled = min(max(round(HEIGHT * width / height), 1), MAX_WIDTH)
    resized = Image.fromarray(image).resize((scaled, HEIGHT), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized, dtype=np.float32).transpose(2, 0, 1)[::-1]
    prepared = np.zeros((3, HEIGHT, max(scaled, MIN_WIDTH)), dtype=np.float32)
    prepared[:, :, :scaled] = pixels / 127.5 - 1
    return prepared


def decode(probabilities: npt.NDArray[np.float32], characters: list[str]) -> Line:
    """Greedy CTC: the best class of each column, runs of the same class taken once, blanks dropped.

    Args:
        probabilities: shape (columns, classes).
        characters: the character of each class.

    Raises:
        ValueError: there are more or fewer classes than characters.
    """
    if probabilities.shape[1] != len(characters):
        raise ValueError(f"the model has {probabilities.shape[1]} classes for {len(characters)} characters")
    classes = probabilities.argmax(axis=1)
    starts = np.diff(classes, prepend=BLANK) != 0
    kept = np.flatnonzero(starts & (classes != BLANK))
    if kept.size == 0:
        return Line("", 0.0)
    text = "".join(characters[index] for index in classes[kept])
    return Line(text, float(probabilities[kept, classes[kept]].mean()))
