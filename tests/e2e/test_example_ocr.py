"""examples/ocr on the real Triton: it reads what was drawn, exactly, also for many callers at once."""

import io
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.e2e.fuzzing import fuzz
from tests.e2e.model_counts import batch_sizes
from tests.e2e.serving import Serving
from tests.examples import EXAMPLES, example_modules

pytestmark = pytest.mark.e2e

(page,) = example_modules("ocr", "page")
FONTS = [None, *(font for font in sorted(Path("/usr/share/fonts").rglob("*.ttf")) if font.stem == "DejaVuSerif")]
"""Pillow's own, and one more where the machine has it."""
LETTER = (
    ("Dear Ms. Rowe,", 30, 30, 22, False),
    ("your order #48-1093 left us on 14 May;", 30, 80, 22, False),
    ("it weighs 7.25 kg (net).", 30, 120, 22, False),
    ("Sum: 1,204.60 EUR", 30, 200, 32, False),
    ("FRAGILE: this side down", 430, 200, 24, True),
    ("Kind regards", 30, 300, 16, False),
    ("Store & Sons", 500, 296, 28, False),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving("service:Ocr", working_dir=EXAMPLES / "ocr") as serving:
        yield serving


def read(url: str, image: Image.Image) -> list[dict[str, Any]]:
    body = io.BytesIO()
    image.save(body, "PNG")
    headers = {"content-type": "image/png"}
    answer = httpx2.post(f"{url}/read", content=body.getvalue(), headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def texts(lines: Sequence[dict[str, Any]]) -> list[str]:
    return [line["text"] for line in lines]


def test_the_pages_of_many_callers_are_read_exactly_and_in_order(server: Serving) -> None:
    picture = Image.open(EXAMPLES / "ocr" / "page.png")
    picture.load()  # else each thread would
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: read(server.url, picture), range(4)))
    for lines in answers:
        assert texts(lines) == [line.text for line in page.PAGE]
        for line, drawn in zip(lines, page.PAGE, strict=True):
            assert 0.9 < line["score"] <= 1
            corner = line["box"][2 if drawn.upside_down else 0]
            assert np.abs(np.array(corner) - (drawn.x, drawn.y)).max() < 8
    # Nine lines a page reach the models as batches, and those of several callers as larger ones.
    sizes = batch_sizes(server.url)
    assert sizes["Ocr.classifier"] >= 9
    assert sizes["Ocr.recognizer"] > 2


@pytest.mark.parametrize("font", FONTS, ids=lambda font: font.stem if font else "pillow")
def test_another_page_in_another_font(server: Serving, font: Path | None) -> None:
    drawn = [
        page.Text(text, x, y, size, upside_down=upside_down, font=font) for text, x, y, size, upside_down in LETTER
    ]
    assert texts(read(server.url, page.draw(drawn, 800, 350, "white"))) == [text for text, *_ in LETTER]


def test_a_page_upside_down_is_read_from_its_own_top(server: Serving) -> None:
    upright = [page.Text(text, x, y, size) for text, x, y, size, upside_down in LETTER if not upside_down]
    turned = page.draw(upright, 800, 350, "white").rotate(180)
    assert texts(read(server.url, turned)) == [line.text for line in upright]


def test_an_empty_page_and_a_transparent_one(server: Serving) -> None:
    assert read(server.url, Image.new("RGB", (300, 200), "white")) == []
    ink = page.draw([page.Text("On glass", 30, 30, 40)], 300, 120, "white").convert("L")
    glass = Image.new("RGBA", ink.size, "black")
    glass.putalpha(Image.eval(ink, lambda level: 255 - level))
    assert texts(read(server.url, glass)) == ["On glass"]


def test_the_scripts_of_the_readme_run(server: Serving, tmp_path: Path) -> None:
    loaded = script("load.py", server.url, "--callers", "2", "--requests", "2", "--rounds", "1").splitlines()
    assert [line.split()[0] for line in loaded] == ["callers", "1", "2"]
    assert all(float(line.split()[1]) > 0 for line in loaded[1:])
    read_aloud = script("page.py", tmp_path / "read.png", "--read").splitlines()
    assert read_aloud == [line.text for line in page.PAGE]
    assert Image.open(tmp_path / "read.png").width == page.draw(page.PAGE).width


def script(name: str, *arguments: str | Path) -> str:
    command = [sys.executable, EXAMPLES / "ocr" / name, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_anything_else_is_refused_by_rule(server: Serving) -> None:
    fuzz(server.url)
