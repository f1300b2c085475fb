"""A model's sample: its file, made-up inputs, and the comparison."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from orchestrator.errors import DefinitionError, InvalidInput
from orchestrator.formats import Sample, check_inputs, compare, generate, read_sample, write_sample
from orchestrator.spec import DType, ModelSignature, TensorSpec

TIGHT = (1e-3, 1e-4)


def test_a_sample_comes_back_as_it_was(tmp_path: Path) -> None:
    inputs = {"a/b.c": np.ones((2, 3), np.float16), "text": np.array([["für".encode()], [b""]], dtype=object)}
    outputs = {"y": np.array([True, False]), "t": np.array(["ü", "bb"])}
    write_sample(tmp_path / "sample.npz", Sample(inputs, outputs))
    got = read_sample(tmp_path / "sample.npz")
    assert {name: (a.dtype.name, a.tolist()) for name, a in got.inputs.items()} == {
        "a/b.c": ("float16", [[1.0] * 3] * 2),
        "text": ("object", [["für".encode()], [b""]]),
    }
    assert {name: a.tolist() for name, a in got.outputs.items()} == {"y": [True, False], "t": ["ü".encode(), b"bb"]}
    assert [path.name for path in tmp_path.iterdir()] == ["sample.npz"]


def test_a_sample_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "sample.npz"
    write_sample(path, Sample({"x": np.ones(1)}, {}))
    with pytest.raises(InvalidInput, match="holds str or bytes, not dict"):
        write_sample(path, Sample({"x": np.array([{}], dtype=object)}, {}))
    assert read_sample(path).inputs["x"].tolist() == [1.0]
    assert [each.name for each in tmp_path.iterdir()] == ["sample.npz"]


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04 half a zip"])
def test_what_is_no_sample_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sample.npz").write_bytes(content)
    with pytest.raises(DefinitionError, match=r"sample.npz: this is not a sample"):
        read_sample(tmp_path / "sample.npz")


def test_a_pickle_in_a_sample_is_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "sample.npz", **{"input.x": np.array([{}], dtype=object)})
    with pytest.raises(DefinitionError, match="this is not a sample: Object arrays cannot be loaded"):
        read_sample(tmp_path / "sample.npz")


@given(
    dtypes=st.lists(st.sampled_from(list(DType)), min_size=1, max_size=3),
    shape=st.lists(st.sampled_from([-1, 0, 1, 3]), max_size=3),
    rows=st.integers(0, 4),
    batched=st.booleans(),
)
def test_generated_inputs_are_what_the_signature_takes(
    dtypes: list[DType], shape: list[int], rows: int, batched: bool
) -> None:
    full = (-1, *shape) if batched else tuple(shape)
    tensors = tuple(TensorSpec(name=f"x{i}", dtype=dtype, shape=full) for i, dtype in enumerate(dtypes))
    signature = ModelSignature(inputs=tensors, outputs=tensors, batched=batched)
    made = generate(signature, rows, seed=3, length=5)
    assert {array.shape for array in made.values()} == {
        ((rows,) if batched else ()) + tuple(5 if length == -1 else length for length in shape)
    }
    assert list(check_inputs(signature, made)) == [tensor.name for tensor in tensors]
    again = generate(signature, rows, seed=3, length=5)
    assert all(np.array_equal(made[name], again[name]) for name in made)


@pytest.mark.parametrize(
    ("expected", "got", "words"),
    [
        (
            np.array([1, 2], np.float32),
            np.array([1, 2.5], np.float32),
            r"1 of 2 values differ, most at \[1\]: expected 2.0, got 2.5",
        ),
        (
            np.array([[1, 2], [3, 4]], np.float32),
            np.array([[1.1, 2], [3, 9]], np.float32),
            r"2 of 4 .* \[1, 1\]: expected 4.0, got 9.0",
        ),
        (np.array([1, np.nan], np.float32), np.array([1, 0], np.float32), r"at \[1\]: expected nan, got 0.0"),
        (np.array([1, 2], np.float32), np.array([np.inf, 2], np.float32), r"at \[0\]: expected 1.0, got inf"),
        (np.array([np.inf], np.float32), np.array([-np.inf], np.float32), r"expected inf, got -inf"),
        (
            np.array([1, 2], np.int64),
            np.array([1, 3], np.int64),
            r"1 of 2 values differ, most at \[1\]: expected 2, got 3",
        ),
        (np.array(["a"]), np.array([b"b"], dtype=object), "expected b'a', got b'b'"),
        (np.array([True]), np.array([False]), "expected True, got False"),
        (np.zeros((1, 3)), np.zeros((3,)), r"expected shape \[1, 3\], got \[3\]"),
        (np.zeros(1, np.float32), np.zeros(1), "expected float32, got float64"),
        (np.zeros(1), np.array(["0"]), "expected float64, got text"),
    ],
)
def test_a_difference_is_told_with_its_place(expected: Any, got: Any, words: str) -> None:
    import re

    assert re.search(words, compare(expected, got, TIGHT))


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (np.array([1000, np.nan, np.inf], np.float32), np.array([1000.9, np.nan, np.inf], np.float32)),
        (np.array([], np.float16), np.array([], np.float16)),
        (np.array(["ü"]), np.array(["ü".encode()], dtype=object)),
        (np.array([[1]], np.uint8), np.array([[1]], np.uint8)),
    ],
)
def test_what_is_equal_or_near_enough_is_no_difference(expected: Any, got: Any) -> None:
    assert compare(expected, got, TIGHT) == ""


@given(numpy_st.arrays(np.float64, (3,), elements=st.floats(-1e6, 1e6)), st.floats(-1e3, 1e3))
def test_the_tolerance_is_of_what_was_expected(expected: Any, offset: float) -> None:
    got = expected + offset
    allowed = TIGHT[1] + TIGHT[0] * np.abs(expected)
    assert (compare(expected, got, TIGHT) == "") is bool(np.all(np.abs(got - expected) <= allowed))
