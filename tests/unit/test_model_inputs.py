"""What a caller may hand to a model, and what becomes of it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidInput, OutputMismatch
from orchestrator.sdk.model_inputs import checked_outputs, inputs_of, joined, no_rows, outputs_asked, pieces
from orchestrator.spec import DType, ModelFormat, ModelOptions, ModelSignature, NativeModelSpec, TensorSpec

FLOATS = [DType.FP16, DType.FP32, DType.FP64]


def tensor(name: str, dtype: DType, *shape: int, optional: bool = False) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape, optional=optional)


def spec_of(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (), most: int | None = None) -> NativeModelSpec:
    outputs = outputs or (tensor("y", DType.FP32, -1, 2),)
    batched = all(each.shape and each.shape[0] == -1 for each in (*inputs, *outputs))
    return NativeModelSpec(
        attribute="m",
        name="S.m",
        format=ModelFormat.ONNX,
        file="model.onnx",
        signature=ModelSignature(inputs=inputs, outputs=outputs, batched=batched),
        options=ModelOptions(max_batch_size=most),
        files_digest="0" * 64,
    )


def one(dtype: DType, value: Any, *shape: int) -> Any:
    return inputs_of(spec_of(tensor("x", dtype, *(shape or (-1,)))), [value], {})["x"]


def refusal(dtype: DType, value: Any, *shape: int) -> str:
    with pytest.raises(InvalidInput) as caught:
        one(dtype, value, *shape)
    assert caught.value.problems[0]["loc"] == ["S.m", "x"]
    return caught.value.message


def test_an_array_of_the_models_dtype_is_not_copied() -> None:
    given = np.arange(3, dtype=np.float32)
    assert one(DType.FP32, given) is given


@pytest.mark.parametrize(
    ("given_as", "dtype"),
    [
        ("int32", DType.INT64), ("uint8", DType.INT16), ("uint8", DType.FP16), ("int32", DType.FP64),
        ("bool", DType.INT8), ("float32", DType.FP64), ("float64", DType.FP32), ("float64", DType.FP16),
        (">f4", DType.FP32),
    ],
)  # fmt: skip
def test_an_array_is_cast_where_no_value_can_change(given_as: str, dtype: DType) -> None:
    cast = one(dtype, np.array([0, 1], dtype=given_as))
    assert (cast.dtype, cast.tolist()) == (np.dtype(dtype.numpy), [0, 1])


@pytest.mark.parametrize(
    ("given_as", "dtype"),
    [
        ("int64", DType.FP32), ("int64", DType.INT32), ("int32", DType.FP32), ("uint8", DType.INT8),
        ("int8", DType.UINT8), ("float32", DType.INT64), ("float64", DType.BOOL), ("int64", DType.BOOL),
    ],
)  # fmt: skip
def test_an_array_is_refused_where_values_could_change_and_the_way_out_is_said(given_as: str, dtype: DType) -> None:
    message = refusal(dtype, np.array([0, 1], dtype=given_as))
    assert message == (
        f"S.m.x: wanted {dtype}[-1]: got {given_as}, and values could change; "
        f"say .astype('{dtype.numpy}') where that is meant"
    )


@pytest.mark.parametrize("dtype", FLOATS)
def test_lists_of_whole_numbers_are_floats_where_the_model_wants_them(dtype: DType) -> None:
    assert one(dtype, [[1, 2], (3, 4)], -1, 2).dtype == np.dtype(dtype.numpy)


def test_lists_of_whole_numbers_must_fit() -> None:
    assert one(DType.UINT8, [0, 255]).dtype == np.uint8
    assert "numbers must be between 0 and 255" in refusal(DType.UINT8, [256])
    assert "numbers must be between 0 and 255" in refusal(DType.UINT8, [-1])
    assert one(DType.INT64, [2**63 - 1]).tolist() == [2**63 - 1]
    assert "numbers must be between" in refusal(DType.INT64, [2**63])


@pytest.mark.parametrize(("dtype", "value"), [(DType.INT64, [0.0]), (DType.BOOL, [1]), (DType.INT32, [1.5])])
def test_lists_are_not_read_as_another_kind_of_number(dtype: DType, value: Any) -> None:
    assert "could change" in refusal(dtype, value)


def test_a_number_that_is_too_large_for_the_models_floats_is_refused_and_infinity_is_not() -> None:
    assert "a number is too large for float16" in refusal(DType.FP16, np.array([1e6]))
    assert "a number is too large for float32" in refusal(DType.FP32, [1e39])
    assert one(DType.FP32, [float("inf")]).tolist() == [float("inf")]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([[1, 2], [3]], "must be of the same length"),
        ("text", "got text"),
        (["1"], "got text"),
        ([None], "got values of object"),
        ([1j], "got values of complex128"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "got values of datetime64[D]"),
        ({"a": 1}, "got values of object"),
    ],
)
def test_what_is_no_number_is_refused(value: Any, reason: str) -> None:
    assert reason in refusal(DType.FP32, value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["ü", b"\xff"], ["ü".encode(), b"\xff"]),
        (np.array(["a", "bc"]), [b"a", b"bc"]),
        (np.array([b"a", "b"], dtype=object), [b"a", b"b"]),
        (np.array([b"a", b"b"]), [b"a", b"b"]),
    ],
)
def test_text_becomes_bytes(value: Any, expected: list[bytes]) -> None:
    read = one(DType.BYTES, value)
    assert read.dtype == object
    assert read.tolist() == expected


def test_text_alone_is_a_tensor_without_axes() -> None:
    assert inputs_of(spec_of(TensorSpec(name="x", dtype=DType.BYTES, shape=())), ["é"], {})["x"].item() == "é".encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [([1], "not int"), (np.array([1.0]), "got float64"), (["\ud800"], "surrogate"), ([["a"], "b"], "not list")],
)
def test_what_is_no_text_is_refused(value: Any, reason: str) -> None:
    assert reason in refusal(DType.BYTES, value)


@pytest.mark.parametrize(
    ("shape", "value_shape", "fits"),
    [
        ((-1, 4), (7, 4), True),
        ((-1, 4), (7, 3), False),
        ((-1, 4), (4,), False),
        ((2, -1), (2, 0), True),
        ((), (), True),
    ],
)
def test_ranks_and_fixed_axes_are_checked(shape: tuple[int, ...], value_shape: tuple[int, ...], fits: bool) -> None:
    spec = spec_of(TensorSpec(name="x", dtype=DType.FP32, shape=shape))
    value = np.zeros(value_shape, dtype=np.float32)
    if fits:
        assert inputs_of(spec, [value], {})["x"].shape == value_shape
        return
    with pytest.raises(InvalidInput, match=rf"^S\.m\.x: wanted FP32\[.*\], got shape \[{value_shape[0]}"):
        inputs_of(spec, [value], {})


def test_an_empty_list_has_the_axes_of_the_model() -> None:
    assert one(DType.FP32, [], -1, 3, -1).shape == (0, 3, 0)


def test_inputs_by_position_and_by_name() -> None:
    spec = spec_of(tensor("a", DType.FP32, -1), tensor("b", DType.FP32, -1, optional=True))
    row = np.zeros(1, dtype=np.float32)
    assert list(inputs_of(spec, [row], {"b": row})) == ["a", "b"]
    assert list(inputs_of(spec, [], {"a": row})) == ["a"]
    for positional, named, words in [
        ([row, row, row], {}, r"S.m: takes 2 inputs \(a, b\), not 3"),
        ([row], {"a": row}, "S.m.a: is given twice"),
        ([], {"b": row}, r"S.m.a: is missing: wanted FP32\[-1\]"),
        ([row], {"c": row}, "S.m.c: there is no such input: it has a, b"),
        ([row], {"b": np.zeros(2, dtype=np.float32)}, "S.m.b: has 2 rows where 'a' has 1"),
    ]:
        with pytest.raises(InvalidInput, match=f"^{words}$"):
            inputs_of(spec, positional, named)


def test_rows_of_models_without_a_batch_axis_are_nobodys_business() -> None:
    spec = spec_of(tensor("a", DType.FP32, -1), tensor("b", DType.FP32, -1), outputs=(tensor("y", DType.FP32, 1),))
    arrays = inputs_of(spec, [np.zeros(2, np.float32), np.zeros(5, np.float32)], {})
    assert [len(array) for array in arrays.values()] == [2, 5]
    assert len(list(pieces(spec, arrays))) == 1


@given(rows=st.integers(0, 40), most=st.integers(0, 9))
def test_pieces_are_the_rows_in_their_order(rows: int, most: int) -> None:
    spec = spec_of(tensor("x", DType.FP32, -1), most=most)
    array = np.arange(rows, dtype=np.float32)
    cut = [part["x"] for part in pieces(spec, {"x": array})]
    assert all(0 < len(part) <= most for part in cut) or most == 0
    assert len(cut) == (-(-rows // most) if most else 1)
    assert np.concatenate([*cut, np.zeros(0)]).tolist() == array.tolist()


def test_no_rows_have_the_outputs_shapes() -> None:
    signature = spec_of(
        tensor("x", DType.FP32, -1), outputs=(tensor("y", DType.INT8, -1, 2, -1), tensor("t", DType.BYTES, -1))
    ).signature
    empty = no_rows(signature, ["t", "y"])
    assert {name: (array.shape, array.dtype.name) for name, array in empty.items()} == {
        "t": ((0,), "object"),
        "y": ((0, 2, 0), "int8"),
    }


def test_outputs_are_in_the_callers_order() -> None:
    spec = spec_of(tensor("x", DType.FP32, -1), outputs=(tensor("y", DType.FP32, -1), tensor("z", DType.FP32, -1)))
    assert outputs_asked(spec, None) == ("y", "z")
    assert outputs_asked(spec, ["z", "y", "z"]) == ("z", "y")
    assert outputs_asked(spec, "z") == ("z",)
    with pytest.raises(InvalidInput, match=r"S.m: has no output 'w': it has y, z"):
        outputs_asked(spec, ["w"])
    with pytest.raises(InvalidInput, match="asks for nothing"):
        outputs_asked(spec, [])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({}, "S.m gave no 'y'"),
        ({"y": np.zeros((3, 2))}, "S.m.y: due was FP32[-1, 2], and the model gave FP64[3, 2]"),
        ({"y": np.zeros((3, 1), np.float32)}, "S.m.y: due was FP32[-1, 2], and the model gave FP32[3, 1]"),
        ({"y": np.zeros((2, 2), np.float32)}, "S.m.y: the model was given 3 rows and gave 2"),
    ],
)
def test_a_model_that_does_not_keep_its_word_is_named(answer: dict[str, Any], reason: str) -> None:
    with pytest.raises(OutputMismatch) as caught:
        checked_outputs(spec_of(tensor("x", DType.FP32, -1)), answer, ["y"], 3)
    assert caught.value.message == reason


def test_pieces_that_do_not_fit_together() -> None:
    parts = [{"y": np.zeros((1, 2))}, {"y": np.zeros((1, 3))}]
    with pytest.raises(OutputMismatch, match="do not fit together"):
        joined(spec_of(tensor("x", DType.FP32, -1)), parts, ["y"])
