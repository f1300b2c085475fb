"""Lines between detection and recognition: cut out of the image, turned upright, put into reading order."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from detection import Boxes

__all__ = ["cut", "reading_order", "upright"]

UPRIGHT_RATIO: Final = 1.5
"""A box this much taller than wide holds a line that runs up or down."""
AGREEMENT: Final = 0.3
"""Share of lines more in one direction than in the opposite one, from which the page is taken to lie that way."""


def upright(boxes: Boxes) -> Boxes:
    """The same boxes, each from its upper left corner clockwise; a tall one from its lower left, as if turned to the right.

    Whether a line is upside down cannot be seen here: that is the direction model's work.
    """
    ordered = np.empty_like(boxes)
    for number, box in enumerate(boxes):
        around = box[np.argsort(np.arctan2(*(box - box.mean(axis=0)).T[::-1]))]  # clockwise, as y goes down
        first = int(np.argmin(around.sum(axis=1)))
        around = np.roll(around, -first, axis=0)
        across, down = (np.linalg.norm(around[corner] - around[0]) for corner in (1, 3))
        ordered[number] = np.roll(around, 1, axis=0) if down > UPRIGHT_RATIO * across else around
    return ordered


def cut(image: npt.NDArray[np.uint8], box: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The part of an image inside a box, straightened, so that the box's first corner is its upper left one."""
    width, height = (max(round(float(np.linalg.norm(box[corner] - box[0]))), 1) for corner in (1, 3))
    target = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(box, target)
    cut_out = cv2.warpPerspective(
        image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cut_out, dtype=np.uint8)


def reading_order(boxes: Boxes) -> list[int]:
    """Indices of boxes in the order in which one reads them: rows from top to bottom, in each from left to right.

    Args:
        boxes: each from its text's upper left corner clockwise. Most of them say how the page lies, so a page that is slanted, or
            upside down, is read in its own direction.
    """
    if len(boxes) == 0:
        return []
    edges = boxes[:, 1] - boxes[:, 0]
    votes = (edges / np.linalg.norm(edges, axis=1, keepdims=True).clip(1e-6)).mean(axis=0)
    unity = float(np.linalg.norm(votes))
    along = votes / unity if unity > AGREEMENT else np.array([1.0, 0.0])
    centres = boxes.mean(axis=1)
    x, y = centres @ along, centres @ np.array([-along[1], along[0]])
    heights = np.linalg.norm(boxes[:, 3] - boxes[:, 0], axis=1)
    rows: list[list[int]] = []
    for index in np.argsort(y, kind="stable"):
        # A row goes on while the next line's middle is within the height of the one before it.
        if rows and y[index] - y[rows[-1][-1]] < min(heights[index], heights[rows[-1][-1]]) / 2:
            rows[-1].append(int(index))
        else:
            rows.append([int(index)])
    return [index for row in rows for index in sorted(row, key=lambda index: float(x[index]))]
