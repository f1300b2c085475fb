"""What a line says: what the recognition model sees of it, and CTC decoding of its answer."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["Reading", "batches", "decode"]

HEIGHT: Final = 48
"""Pixels of every line that the model reads."""
WIDTHS: Final = (320, 480, 640, 960, 1280, 1920, 3200)
"""Lines are padded to one of these, since only lines of one width can share a batch. A longer one is squeezed into the last,
which bounds time and memory; that is about 240 letters."""
BLANK: Final = 0
"""CTC's class for "no character here"."""


class Reading(NamedTuple):
    """A line that was read.

    Attributes:
        text: the characters; empty where there are none.
        score: mean probability of the characters, 0 to 1; 0 for an empty text.
    """

    text: str
    score: float


def batches(lines: Sequence[npt.NDArray[np.uint8]]) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
    """The model's view of lines: one batch for all that are padded to the same width.

    Args:
        lines: RGB, shape (height, width, 3) each, not empty.

    Yields:
        Indices into `lines`, and these lines as BGR, values from -1 to 1, shape (lines, 3, 48, width), padded on the right
        with 0.
    """
    scaled = [min(max(round(HEIGHT * line.shape[1] / line.shape[0]), 1), WIDTHS[-1]) for line in lines]
    groups: dict[int, list[int]] = {}
    for index, width in enumerate(scaled):
        groups.setdefault(next(each for each in WIDTHS if each >= width), []).append(index)
    for width, indices in groups.items():
        batch = np.zeros((len(indices), 3, HEIGHT, width), dtype=np.float32)
        for row, index in zip(batch, indices, strict=True):
            resized = cv2.resize(lines[index], (scaled[index], HEIGHT), interpolation=cv2.INTER_AREA)
            row[:, :, : scaled[index]] = resized[:, :, ::-1].transpose(2, 0, 1) / 127.5 - 1
        yield indices, batch


def decode(
    classes: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32], characters: Sequence[str]
) -> Reading:
    """Greedy CTC: runs of the same class taken once, blanks dropped.

    Args:
        classes: the best class of each column of the line; shape (columns,).
        probabilities: theirs; likewise.
        characters: the character of each class.
    """
    starts = np.diff(classes, prepend=BLANK) != 0
    kept = np.flatnonzero(starts & (classes != BLANK))
    if kept.size == 0:
        return Reading("", 0.0)
    text = "".join(characters[index] for index in classes[kept])
    return Reading(text, float(probabilities[kept].mean()))
