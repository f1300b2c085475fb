"""The gate with models that are plain functions: what it compares, what it refuses, and the reasons it gives."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.conversion import ParityError, describe, report_table
from orchestrator.conversion.gate import compare
from orchestrator.errors import ConversionError, ServiceFault
from orchestrator.formats import Sample
from orchestrator.spec import ANY, Converted, DType, ModelFormat, ModelSignature, ParityReport, TensorSpec, Tolerance

Arrays = Mapping[str, NDArray[Any]]
Model = Callable[[Arrays], Mapping[str, NDArray[Any]]]
RANDOM = np.random.default_rng(0)
TABLE = RANDOM.standard_normal((20, 4)).astype(np.float32)
WEIGHTS = RANDOM.standard_normal((4, 3))


def signature(
    inputs: Mapping[str, tuple[DType, tuple[int, ...]]], outputs: Mapping[str, tuple[DType, tuple[int, ...]]]
) -> ModelSignature:
    def specs(tensors: Mapping[str, tuple[DType, tuple[int, ...]]]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name=name, dtype=dtype, shape=shape) for name, (dtype, shape) in tensors.items())

    every = [shape for _, shape in (*inputs.values(), *outputs.values())]
    return ModelSignature(
        inputs=specs(inputs), outputs=specs(outputs), batched=all(shape[:1] == (ANY,) for shape in every)
    )


TABLES = signature({"x": (DType.FP32, (ANY, 4))}, {"y": (DType.FP32, (ANY, 3))})


def gate(
    original: Model,
    converted: Model,
    *,
    model: ModelSignature = TABLES,
    sample: Arrays | None = None,
    tolerance: Tolerance | None = None,
) -> tuple[ParityReport, Sample]:
    made = Converted(format=ModelFormat.ONNX, file="model.onnx", signature=model, original=original)
    given = sample or {"x": TABLE}
    return compare(made, converted, given, source="here", target="there", tolerance=tolerance or Tolerance())


def refusal(original: Model, converted: Model, **settings: Any) -> str:
    report, _ = gate(original, converted, **settings)
    assert not report.passed
    return " | ".join(output.reason for output in report.outputs if not output.passed)


def linear(inputs: Arrays) -> dict[str, NDArray[Any]]:
    return {"y": inputs["x"].astype(np.float64) @ WEIGHTS}


def narrow(inputs: Arrays) -> dict[str, NDArray[Any]]:
    return {"y": inputs["x"] @ WEIGHTS.astype(np.float32)}


def softmax(values: NDArray[Any], axis: int | tuple[int, ...]) -> NDArray[Any]:
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(axis=axis, keepdims=True)
    return shares


def test_the_same_model_passes_and_the_report_says_what_was_compared() -> None:
    report, _ = gate(linear, narrow)
    assert report.passed
    assert report.samples[:6] == (
        "the sample x 20",
        *(f"a batch of {n} x {n}" for n in (1, 2, 3, 8, 17)),
    )
    words = {each.rpartition(" x ")[0] for each in report.samples}
    assert words >= {
        "zeros",
        "ones",
        "the sample negated",
        "ten times the sample's largest",
        "a millionth of the sample",
        "the least of every column",
        "the greatest of every column",
        "one row again and again",
    }
    assert report.rows == 20 + 1 + 2 + 3 + 8 + 17 + 8 * 3
    (output,) = report.outputs
    assert 0 < output.worst_absolute < 1e-4
    assert output.agreement == 1.0
    assert report.time_ratio > 0


def test_both_models_get_the_same_narrow_numbers() -> None:
    seen: list[NDArray[Any]] = []

    def remember(inputs: Arrays) -> dict[str, NDArray[Any]]:
        seen.append(inputs["x"])
        return linear(inputs)

    gate(remember, remember)
    assert {array.dtype for array in seen} == {np.dtype(np.float32)}


@settings(max_examples=60, deadline=None)
@given(
    share=st.one_of(st.floats(0, 0.95), st.floats(1.05, 100)),
    relative=st.sampled_from([1e-3, 1e-2]),
    absolute=st.sampled_from([1e-4, 1e-2]),
    sign=st.sampled_from([-1, 1]),
)
def test_a_difference_is_allowed_up_to_the_tolerance(share: float, relative: float, absolute: float, sign: int) -> None:
    def off(inputs: Arrays) -> dict[str, NDArray[Any]]:
        values = linear(inputs)["y"]
        return {"y": values + sign * share * (absolute + relative * np.abs(values))}

    report, _ = gate(linear, off, tolerance=Tolerance(relative=relative, absolute=absolute))
    assert report.passed is (share < 1)


def test_one_wrong_value_in_one_batch_size_is_found() -> None:
    def wrong(inputs: Arrays) -> dict[str, NDArray[Any]]:
        values = linear(inputs)["y"]
        if len(values) == 17:
            values[16, 2] += 0.5
        return {"y": values}

    assert refusal(linear, wrong).startswith("for a batch of 17 it gives ")


def test_swapped_outputs_are_named() -> None:
    model = signature(
        {"x": (DType.FP32, (ANY, 4))}, {"mean": (DType.FP32, (ANY, 3)), "deviation": (DType.FP32, (ANY, 3))}
    )

    def original(inputs: Arrays) -> dict[str, NDArray[Any]]:
        return {"mean": linear(inputs)["y"], "deviation": np.abs(linear(inputs)["y"]) + 1}

    def swapped(inputs: Arrays) -> dict[str, NDArray[Any]]:
        answer = original(inputs)
        return {"mean": answer["deviation"], "deviation": answer["mean"]}

    reason = refusal(original, swapped, model=model)
    assert "these are the values of 'deviation', the outputs are swapped" in reason
    assert "these are the values of 'mean', the outputs are swapped" in reason


def test_a_loose_tolerance_does_not_make_a_small_difference_a_swap() -> None:
    model = signature({"x": (DType.FP32, (ANY, 4))}, {"a": (DType.FP32, (ANY, 3)), "b": (DType.FP32, (ANY, 3))})

    def original(inputs: Arrays) -> dict[str, NDArray[Any]]:
        return {"a": linear(inputs)["y"], "b": linear(inputs)["y"] + 0.1}

    def off(inputs: Arrays) -> dict[str, NDArray[Any]]:
        return {**original(inputs), "a": linear(inputs)["y"] + 0.6}

    assert "swapped" not in refusal(original, off, model=model, tolerance=Tolerance(relative=0, absolute=0.55))


def test_columns_in_another_order_are_named() -> None:
    assert "the columns are in another order" in refusal(linear, lambda x: {"y": linear(x)["y"][:, [2, 0, 1]]})


def test_a_softmax_over_another_axis_is_named() -> None:
    model = signature({"x": (DType.FP32, (ANY, 2, 3))}, {"y": (DType.FP32, (ANY, 2, 3))})
    sample = {"x": RANDOM.standard_normal((5, 2, 3)).astype(np.float32)}
    reason = refusal(
        lambda x: {"y": softmax(x["x"], (1, 2))}, lambda x: {"y": softmax(x["x"], 2)}, model=model, sample=sample
    )
    assert "the original's values sum to 1 over the axes 1 and 2, these over axis 2, as of a Softmax" in reason


def test_a_value_that_is_lost_to_overflow_is_named() -> None:
    def overflows(inputs: Arrays) -> dict[str, NDArray[Any]]:
        with np.errstate(over="ignore"):
            return {"y": (linear(inputs)["y"] * 1e5).astype(np.float16).astype(np.float32) / np.float32(1e5)}

    reason = refusal(linear, overflows)
    assert "are infinite or not a number where the original has numbers" in reason
    assert "float16 ends at 65504" in reason
    report, _ = gate(linear, overflows)
    assert report.outputs[0].worst_absolute == np.inf


@pytest.mark.parametrize(
    ("converted", "reason"),
    [
        (lambda x: {"y": linear(x)["y"][:, :2]}, "its shape is [20, 2] where the original has [20, 3]"),
        (lambda x: {"y": linear(x)["y"].astype(np.int64)}, "its dtype is int64 where the original has float64"),
        (lambda x: {"y": linear(x)["y"].mean(axis=0, keepdims=True)}, "its shape is [1, 3]"),
    ],
)
def test_another_form_is_refused(converted: Model, reason: str) -> None:
    assert reason in refusal(linear, converted)


def test_a_model_that_takes_one_row_only_is_refused_with_its_own_words() -> None:
    def one_row(inputs: Arrays) -> Mapping[str, NDArray[Any]]:
        if len(inputs["x"]) != 20:
            raise ServiceFault("Got invalid dimensions for input: x")
        return linear(inputs)

    reason = refusal(linear, one_row)
    assert "for a batch of 1 the converted model fails: Got invalid dimensions for input: x" in reason


def test_a_model_that_mixes_the_rows_of_a_batch_is_refused() -> None:
    def mixes(inputs: Arrays) -> dict[str, NDArray[Any]]:
        values = linear(inputs)["y"]
        return {"y": values - values.mean(axis=0)}

    reason = refusal(mixes, mixes)
    assert reason.startswith("for rows one by one, against the same rows in a batch,")
    assert "the original itself mixes the rows of a batch" in reason


def test_a_converted_model_whose_rows_depend_on_their_neighbours_is_refused() -> None:
    calls = []

    def depends(inputs: Arrays) -> dict[str, NDArray[Any]]:
        # Right for every batch that is compared with the original; wrong when the same rows come alone later.
        calls.append(len(inputs["x"]))
        alone_again = len(inputs["x"]) == 1 and calls.count(1) > 1
        return {"y": linear(inputs)["y"] + alone_again}

    assert "axis 0 is not a batch axis in the converted model" in refusal(linear, depends)


def scores(inputs: Arrays) -> dict[str, NDArray[Any]]:
    values = softmax(linear(inputs)["y"], 1)
    return {"label": values.argmax(axis=1), "scores": values}


CLASSIFIER = signature(
    {"x": (DType.FP32, (ANY, 4))}, {"label": (DType.INT64, (ANY,)), "scores": (DType.FP32, (ANY, 3))}
)


def test_another_label_is_refused_though_the_scores_are_right() -> None:
    def other(inputs: Arrays) -> dict[str, NDArray[Any]]:
        answer = scores(inputs)
        return {**answer, "label": np.where(answer["label"] == 2, 0, answer["label"])}

    reason = refusal(scores, other, model=CLASSIFIER)
    assert "of the rows have another answer, first for the sample" in reason


def test_a_tie_is_no_other_answer() -> None:
    def last_of_the_best(inputs: Arrays) -> dict[str, NDArray[Any]]:
        answer = scores(inputs)
        # For zeros all three scores are equal, and any label is as good as another.
        return {**answer, "label": 2 - answer["scores"][:, ::-1].argmax(axis=1)}

    report, _ = gate(scores, last_of_the_best, model=CLASSIFIER)
    assert report.passed, report
    assert [output.agreement for output in report.outputs] == [1.0, 1.0]


def test_a_share_of_other_answers_can_be_allowed() -> None:
    def few(inputs: Arrays) -> dict[str, NDArray[Any]]:
        answer = scores(inputs)
        label = answer["label"].copy()
        if len(label) == 20:
            label[0] = (label[0] + 1) % 3
        return {**answer, "label": label}

    assert "1.33% of the rows" in refusal(scores, few, model=CLASSIFIER)
    report, proof = gate(scores, few, model=CLASSIFIER, tolerance=Tolerance(disagreement=0.02))
    assert report.passed
    # A server that proved itself with the row that is different would refuse the model for ever.
    assert len(proof.inputs["x"]) == 8
    assert not (proof.inputs["x"] == TABLE[0]).all(axis=1).any()


def test_directions_have_no_answer_to_agree_about() -> None:
    def direction(inputs: Arrays) -> dict[str, NDArray[Any]]:
        values = linear({"x": inputs["x"] + 1})["y"]
        return {"y": values / np.linalg.norm(values, axis=1, keepdims=True)}

    assert gate(direction, direction)[0].outputs[0].agreement is None


def test_text_is_compared_as_text() -> None:
    model = signature({"x": (DType.FP32, (ANY, 4))}, {"y": (DType.BYTES, (ANY,))})
    names = np.array(["setosa", "virginica"])

    def original(inputs: Arrays) -> dict[str, NDArray[Any]]:
        return {"y": names[(inputs["x"][:, 0] > 0).astype(int)]}

    def as_bytes(inputs: Arrays) -> dict[str, NDArray[Any]]:
        return {"y": np.array([each.encode() for each in original(inputs)["y"]], dtype=object)}

    assert gate(original, as_bytes, model=model)[0].passed
    assert "another answer" in refusal(original, lambda x: {"y": original(x)["y"][::-1]}, model=model)


def test_edges_on_which_the_original_fails_are_left_out_and_counted() -> None:
    def root(inputs: Arrays) -> dict[str, NDArray[Any]]:
        if (inputs["x"] == 1).all():
            raise ValueError("no ones")
        return {"y": np.sqrt(inputs["x"][:, :3])}

    def converted(inputs: Arrays) -> dict[str, NDArray[Any]]:
        if (inputs["x"] == 1).all():
            raise ServiceFault("no ones")
        return {"y": np.where(inputs["x"][:, :3] < 0, 7, np.sqrt(np.abs(inputs["x"][:, :3])))}

    sample = {"x": np.abs(TABLE)}
    report, _ = gate(root, converted, sample=sample)
    assert report.passed, report
    assert report.notes == (
        "left out, since the original itself fails or has no finite answer: ones x 3, the sample negated x 3",
    )


def test_a_sample_that_the_original_does_not_take_is_an_error() -> None:
    def fails(inputs: Arrays) -> dict[str, NDArray[Any]]:
        raise ValueError("X has 4 features, but this expects 5\nand more")

    with pytest.raises(ConversionError, match="the original itself fails for the sample: X has 4 features") as caught:
        gate(fails, narrow)
    assert caught.value.hint == "give a sample that it takes"


def test_whole_numbers_stay_within_those_of_the_sample() -> None:
    model = signature(
        {"ids": (DType.INT64, (ANY, ANY)), "mask": (DType.INT64, (ANY, ANY))}, {"y": (DType.FP32, (ANY, 2))}
    )
    table = RANDOM.standard_normal((12, 2))
    sample = {
        "ids": RANDOM.integers(3, 11, (6, 9)),
        "mask": (np.arange(9) < RANDOM.integers(1, 10, (6, 1))).astype(np.int64),
    }
    lengths = set()

    def lookup(inputs: Arrays) -> dict[str, NDArray[Any]]:
        assert inputs["ids"].min() >= 3
        assert inputs["ids"].max() <= 10
        assert inputs["ids"].shape == inputs["mask"].shape
        lengths.add(inputs["ids"].shape[1])
        return {"y": (table[inputs["ids"]] * inputs["mask"][..., None]).sum(axis=1)}

    assert gate(lookup, lookup, model=model, sample=sample)[0].passed
    assert lengths == {9, 5, 1}


def test_other_answers_for_missing_values_are_a_note_and_no_refusal() -> None:
    def skips(inputs: Arrays) -> dict[str, NDArray[Any]]:
        return {"y": np.nan_to_num(inputs["x"])[:, :3]}

    def zeros(inputs: Arrays) -> dict[str, NDArray[Any]]:
        return {"y": np.where(np.isnan(inputs["x"]), 5, inputs["x"])[:, :3]}

    assert gate(skips, skips)[0].notes == ()
    report, _ = gate(skips, zeros)
    assert report.passed
    assert report.notes == ("for missing values (NaN) it gives other answers than the original: do not send them",)


def test_a_model_without_a_batch_axis_is_compared_as_it_is() -> None:
    model = signature({"x": (DType.FP32, (4,))}, {"y": (DType.FP32, (3,))})
    report, proof = gate(linear, narrow, model=model, sample={"x": TABLE[0]})
    assert report.passed
    assert report.samples[0] == "the sample x 1"
    assert not any("batch" in words for words in report.samples)
    assert proof.inputs["x"].shape == (4,)
    assert not gate(linear, lambda x: {"y": narrow(x)["y"] + 1}, model=model, sample={"x": TABLE[0]})[0].passed


def test_an_output_may_be_empty() -> None:
    model = signature({"x": (DType.FP32, (ANY, 4))}, {"boxes": (DType.FP32, (ANY, 4)), "ids": (DType.INT64, (ANY,))})
    model = model.model_copy(update={"batched": False})

    def found(inputs: Arrays) -> dict[str, NDArray[Any]]:
        boxes = inputs["x"][inputs["x"][:, 0] > 0.5]
        return {"boxes": boxes, "ids": np.arange(len(boxes))}

    report, _ = gate(found, found, model=model)
    assert report.passed
    assert "zeros x 1" in report.samples
    assert not gate(found, lambda x: {name: array[:0] for name, array in found(x).items()}, model=model)[0].passed


def test_the_proof_is_the_originals_in_the_converted_models_dtypes() -> None:
    _, proof = gate(linear, narrow)
    assert proof.inputs["x"].tolist() == TABLE[:8].tolist()
    assert proof.outputs["y"].dtype == np.float32
    assert proof.outputs["y"].tolist() == linear({"x": TABLE[:8]})["y"].astype(np.float32).tolist()


def test_the_table_has_a_row_for_each_output() -> None:
    report, _ = gate(scores, lambda x: {**scores(x), "scores": scores(x)["scores"] + 0.5}, model=CLASSIFIER)
    rows: Sequence[tuple[str, ...]] = report_table(report)
    assert rows[0] == ("output", "worst absolute", "worst relative", "agreement", "result")
    assert rows[1] == ("label", "0", "0", "100.00%", "passed")
    assert rows[2][:2] == ("scores", "0.5")
    assert rows[2][4].startswith("refused: for ")
    error = str(ParityError(report))
    assert "here -> there: the converted model is not the original. Output 'scores' (worst absolute 0.5" in error
    assert "Output 'label'" not in error
    assert error.endswith("Allowed: 0.001 of the value + 0.0001")
    assert describe(Tolerance(disagreement=0.05)).endswith("and another answer for 5.0% of the rows")


def test_a_report_is_json_even_where_a_value_is_infinite() -> None:
    report, _ = gate(linear, lambda x: {"y": linear(x)["y"][:, :2]})
    assert ParityReport.parse(report.document()) == report
