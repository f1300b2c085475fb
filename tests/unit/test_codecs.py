"""Scalars, structures and lists of them: every form turns into the next and back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from orchestrator.codec import Packed, codec_of, row_codec_of
from orchestrator.codec.codec import Carrier
from orchestrator.sdk.annotations import describe
from orchestrator.spec import ValueKind, ValueSpec

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | INT64 | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
SCALARS = st.one_of(
    st.tuples(st.just(str), TEXT),
    st.tuples(st.just(int), INT64),
    st.tuples(st.just(float), FLOATS),
    st.tuples(st.just(bool), st.booleans()),
)


class Point(BaseModel):
    x: int
    y: float = 0.0


HAVE_ROWS = (ValueKind.ARRAY, ValueKind.ROWS, ValueKind.TABLE)


class NoFiles:
    """A workspace for values that need none."""

    def folder(self) -> Path:
        raise AssertionError("this value is no file")


NO_FILES = NoFiles()


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def fits(packed: Packed, carrier: Carrier) -> bool:
    tensor = packed.tensor
    return (
        tensor.dtype == carrier.dtype.numpy
        and tensor.ndim == len(carrier.shape)
        and all(length in (actual, -1) for actual, length in zip(tensor.shape, carrier.shape, strict=True))
    )


@given(SCALARS)
def test_a_scalar_survives_its_tensor_and_its_json(case: tuple[type, Any]) -> None:
    annotation, plain = case
    value = describe(annotation, "argument")
    codec = codec_of(value.kind)
    packed = codec.to_tensor(value, plain)
    assert fits(packed, codec.carrier(value))
    assert packed.hint == ""
    assert same(codec.from_tensor(value, packed), plain)
    assert same(codec.from_tensor(value, codec.result_tensor(value, plain)), plain)
    if plain not in (float("inf"), float("-inf")):
        assert same(TypeAdapter(codec.edge_type(value)).validate_json(codec.to_json(value, plain)), plain)


@given(JSON)
def test_a_document_survives_its_tensor_and_its_json(document: Any) -> None:
    value = describe(Any, "argument")
    codec = codec_of(ValueKind.JSON)
    plain = TypeAdapter(codec.edge_type(value)).validate_python(document)
    packed = codec.to_tensor(value, plain)
    assert fits(packed, codec.carrier(value))
    assert codec.from_tensor(value, packed) == plain
    assert json.loads(codec.to_json(value, plain)) == document
    adapter = TypeAdapter(Any)
    assert codec.to_python(value, plain, adapter, NO_FILES) == document
    assert json.loads(codec.from_python(value, document, adapter)) == document


@given(st.lists(TEXT) | st.lists(INT64) | st.lists(FINITE) | st.lists(st.booleans()))
def test_rows_survive_their_tensor_and_their_json(items: list[Any]) -> None:
    item: Any = type(items[0]) if items else str
    annotation: Any = list[item]
    value = describe(annotation, "argument", rows=True)
    codec = row_codec_of(value.kind)
    packed = codec.to_rows(value, items, 0)
    assert fits(packed, codec.carrier(value))
    assert packed.tensor.shape == (len(items), 1)
    assert codec.from_rows(value, packed, 0) == items
    assert codec.from_rows(value, Packed(codec.result_rows(value, items, 0)), 0) == items
    assert TypeAdapter(codec.edge_type(value)).validate_json(codec.to_json(value, items)) == items


def test_rows_of_documents_become_the_users_own_types_and_back() -> None:
    value = describe(list[Point], "argument", rows=True)
    codec = row_codec_of(value.kind)
    adapter = TypeAdapter(list[Point])
    plain = TypeAdapter(codec.edge_type(value)).validate_python([{"x": 1}, {"x": 2, "y": 3}])
    points = codec.to_python(value, codec.from_rows(value, codec.to_rows(value, plain, 0), 0), adapter, NO_FILES)
    assert points == [Point(x=1), Point(x=2, y=3)]
    again = codec.from_python(value, points, adapter)
    assert json.loads(codec.to_json(value, again)) == [{"x": 1, "y": 0.0}, {"x": 2, "y": 3.0}]


@given(st.lists(st.lists(INT64, min_size=1), min_size=1))
def test_joined_rows_split_into_what_they_were(parts: list[list[int]]) -> None:
    codec = row_codec_of(ValueKind.ROWS)
    joined = codec.join(parts, 0)
    assert codec.count(joined, 0) == sum(map(len, parts))
    assert codec.split(joined, [len(part) for part in parts], 0) == parts


@pytest.mark.parametrize(
    ("annotation", "python", "plain"),
    [
        (int, np.int32(4), 4),
        (float, np.float32(0.5), 0.5),
        (float, 3, 3.0),
        (bool, np.bool_(True), True),
        (str, np.str_("a"), "a"),
        (int, np.array(4), 4),
        (dict[str, Any], {"a": np.arange(2), "b": np.float32(1)}, b'{"a":[0,1],"b":1.0}'),
        (dict[str, float], {"a": np.float32(0.5)}, b'{"a":0.5}'),
        (list[list[int]], np.eye(2, dtype=np.int8), b"[[1,0],[0,1]]"),
        (Point, {"x": 1}, b'{"x":1,"y":0.0}'),
        (None, None, b"null"),
    ],
)
def test_a_result_may_hold_numpys_numbers(annotation: Any, python: Any, plain: Any) -> None:
    value = describe(annotation, "result")
    assert same(codec_of(value.kind).from_python(value, python, TypeAdapter(annotation)), plain)


def test_a_list_result_may_be_an_array_or_a_tuple_but_no_text() -> None:
    value = describe(list[str], "result", rows=True)
    codec, adapter = row_codec_of(ValueKind.ROWS), TypeAdapter(list[str])
    assert codec.from_python(value, np.array(["a", "b"]), adapter) == ["a", "b"]
    assert codec.from_python(value, ("a", "b"), adapter) == ["a", "b"]
    with pytest.raises(ValidationError):
        codec.from_python(value, "ab", adapter)


@pytest.mark.parametrize(
    ("annotation", "python"),
    [
        (int, "no number"),
        (str, 3),
        (bool, "maybe"),
        (Point, {"y": 1}),
        (dict[str, int], {"a": object()}),
        (Any, object()),
    ],
)
def test_a_result_that_the_annotation_refuses_is_a_value_error(annotation: Any, python: Any) -> None:
    value = describe(annotation, "result")
    with pytest.raises(ValueError, match=r"validation error|no JSON form"):
        codec_of(value.kind).from_python(value, python, TypeAdapter(annotation))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_an_integer_over_64_bits_cannot_be_sent(number: int) -> None:
    value = describe(int, "argument")
    with pytest.raises(ValueError, match="64 bits"):
        codec_of(value.kind).to_tensor(value, number)


@pytest.mark.parametrize("annotation", [str, Any])
def test_half_a_surrogate_pair_cannot_be_sent(annotation: Any) -> None:
    value = describe(annotation, "argument")
    codec = codec_of(value.kind)
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        codec.to_tensor(value, TypeAdapter(codec.edge_type(value)).validate_python("\ud800"))


@pytest.mark.parametrize("annotation", [str, int, float, bool, dict[str, int]])
@pytest.mark.parametrize("size", [0, 2])
def test_a_plain_clients_tensor_must_have_one_element(annotation: Any, size: int) -> None:
    value = describe(annotation, "argument")
    codec = codec_of(value.kind)
    with pytest.raises(ValueError, match="expected one element"):
        codec.from_tensor(value, Packed(np.zeros(size, dtype=codec.carrier(value).dtype.numpy)))


def test_text_that_is_not_utf8_is_refused() -> None:
    value = describe(str, "argument")
    with pytest.raises(ValueError, match="utf-8"):
        codec_of(value.kind).from_tensor(value, Packed(np.array([b"\xff"], dtype=object)))


def test_a_document_keeps_what_the_schema_does_not_know() -> None:
    value = describe(Point, "argument")
    codec = codec_of(value.kind)
    document = {"x": 1, "more": [1, {"a": None}]}
    assert json.loads(TypeAdapter(codec.edge_type(value)).validate_python(document)) == document


@pytest.mark.parametrize("kind", [kind for kind in ValueKind if kind not in HAVE_ROWS])
def test_only_arrays_lists_and_tables_have_rows(kind: ValueKind) -> None:
    with pytest.raises(ValueError, match="has no rows"):
        row_codec_of(kind)


def test_rows_without_a_description_of_their_items_are_refused() -> None:
    with pytest.raises(ValueError, match="description of its items"):
        row_codec_of(ValueKind.ROWS).row_carrier(ValueSpec(kind=ValueKind.ROWS), 0)
