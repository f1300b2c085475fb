"""Chunks of a stream between two workers: what goes in comes out, however the bytes are cut."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from orchestrator.engine.backend import text_tensor
from orchestrator.engine.frames import End, FrameReader, chunk_frame, end_frame

DTYPES = st.sampled_from(
    [np.dtype(kind) for kind in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")]
)
FIXED = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0)))
TEXT = st.lists(st.binary(max_size=20), max_size=5).map(lambda items: text_tensor(*items))
CHUNKS = st.lists(st.dictionaries(st.text(max_size=8), FIXED | TEXT, max_size=3), max_size=5)


def read(data: bytes, piece: int) -> list[dict[str, NDArray[Any]] | End]:
    reader, found = FrameReader(), []
    for at in range(0, len(data), piece):
        reader.feed(data[at : at + piece])
        while (frame := reader.next()) is not None:
            found.append(frame)
    return found


@given(CHUNKS, st.none() | st.text(), st.integers(1, 200))
def test_what_is_sent_arrives(chunks: list[dict[str, NDArray[Any]]], error: str | None, piece: int) -> None:
    data = b"".join([*map(chunk_frame, chunks), end_frame(error)])
    *arrived, end = read(data, piece)
    assert end == End(error)
    assert len(arrived) == len(chunks)
    for got, sent in zip(arrived, chunks, strict=True):
        assert isinstance(got, dict)
        assert list(got) == list(sent)
        for name, array in sent.items():
            assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
            assert got[name].tobytes() == array.tobytes() if array.dtype != object else (got[name] == array).all()


@pytest.mark.parametrize("array", [np.array(["käse", ""]), np.array([b"ab", b"c"]), np.array(["käse"], dtype=object)])
def test_text_of_any_sort_arrives_as_bytes(array: NDArray[Any]) -> None:
    (chunk,) = read(chunk_frame({"x": array}), 7)
    assert isinstance(chunk, dict)
    expected = [item.encode() if isinstance(item, str) else item for item in array.tolist()]
    assert chunk["x"].tolist() == expected


def test_an_array_in_any_order_arrives() -> None:
    array = np.arange(12).reshape(3, 4).T[::2]
    (chunk,) = read(chunk_frame({"x": array}), 1000)
    assert isinstance(chunk, dict)
    assert chunk["x"].tolist() == array.tolist()


def test_half_a_frame_is_none() -> None:
    reader = FrameReader()
    reader.feed(end_frame()[:-1])
    assert reader.next() is None
    reader.feed(end_frame()[-1:])
    assert reader.next() == End()
