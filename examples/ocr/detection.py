"""Where the lines of text are: what the detection model sees of an image, and what its answer means.

The model is a DB network (Liao et al. 2019, "Real-time Scene Text Detection with Differentiable Binarization"). It marks the core
of every line, shrunk on purpose so that neighbours stay apart; each box is grown back by as much as training has shrunk it.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["Boxes", "find_boxes", "prepare"]

Boxes = npt.NDArray[np.float32]
"""Shape (lines, 4, 2): corners as (x, y) in pixels of the image, clockwise."""

STRIDE: Final = 32
"""The model halves an image five times."""
SHORT_SIDE: Final = 736
"""Pixels that an image's shorter side is enlarged to, so that small text keeps its strokes."""
ENLARGED: Final = 2.0
"""Largest factor of that: the model sees letters of a few hundred pixels as shapes, not as text."""
LONG_SIDE: Final = 1600
"""Pixels that an image's longer side is reduced to, and not enlarged beyond, which bounds time and memory."""
INK: Final = 0.3
"""Probability from which a pixel belongs to a line."""
SURE: Final = 0.5
"""Mean probability below which a box is noise."""
GROWTH: Final = 1.6
"""Area of a grown box's margin by its circumference, as published with the model."""
THINNEST: Final = 3
"""Pixels of the model's view; what is thinner is no text."""


def prepare(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The model's view of an image.

    Args:
        image: RGB, shape (height, width, 3), not empty.

    Returns:
        BGR, values from -1 to 1, shape (1, 3, height, width), both lengths multiples of 32.
    """
    height, width = image.shape[:2]
    factor = min(max(SHORT_SIDE / min(height, width), 1), ENLARGED, LONG_SIDE / max(height, width))
    size = [max(round(length * factor / STRIDE), 1) * STRIDE for length in (width, height)]
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    return np.ascontiguousarray((resized[:, :, ::-1].transpose(2, 0, 1) / np.float32(127.5) - 1)[np.newaxis])


def find_boxes(probabilities: npt.NDArray[np.float32], width: int, height: int) -> Boxes:
    """The lines that the model saw.

    Args:
        probabilities: that a pixel of its view belongs to the core of a line; shape (height, width).
        width: of the image, in pixels.
        height: likewise.

    Returns:
        One rectangle a line, possibly slanted, in no order; some corners may lie outside the image.
    """
    mask = cv2.dilate((probabilities > INK).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    boxes = []
    for contour in contours:
        centre, (across, down), angle = cv2.minAreaRect(contour)
        if (
            min(across, down) < THINNEST
            or _mean_inside(probabilities, cv2.boxPoints((centre, (across, down), angle))) < SURE
        ):
            continue
        margin = GROWTH * across * down / (2 * (across + down))
        boxes.append(cv2.boxPoints((centre, (across + 2 * margin, down + 2 * margin), angle)))
    scale = np.array([width / probabilities.shape[1], height / probabilities.shape[0]], dtype=np.float32)
    return np.array(boxes, dtype=np.float32).reshape(-1, 4, 2) * scale


def _mean_inside(probabilities: npt.NDArray[np.float32], box: npt.NDArray[np.float32]) -> float:
    left, top = np.floor(box.min(axis=0)).astype(int).clip(0)
    right, bottom = np.ceil(box.max(axis=0)).astype(int) + 1
    part = probabilities[top:bottom, left:right]
    inside = np.zeros(part.shape, np.uint8)
    cv2.fillPoly(inside, [(box - (left, top)).astype(np.int32)], 1)
    return float(part[inside > 0].mean()) if inside.any() else 0.0
