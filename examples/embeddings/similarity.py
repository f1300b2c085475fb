"""How near a few sentences are to one another, as a picture: the one in the README.

python similarity.py similarity.png http://127.0.0.1:3000    asks a running server
python similarity.py similarity.png                          runs the service in this process
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

import orchestrator

__all__ = ["SENTENCES", "draw", "similarities"]

SENTENCES: Final = (
    "The ferry to the island leaves at nine.",
    "Boats cross to the island every morning.",
    "When does the first ship depart?",
    "My cat sleeps on the warm radiator.",
    "A kitten is dozing by the heater.",
    "The cat next door had four kittens.",
    "Add two eggs and whisk the batter.",
    "Bake the cake for forty minutes.",
    "The soup needs more salt and pepper.",
    "The server batches requests on the GPU.",
    "Inference is faster with larger batches.",
    "A GPU server answers inference requests.",
)
"""Four topics, three sentences each."""
CELL: Final = 44
_LOW, _HIGH = np.array((247, 247, 242)), np.array((18, 78, 120))


def similarities(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cosines of all pairs.

    Args:
        vectors: of length 1, shape (texts, dimensions).
    """
    return np.asarray(vectors @ vectors.T)


def draw(sentences: Sequence[str], cosines: npt.NDArray[np.float32]) -> Image.Image:
    """The matrix with its numbers, dark where sentences are near."""
    font, small = ImageFont.load_default(size=16), ImageFont.load_default(size=14)
    left = max(round(font.getlength(sentence)) for sentence in sentences) + 24
    side = CELL * len(sentences)
    picture = Image.new("RGB", (left + side + 16, side + 32), "white")
    canvas = ImageDraw.Draw(picture)
    for row, sentence in enumerate(sentences):
        y = 16 + row * CELL
        canvas.text((left - 12, y + CELL / 2), sentence, fill="black", font=font, anchor="rm")
        for column, cosine in enumerate(cosines[row]):
            x, share = left + column * CELL, float(np.clip(cosine, 0, 1))
            colour = tuple(int(each) for each in _LOW + share * (_HIGH - _LOW))
            canvas.rectangle((x, y, x + CELL - 2, y + CELL - 2), fill=colour)
            ink = "white" if share > 0.45 else "black"
            canvas.text(
                (x + CELL / 2 - 1, y + CELL / 2),
                f"{round(float(cosine), 2) + 0:.2f}",
                fill=ink,
                font=small,
                anchor="mm",
            )
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the similarities of the sentences.")
    parser.add_argument("png", type=Path, help="file to write")
    parser.add_argument("url", nargs="?", help="of a running server")
    arguments = parser.parse_args()
    cosines = similarities(_embed(arguments.url))
    draw(SENTENCES, cosines).quantize(64).save(arguments.png, optimize=True)
    nearest = np.where(np.eye(len(SENTENCES), dtype=bool), -1, cosines).argmax(axis=1)
    for sentence, other in zip(SENTENCES, nearest, strict=True):
        print(f"{sentence:42} {SENTENCES[other]}")


def _embed(url: str | None) -> npt.NDArray[np.float32]:
    if url is None:
        from service import Embeddings

        return np.asarray(Embeddings().embed(list(SENTENCES)))
    with orchestrator.SyncHTTPClient(url, timeout=60) as client:
        return np.asarray(client.embed(texts=list(SENTENCES)), dtype=np.float32)


if __name__ == "__main__":
    main()
