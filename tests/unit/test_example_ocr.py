"""The OCR example between its models: boxes from a probability map, cuts, reading order, CTC."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

from tests.examples import example_modules

detection, direction, lines, recognition, model_files = example_modules(
    "ocr", "detection", "direction", "lines", "recognition", "model_files"
)
CHARACTERS = ["", "a", "b", " "]


def box_around(x: float, y: float, width: float, height: float, degrees: float = 0) -> Any:
    """A rectangle by its centre, turned clockwise; from its own upper left corner."""
    across, down = np.array([width / 2, 0]), np.array([0, height / 2])
    corners = np.array([-across - down, across - down, across + down, down - across])
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (corners @ turn + (x, y)).astype(np.float32)


def test_the_view_of_the_detector_has_lengths_that_the_model_takes() -> None:
    for height, width in ((1, 1), (3, 9000), (480, 640), (5000, 4000)):
        view = detection.prepare(np.full((height, width, 3), (255, 0, 128), np.uint8))
        assert view.dtype == np.float32
        assert view.shape[0:2] == (1, 3)
        assert all(length % 32 == 0 and 32 <= length <= 1600 for length in view.shape[2:])
        np.testing.assert_allclose(view[0, :, 0, 0], (0.0039, -1, 1), atol=1e-3)  # blue, green, red


def test_small_images_are_enlarged_and_large_ones_reduced() -> None:
    sizes = {(500, 600): (736, 896), (100, 200): (192, 384), (1000, 1200): (992, 1216), (3000, 2400): (1600, 1280)}
    for (height, width), expected in sizes.items():
        assert detection.prepare(np.zeros((height, width, 3), np.uint8)).shape[2:] == expected


@pytest.mark.parametrize("degrees", [0, 12, -30])
def test_a_box_grows_back_around_the_core_of_its_line(degrees: float) -> None:
    core = box_around(300, 200, 200, 20, degrees)
    probabilities = np.zeros((400, 600), np.float32)
    cv2.fillPoly(probabilities, [core.round().astype(np.int32)], (0.9,))
    (found,) = detection.find_boxes(probabilities, 1200, 800)  # the image is twice the view
    margin = 1.6 * 200 * 20 / (2 * (200 + 20))
    expected = box_around(300, 200, 200 + 2 * margin, 20 + 2 * margin, degrees) * 2
    distances = np.linalg.norm(found[:, np.newaxis] - expected[np.newaxis], axis=2)
    assert distances.min(axis=0).max() < 12  # of 29 that the margin is; a slanted core has jagged edges


def test_what_is_faint_or_thin_is_no_line() -> None:
    probabilities = np.zeros((200, 400), np.float32)
    probabilities[20:40, 20:200] = 0.35
    probabilities[100:101, 20:200] = 0.95
    assert detection.find_boxes(probabilities, 400, 200).shape == (0, 4, 2)


@pytest.mark.parametrize("degrees", [0, 10, -10, 44, -44])
@pytest.mark.parametrize("start", [0, 1, 2, 3])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_box_starts_at_its_upper_left_corner(degrees: float, start: int, backwards: bool) -> None:
    expected = box_around(200, 200, 150, 20, degrees)
    given = np.roll(expected[::-1] if backwards else expected, start, axis=0)
    np.testing.assert_array_equal(lines.upright(given[np.newaxis])[0], expected)


def test_a_tall_box_is_a_line_that_runs_up() -> None:
    (turned,) = lines.upright(box_around(200, 200, 20, 150)[np.newaxis])
    np.testing.assert_array_equal(turned, box_around(200, 200, 150, 20, -90))


@pytest.mark.parametrize("degrees", [0, 25, 90, 180, 270])
def test_a_cut_is_the_box_straightened(degrees: float) -> None:
    line = np.linspace(0, 255, 101, dtype=np.uint8)[np.newaxis, :, np.newaxis].repeat(21, 0).repeat(3, 2)
    box = box_around(150, 150, 101, 21, degrees)
    corners = np.array([(0, 0), (101, 0), (101, 21), (0, 21)], np.float32)
    image = cv2.warpPerspective(line, cv2.getPerspectiveTransform(corners, box), (300, 300))
    cut = lines.cut(image, box)
    assert cut.shape == (21, 101, 3)
    assert np.abs(cut[3:-3, 3:-3].astype(int) - line[3:-3, 3:-3]).max() < 12


@pytest.mark.parametrize("page", [0, 8, -8, 90, 180])
def test_rows_are_read_as_the_page_lies(page: float) -> None:
    upright = [(100, 50), (400, 57), (250, 110), (90, 160), (300, 158), (500, 163)]
    angle = np.deg2rad(page)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centres = (np.array(upright) @ turn).tolist()
    boxes = np.array([box_around(x, y, 120, 30, page) for x, y in centres])
    shuffled = [4, 0, 5, 2, 1, 3]
    order = lines.reading_order(boxes[shuffled])
    assert [shuffled[index] for index in order] == list(range(6))


def test_one_line_upside_down_does_not_turn_the_page() -> None:
    boxes = np.array([box_around(100, 50, 100, 20), box_around(300, 90, 500, 20, 180), box_around(100, 130, 80, 20)])
    assert lines.reading_order(boxes) == [0, 1, 2]
    assert lines.reading_order(boxes[:2]) == [0, 1]
    assert lines.reading_order(boxes[:0]) == []


def test_the_direction_is_looked_for_at_the_beginning_of_a_line() -> None:
    line = np.zeros((24, 400, 3), np.uint8)
    line[:, :96] = 255
    view = direction.prepare([line, line[:, 96:120]])
    assert view.shape == (2, 3, 48, 192)
    assert (view[0] == 1).all()
    assert (view[1, :, :, :48] == -1).all()
    assert (view[1, :, :, 48:] == 0).all()
    assert direction.maybe_upside_down(np.array([[0.99, 0.01], [0.9, 0.1], [0.1, 0.9]], np.float32)) == [1, 2]


def test_lines_of_one_width_share_a_batch() -> None:
    shapes = [(48, 300), (24, 160), (10, 5000), (48, 330), (30, 3)]
    given = [np.full((*shape, 3), number, np.uint8) for number, shape in enumerate(shapes)]
    batches = {tuple(indices): batch for indices, batch in recognition.batches(given)}
    assert {indices: batch.shape for indices, batch in batches.items()} == {
        (0, 1, 4): (3, 3, 48, 320),
        (2,): (1, 3, 48, 3200),
        (3,): (1, 3, 48, 480),
    }
    for indices, batch in batches.items():
        for row, index in zip(batch, indices, strict=True):
            np.testing.assert_allclose(row[:, :, 0], index / 127.5 - 1, atol=1e-6)
    assert (batches[0, 1, 4][0, :, :, 300:] == 0).all()
    assert list(recognition.batches([])) == []


@pytest.mark.parametrize(
    ("classes", "text"),
    [([0, 1, 1, 0, 1, 2], "aab"), ([3, 1, 3], " a "), ([0, 0], ""), ([], ""), ([2, 2, 2], "b"), ([1, 2, 1], "aba")],
)
def test_ctc_takes_runs_once_and_drops_blanks(classes: list[int], text: str) -> None:
    found = np.array(classes, np.int64)
    reading = recognition.decode(found, np.where(found == 1, 0.5, 1.0).astype(np.float32), CHARACTERS)
    assert reading.text == text
    expected = np.mean([0.5 if letter == "a" else 1 for letter in text]) if text else 0
    assert reading.score == pytest.approx(expected, abs=1e-6)


def test_the_best_class_comes_out_of_the_model_itself(tmp_path: Path) -> None:
    source = model_files.find("rec")
    smaller = model_files.with_best_class(source, tmp_path)
    written = smaller.stat().st_mtime_ns
    assert model_files.with_best_class(source, tmp_path) == smaller
    assert smaller.stat().st_mtime_ns == written
    assert [path.name for path in tmp_path.iterdir()] == [smaller.name]
    given = np.random.default_rng(3).uniform(-1, 1, (2, 3, 48, 160)).astype(np.float32)
    (whole,) = onnxruntime.InferenceSession(source).run(None, {"x": given})
    probability, best = onnxruntime.InferenceSession(smaller).run(None, {"x": given})
    np.testing.assert_array_equal(best[..., 0], whole.argmax(axis=-1))
    np.testing.assert_array_equal(probability[..., 0], whole.max(axis=-1))
    characters = model_files.characters_of(source)
    assert len(characters) == whole.shape[-1]
    assert (characters[0], characters[-1], characters.count("é")) == ("", " ", 1)


def test_a_missing_model_says_what_to_install() -> None:
    with pytest.raises(FileNotFoundError, match="pip install 'rapidocr"):
        model_files.find("none")
