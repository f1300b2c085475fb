"""Draws the page that the README shows, and draws what was read in it.

python page.py page.png        writes the page alone
python page.py read.png --read writes it with the service's boxes and texts, and prints the texts; no server is needed
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image, ImageDraw, ImageFont

__all__ = ["PAGE", "Text", "draw"]


class Text(NamedTuple):
    """A line to draw.

    Attributes:
        x, y: of the upper left corner of its box, in pixels.
        size: of the font, in pixels.
        font: a TrueType file; None for the font that comes with Pillow (Aileron: unaccented Latin letters).
    """

    text: str
    x: int
    y: int
    size: int = 24
    colour: str = "black"
    upside_down: bool = False
    font: Path | None = None


PAGE: Final = (
    Text("Harbour Ferries", 40, 28, 44, "#14365c"),
    Text("Ticket 2024-0817", 560, 40, 28),
    Text("One adult, two children (ages 6 and 9)", 40, 110),
    Text("From: North Quay", 40, 160),
    Text("To: Lighthouse Island", 420, 160),
    Text("Departs 09:45, pier 3; boarding closes at 09:40!", 40, 206, 20),
    Text("Return by 18:30.", 40, 270, 26, upside_down=True),
    Text("Total paid: $47.50", 420, 262, 34, "#8a1c1c"),
    Text("Questions? Write to tickets@harbour.example", 40, 330, 18, "#555555"),
)


def draw(lines: Sequence[Text], width: int = 840, height: int = 380, background: str = "#fdfbf5") -> Image.Image:
    """Lines on an empty page."""
    page = Image.new("RGB", (width, height), background)
    for line in lines:
        font = ImageFont.truetype(line.font, line.size) if line.font else ImageFont.load_default(size=line.size)
        left, top, right, bottom = (round(edge) for edge in font.getbbox(line.text))
        cell = Image.new("RGB", (right - left, bottom - top), background)
        ImageDraw.Draw(cell).text((-left, -top), line.text, fill=line.colour, font=font)
        page.paste(cell.rotate(180) if line.upside_down else cell, (line.x, line.y))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a page of text, or what the service reads in it.")
    parser.add_argument("png", type=Path, help="file to write")
    parser.add_argument("--read", action="store_true", help="draw the boxes and the texts, too")
    arguments = parser.parse_args()
    page = draw(PAGE)
    if arguments.read:
        page = _with_readings(page)
    page.save(arguments.png, optimize=True)


def _with_readings(page: Image.Image) -> Image.Image:
    """The page with its boxes, and below it the texts in the order in which they were read."""
    from service import Ocr

    lines = Ocr().read(page)
    font, step = ImageFont.load_default(size=18), 26
    whole = Image.new("RGB", (page.width, page.height + step * len(lines) + 24), "white")
    whole.paste(page)
    canvas = ImageDraw.Draw(whole)
    for number, line in enumerate(lines, 1):
        print(line.text)
        corners = [(x, y) for x, y in line.box]
        canvas.polygon(corners, outline="#d9480f", width=2)
        canvas.ellipse([corners[0][0] - 4, corners[0][1] - 4, corners[0][0] + 4, corners[0][1] + 4], fill="#d9480f")
        place = (24, page.height + 12 + step * (number - 1))
        canvas.text(place, f"{number}   {line.text}", fill="#d9480f", font=font)
    return whole


if __name__ == "__main__":
    main()
