"""Arrays of every type and shape, declared or open: every form turns into the next and back."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pydantic import TypeAdapter

from orchestrator.codec import Packed, row_codec_of
from orchestrator.codec.array import array_from_json, hint_of, parse_hint
from orchestrator.spec import ANY, DType, ValueKind, ValueSpec
from tests.unit.test_codecs import fits

Array = NDArray[Any]
CODEC = row_codec_of(ValueKind.ARRAY)
NUMBERS = [dtype for dtype in DType if dtype is not DType.BYTES]
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@st.composite
def arrays(draw: st.DrawFn, *, min_dims: int = 0, min_side: int = 0) -> Array:
    shape = draw(hnp.array_shapes(min_dims=min_dims, max_dims=4, min_side=min_side, max_side=3))
    dtype = draw(st.sampled_from(DType))
    if dtype is DType.BYTES:
        return draw(hnp.arrays("<U7", shape, elements=st.text(LETTERS, max_size=7)))
    return draw(hnp.arrays(dtype.numpy, shape))


@st.composite
def values_of(draw: st.DrawFn, array: Array, *, batch_axis: int | None = None) -> ValueSpec:
    """A description of the array that says all, some or nothing of its dtype and shape."""
    dtype = DType.BYTES if array.dtype.kind == "U" else DType.of(array.dtype.name)
    shape = tuple(draw(st.sampled_from([length, ANY])) for length in array.shape)
    if batch_axis is not None:
        shape = (*shape[:batch_axis], ANY, *shape[batch_axis + 1 :])
    return ValueSpec(
        kind=ValueKind.ARRAY, dtype=draw(st.sampled_from([dtype, None])), shape=draw(st.sampled_from([shape, None]))
    )


def same(one: Array, other: Array) -> bool:
    text = one.dtype.kind == "U" and other.dtype.kind == "U"
    if one.shape != other.shape or not (text or one.dtype == other.dtype):
        return False
    return bool(np.array_equal(one, other)) if text else one.tobytes() == other.tobytes()


@given(st.data())
def test_an_array_survives_its_tensor(data: st.DataObject) -> None:
    array = data.draw(arrays())
    value = data.draw(values_of(array))
    packed = CODEC.to_tensor(value, array)
    assert fits(packed, CODEC.carrier(value))
    assert same(CODEC.from_tensor(value, packed), array)


@given(st.data())
def test_an_array_result_survives_its_tensor_without_a_hint(data: st.DataObject) -> None:
    array = data.draw(arrays())
    value = data.draw(values_of(array))
    plain = CODEC.from_python(value, array, TypeAdapter(Any))
    assert same(CODEC.from_tensor(value, CODEC.result_tensor(value, plain)), array)


@given(st.data())
def test_rows_survive_their_tensor_whatever_axis_they_are_on(data: st.DataObject) -> None:
    array = data.draw(arrays(min_dims=1))
    axis = data.draw(st.integers(0, array.ndim - 1))
    value = data.draw(values_of(array, batch_axis=axis))
    packed = CODEC.to_rows(value, array, axis)
    assert len(packed.tensor) == array.shape[axis] == CODEC.count(array, axis)
    if len(packed.tensor):
        assert fits(Packed(packed.tensor[0]), CODEC.row_carrier(value, axis))
    assert same(CODEC.from_rows(value, packed, axis), array)
    assert same(CODEC.from_rows(value, Packed(CODEC.result_rows(value, array, axis)), axis), array)


@given(st.data())
def test_joined_rows_split_into_what_they_were(data: st.DataObject) -> None:
    array = data.draw(arrays(min_dims=1, min_side=1))
    axis = data.draw(st.integers(0, array.ndim - 1))
    joined = CODEC.join([array, array], axis)
    rows = array.shape[axis]
    assert CODEC.count(joined, axis) == 2 * rows
    assert all(same(part, array) for part in CODEC.split(joined, [rows, rows], axis))


@given(st.data())
def test_an_array_survives_its_json(data: st.DataObject) -> None:
    array = data.draw(arrays(min_side=1))
    assume(array.dtype.kind != "f" or np.isfinite(array).all())
    dtype = DType.BYTES if array.dtype.kind == "U" else DType.of(array.dtype.name)
    value = ValueSpec(kind=ValueKind.ARRAY, dtype=dtype, shape=data.draw(st.sampled_from([array.shape, None])))
    document = json.loads(CODEC.to_json(value, array))
    assert document == array.tolist() or array.dtype.kind == "f"
    assert np.array_equal(TypeAdapter(CODEC.edge_type(value)).validate_python(document), array)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    ),
    st.none() | st.sampled_from(DType),
)
def test_any_json_is_an_array_or_a_value_error(document: Any, dtype: DType | None) -> None:
    try:
        array = array_from_json(document, dtype, None)
    except ValueError:
        return
    assert dtype is None or array.dtype == dtype.numpy or (dtype is DType.BYTES and array.dtype.kind == "U")


@pytest.mark.parametrize(
    ("document", "dtype", "shape", "message"),
    [
        ([[1, 2], [3]], None, None, "must be a rectangle"),
        ([1, [2]], DType.FP32, None, "must be a rectangle"),
        ({"a": 1}, None, None, "only numbers, bools or text"),
        ([1, None], DType.FP64, None, "only numbers, bools or text"),
        ([1, "a"], None, None, "numbers or text, not both"),
        ([True, "a"], DType.BYTES, None, "numbers or text, not both"),
        (["a"], DType.FP32, None, "expected float32, got text"),
        (["a"], DType.INT8, None, "expected int8, got text"),
        ([1], DType.BYTES, None, "expected text, got int64"),
        ([300], DType.UINT8, None, "between 0 and 255 for uint8"),
        ([-1], DType.UINT64, None, "between 0 and"),
        ([2**63], DType.INT64, None, "between -9223372036854775808 and"),
        ([2**63, -1], DType.INT64, None, "between -9223372036854775808 and"),
        ([2**64], DType.UINT64, None, "fit in 64 bits"),
        ([2**64], None, None, "fit in 64 bits"),
        ([10**400], DType.FP64, None, "expected float64, got a number that is too large"),
        (["a"] * 1000 + ["b" * 100_000], DType.BYTES, None, "no room for texts of such different lengths"),
        ([1] * 1000 + ["b" * 100_000], DType.INT8, None, "expected int8, got text"),
        ([1e30], DType.INT64, None, "between -9223372036854775808 and"),
        ([1.5], DType.INT32, None, "whole numbers for int32"),
        ([float("nan")], DType.INT32, None, "whole numbers for int32"),
        ([2], DType.BOOL, None, "true or false"),
        ([0.5], DType.BOOL, None, "true or false"),
        ([1e39], DType.FP32, None, "too large for float32"),
        ([70000], DType.FP16, None, "too large for float16"),
        ([1, 2], None, (3,), r"shape \[3\] .* got \[2\]"),
        ([1, 2], None, (ANY, 2), r"shape \[-1, 2\] .* got \[2\]"),
        (5, None, (ANY,), r"got \[\]"),
        ([[]], None, (2, 0), r"got \[1, 0\]"),
        ([], None, (2, ANY), r"got \[0, 0\]"),
    ],
)
def test_json_that_does_not_fit_is_refused(
    document: Any, dtype: DType | None, shape: tuple[int, ...] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        array_from_json(document, dtype, shape)


@pytest.mark.parametrize(
    ("document", "dtype", "expected"),
    [
        ([1, 2.5], None, np.array([1.0, 2.5])),
        ([1, 2], DType.FP32, np.array([1, 2], np.float32)),
        ([1.0, -0.0], DType.UINT8, np.array([1, 0], np.uint8)),
        ([True, 2], DType.INT8, np.array([1, 2], np.int8)),
        ([1, 0.0], DType.BOOL, np.array([True, False])),
        (["1.5"], DType.FP32, np.array([1.5], np.float32)),
        ([10**30, True], DType.FP64, np.array([1e30, 1.0])),
        ([2**64 - 1, 1], DType.UINT64, np.array([2**64 - 1, 1], np.uint64)),
        ([[2**63 + 1], [1]], DType.UINT64, np.array([[2**63 + 1], [1]], np.uint64)),
        ([float("inf")], DType.FP32, np.array([np.inf], np.float32)),
        (7, None, np.array(7)),
        ([], DType.BYTES, np.array([], np.str_)),
    ],
)
def test_json_numbers_become_the_declared_type_without_loss(
    document: Any, dtype: DType | None, expected: Array
) -> None:
    assert same(array_from_json(document, dtype, None), expected)


@pytest.mark.parametrize(
    ("document", "shape", "got"), [([], (ANY, 3), (0, 3)), ([[], []], (ANY, ANY, 4), (2, 0, 4)), ([], (0,), (0,))]
)
def test_an_empty_list_has_the_axes_that_json_cannot_show(
    document: Any, shape: tuple[int, ...], got: tuple[int, ...]
) -> None:
    assert array_from_json(document, DType.FP32, shape).shape == got


@pytest.mark.parametrize(
    ("result", "dtype", "message"),
    [
        ([1.5], DType.INT32, "expected dtype int32, got float64"),
        (["a"], DType.FP32, "expected dtype float32, got str"),
        ([1], DType.BYTES, "expected an array of text, got int64"),
        ([2**40], DType.INT32, "between -2147483648 and 2147483647"),
        ([1e300], DType.FP32, "too large for float32"),
        (np.array([1j]), None, "complex128 cannot be sent"),
        (np.array(["2020-01-01"], "datetime64[D]"), None, "cannot be sent"),
        (np.array([1], np.longdouble), None, "cannot be sent"),
        ([object()], None, "Python objects cannot be sent"),
        ([b"\xff"], None, "utf-8"),
        ([[1], [2, 3]], None, "inhomogeneous"),
        ([1], DType.INT64, r"expected an array of shape \[2\]"),
    ],
)
def test_a_result_that_would_be_changed_is_refused(result: Any, dtype: DType | None, message: str) -> None:
    value = ValueSpec(kind=ValueKind.ARRAY, dtype=dtype, shape=(2,) if dtype is DType.INT64 else None)
    with pytest.raises(ValueError, match=message):
        CODEC.from_python(value, result, TypeAdapter(Any))


@pytest.mark.parametrize(
    ("result", "dtype", "expected"),
    [
        ([1, 2], DType.FP32, np.array([1, 2], np.float32)),
        (np.array([1, 2]), DType.INT32, np.array([1, 2], np.int32)),
        ([0.1], DType.FP32, np.array([0.1], np.float32)),
        (["a", "bc"], DType.BYTES, np.array(["a", "bc"])),
        (np.array([b"a"]), DType.BYTES, np.array(["a"])),
        (3, None, np.array(3)),
    ],
)
def test_a_result_becomes_its_declared_type(result: Any, dtype: DType | None, expected: Array) -> None:
    value = ValueSpec(kind=ValueKind.ARRAY, dtype=dtype)
    assert same(CODEC.from_python(value, result, TypeAdapter(Any)), expected)


def test_rows_are_joined_only_where_type_and_shape_agree() -> None:
    a, b = np.zeros((1, 3)), np.zeros((5, 3))
    assert CODEC.joinable(a, 0) == CODEC.joinable(b, 0)
    assert CODEC.joinable(a, 1) != CODEC.joinable(b, 1)
    assert CODEC.joinable(a, 0) != CODEC.joinable(a.astype(np.float32), 0)
    assert CODEC.joinable(np.array(["a"]), 0) == CODEC.joinable(np.array(["abc"]), 0)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_batch_axis_that_is_not_there_is_a_value_error(axis: int) -> None:
    value = ValueSpec(kind=ValueKind.ARRAY)
    with pytest.raises(ValueError, match="axis"):
        CODEC.to_rows(value, np.zeros(3), axis)
    with pytest.raises(ValueError, match="no batch axis"):
        CODEC.count(np.zeros(3), axis)


@given(st.sampled_from(["", "<i8", "<U3"]), st.none() | st.lists(st.integers(0, 9), max_size=4).map(tuple))
def test_a_hint_is_read_back(dtype: str, shape: tuple[int, ...] | None) -> None:
    assert parse_hint(hint_of(dtype, shape)) == (dtype, shape)


@example(",")  # numpy evaluates it
@given(st.text(max_size=8) | st.from_regex(r"[<>|]?[a-zA-Z][0-9]{0,3}(:[-0-9,]{0,6})?", fullmatch=True))
def test_whatever_hint_a_client_sends_is_read_or_a_value_error(hint: str) -> None:
    value = ValueSpec(kind=ValueKind.ARRAY)
    for shape in ((2, 3), (1, 4), (0, 2)):
        try:
            array = CODEC.from_tensor(value, Packed(np.zeros(shape), hint))
        except ValueError:
            continue
        assert array.dtype.kind in "biufcU"


@pytest.mark.parametrize("dtype", NUMBERS)
def test_every_number_type_is_sent_as_fp64_where_the_type_is_open(dtype: DType) -> None:
    value = ValueSpec(kind=ValueKind.ARRAY)
    packed = CODEC.to_tensor(value, np.ones((2, 3), dtype.numpy))
    assert packed.tensor.dtype == np.float64
    assert packed.hint == ("" if dtype is DType.FP64 else np.dtype(dtype.numpy).str)


def test_a_plain_clients_fp64_table_needs_no_hint() -> None:
    value = ValueSpec(kind=ValueKind.ARRAY)
    table = np.arange(6.0).reshape(2, 3)
    assert same(CODEC.from_tensor(value, Packed(table)), table)
    assert same(CODEC.from_rows(value, Packed(table), 0), table)
