"""numpy's file format as a body."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from orchestrator.codec.npy import read_npy, write_npy

DTYPES = ["bool", "int8", "uint16", "int64", "uint64", "float16", "float32", "float64", "<U3", ">i4", ">f8", ">U2"]


def saved(array: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@given(st.sampled_from(DTYPES).flatmap(lambda d: arrays(d, array_shapes(min_dims=0, min_side=0, max_side=3))))
def test_every_array_comes_back_in_this_machines_byte_order(array: NDArray[Any]) -> None:
    for given_array in (array, np.array(array, order="F")):
        for content in (saved(given_array), write_npy(given_array)):
            back = read_npy(content)
            assert back.dtype == array.dtype.newbyteorder("=")
            assert back.shape == array.shape
            assert back.tobytes() == array.astype(back.dtype).tobytes()


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff",
        b"PK\x03\x04",
        saved(np.array([1, 2]))[:-1],
        saved(np.array([1, 2])) + b"x",
        saved(np.array([{}, []], dtype=object), allow_pickle=True),
        saved(np.array([1 + 2j])),
        saved(np.array(["2020-01-01"], dtype="M8[D]")),
        saved(np.array([b"raw"])),
        saved(np.zeros(2, dtype=[("a", "i4"), ("b", "f4")])),
        saved(np.zeros(2, dtype=np.longdouble)),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999999,), }"),
        header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({'0,' * 40}), }}"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (True,), }") + bytes(8),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': ('a',), }"),
        header("__import__('os').system('true')"),
        header("(" * 3000),
        header(" " * 60_000),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }", b"\x03\x00"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }", b"\x09\x00"),
    ],
)
def test_what_is_no_array_of_numbers_bools_or_text_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_npy(content)


@given(st.binary(max_size=200), st.integers(0, 130))
def test_nothing_else_than_a_refusal_comes_of_any_bytes(noise: bytes, at: int) -> None:
    content = saved(np.arange(6.0).reshape(2, 3))
    for one in (noise, content[:at] + noise, content[:at] + noise + content[at + len(noise) :]):
        try:
            assert isinstance(read_npy(one), np.ndarray)
        except ValueError:
            continue


def test_objects_are_not_written() -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        write_npy(np.array([{}], dtype=object))
