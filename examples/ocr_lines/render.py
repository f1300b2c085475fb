"""Draws one line of text, so that the example can be tried without a picture.

python render.py "Hello, world" sample.png     writes a PNG
python render.py "Hello, world"                prints the JSON request of the service's `read`
"""

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

__all__ = ["draw_line"]


def draw_line(text: str, font_size: int = 32) -> npt.NDArray[np.uint8]:
    """Black text on white, in the font that comes with pillow (Aileron: unaccented Latin letters, digits, punctuation).

    Args:
        font_size: in pixels; the margin around the text is a third of it.

    Returns:
        RGB, shape (height, width, 3).
    """
    font = ImageFont.load_default(size=font_size)
    margin = font_size // 3
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    image = Image.new("RGB", (right - left + 2 * margin, bottom - top + 2 * margin), "white")
    ImageDraw.Draw(image).text((margin - left, margin - top), text, fill="black", font=font)
    return np.asarray(image)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw one line of text.")
    parser.add_argument("text")
    parser.add_argument("png", nargs="?", type=Path, help="file to write; without it the JSON request is printed")
    arguments = parser.parse_args()
    image = draw_line(arguments.text)
    if arguments.png is None:
        print(json.dumps({"image": image.tolist()}, separators=(",", ":")))
    else:
        Image.fromarray(image).save(arguments.png, optimize=True)


if __name__ == "__main__":
    main()
