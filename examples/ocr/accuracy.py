"""How many lines of random pages are read exactly: words, numbers and signs in several fonts, sizes and colours.

python accuracy.py --pages 150
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from page import Text, draw
from PIL import ImageFont
from service import Ocr

FONTS: Final = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "LiberationMono-Regular", "LiberationSans-Regular", "LiberationSerif-Regular",
)  # fmt: skip
"""Those that the machine has are used beside Pillow's own."""
WORDS: Final = (
    "account amount Batch Berlin brown customer days delay discount dogs fox goods Invoice jumps lazy "
    "London March mixing models number order Paris please Python queue quick receipt return serves "
    "shipped size street tax thirty total Triton weight while within worker writes zebra"
)
SIGNS: Final = ("(42%)", "#17", "A-113", "2024-08-17", "12:45", "$9.99", "info@site.org", "3/4", "5+6=11", "[ok]", "&")
SIZES: Final = (14, 16, 18, 22, 26, 32, 40, 52)
COLOURS: Final = (("black", "white"), ("#14143c", "#f5f0e1"), ("#f0f0f0", "#1e2832"), ("#780000", "white"))
PAGES: Final = ((500, 300), (640, 480), (800, 600), (1000, 700), (1280, 960))


def main() -> None:
    parser = argparse.ArgumentParser(description="Read random pages.")
    parser.add_argument("--pages", type=int, default=150)
    parser.add_argument("--show", action="store_true", help="print the lines that were not read exactly")
    arguments = parser.parse_args()
    found = {path.stem: path for path in Path("/usr/share/fonts").rglob("*.ttf")}
    fonts = [None, *(found[name] for name in FONTS if name in found)]
    service, exact, lines = Ocr(), 0, 0
    for seed in range(arguments.pages):
        chance = random.Random(seed)
        (width, height), (ink, paper) = chance.choice(PAGES), chance.choice(COLOURS)
        texts = list(_lines(chance, width, height, ink, fonts[seed % len(fonts)]))
        wanted = [text.text for text in texts]
        read = [line.text for line in service.read(draw(texts, width, height, paper))]
        missed = set(wanted) - set(read)
        exact, lines = exact + len(wanted) - len(missed), lines + len(wanted)
        if arguments.show and missed:
            print(f"page {seed}: {sorted(missed)} was read as {sorted(set(read) - set(wanted))}")
    print(f"{exact} of {lines} lines are exact ({exact / lines:.1%}), in {len(fonts)} fonts")


def _lines(chance: random.Random, width: int, height: int, ink: str, font: Path | None) -> Iterator[Text]:
    y = chance.randint(8, 40)
    while True:
        size = chance.choice(SIZES)
        face = ImageFont.truetype(font, size) if font else ImageFont.load_default(size=size)
        words = [_word(chance) for _ in range(chance.randint(1, 7))]
        while words and face.getlength(" ".join(words)) > width - 20:
            words.pop()
        if y + 1.4 * size > height:
            return
        if words:
            length = round(face.getlength(" ".join(words)))
            yield Text(" ".join(words), chance.randint(8, max(8, width - length - 8)), y, size, ink, font=font)
            y += round(size * chance.choice((1.35, 1.6, 2.2))) + 4


def _word(chance: random.Random) -> str:
    kind = chance.random()
    if kind < 0.12:
        return str(chance.randint(0, 99999))
    if kind < 0.18:
        return f"{chance.randint(1, 999)}.{chance.randint(0, 99):02d}"
    if kind < 0.24:
        return chance.choice(SIGNS)
    return chance.choice(WORDS.split()) + (chance.choice(",.;:!?") if chance.random() < 0.15 else "")


if __name__ == "__main__":
    main()
