"""ONNX rewritten: another opset, float16, int8, simplified; and the way to TensorRT where there is no GPU."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from converters.onnx_source import opened_onnx
from converters.onnx_tensorrt import profile_of
from orchestrator.conversion import Conversion, convert, find_converter
from orchestrator.errors import ConversionError

DIGITS, NUMBERS = load_digits(return_X_y=True)
DIGITS = DIGITS.astype(np.float32)
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that reads digits, as ONNX; 64 pixels, 64 neurons, 10 classes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # good enough, if not at its best
        model = MLPClassifier((64,), max_iter=60, random_state=0).fit(DIGITS, NUMBERS)
    folder = tmp_path_factory.mktemp("digits") / "made"
    convert(model, find_converter("sklearn", "onnx"), folder, sample=DIGITS)
    return folder / "model.onnx"


def rewritten(model: Any, folder: Path, sample: Any = None, **options: Any) -> Conversion:
    return convert(model, find_converter("onnx", "onnx"), folder / "made", sample=sample, options=options)


def written(folder: Path) -> Any:
    return onnx.load(folder / "made" / "model.onnx")


def graph(
    nodes: list[Any], inputs: Mapping[str, tuple[int, list[Any]]], outputs: list[str], weights: Mapping[str, Any]
) -> Any:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def test_as_it_is_a_model_is_only_proved(digits: Path, tmp_path: Path) -> None:
    done = rewritten(digits, tmp_path, DIGITS)
    assert [output.worst_absolute for output in done.report.outputs] == [0, 0]
    assert done.report.notes[0] == "opset 16"
    assert written(tmp_path).graph == onnx.load(digits).graph


def test_another_opset(digits: Path, tmp_path: Path) -> None:
    rewritten(digits, tmp_path, DIGITS, opset="18")
    assert {each.version for each in written(tmp_path).opset_import if not each.domain} == {18}


@pytest.mark.parametrize(
    ("opset", "message"), [(7, "onnx cannot convert this model to opset 7"), (99, "is not an opset")]
)
def test_an_opset_that_cannot_be_is_a_sentence(digits: Path, tmp_path: Path, opset: int, message: str) -> None:
    with pytest.raises(ConversionError, match=message) as caught:
        rewritten(digits, tmp_path, DIGITS, opset=opset)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_float16_halves_the_weights_and_keeps_every_answer(digits: Path, tmp_path: Path) -> None:
    done = rewritten(digits, tmp_path, DIGITS, float16="true")
    kinds = {
        tensor.data_type for tensor in written(tmp_path).graph.initializer if tensor.name.startswith("coefficient")
    }
    assert kinds == {TensorProto.FLOAT16}
    # Callers see no difference.
    assert {spec.dtype.value for spec in done.converted.signature.inputs} == {"FP32"}
    assert [output.agreement for output in done.report.outputs] == [1.0, 1.0]
    assert 0 < done.report.outputs[1].worst_absolute < 0.01
    assert done.report.tolerance.relative == 0.01
    assert (tmp_path / "made" / "model.onnx").stat().st_size < 0.7 * digits.stat().st_size


def test_float16_with_casts_of_the_models_own(tmp_path: Path) -> None:
    # As in a transformer: a mask of whole numbers becomes floats on the way.
    model = graph(
        [
            helper.make_node("Cast", ["mask"], ["as_floats"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["x", "as_floats"], ["masked"]),
            helper.make_node("Cast", ["masked"], ["again"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["again", "weights"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, ["N", 8]), "mask": (TensorProto.INT64, ["N", 8])},
        ["y"],
        {"weights": RANDOM.standard_normal((8, 4)).astype(np.float32)},
    )
    done = rewritten(model, tmp_path, float16=True)
    assert done.report.passed
    assert {tensor.data_type for tensor in written(tmp_path).graph.initializer} == {TensorProto.FLOAT16}


def test_int8_quarters_the_weights_and_keeps_most_answers(digits: Path, tmp_path: Path) -> None:
    done = rewritten(digits, tmp_path, DIGITS, int8=True)
    assert "MatMulInteger" in {node.op_type for node in written(tmp_path).graph.node}
    assert done.report.tolerance.disagreement == 0.05
    label = done.report.outputs[0]
    assert label.agreement is not None
    assert 0.95 < label.agreement <= 1
    assert (tmp_path / "made" / "model.onnx").stat().st_size < 0.5 * digits.stat().st_size
    # What a server will prove itself with is only what this machine proved.
    assert len(done.sample.inputs["X"]) == 8


def test_int8_without_anything_to_quantise_is_a_sentence(tmp_path: Path) -> None:
    model = graph([helper.make_node("Relu", ["x"], ["y"])], {"x": (TensorProto.FLOAT, ["N", 8])}, ["y"], {})
    with pytest.raises(ConversionError, match="there is nothing to quantise"):
        rewritten(model, tmp_path, int8=True)


def test_float16_and_int8_exclude_each_other(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="float16 and int8 exclude each other"):
        rewritten(digits, tmp_path, float16=True, int8=True)
    with pytest.raises(ConversionError, match="float16='perhaps' is neither true nor false"):
        rewritten(digits, tmp_path, float16="perhaps")


def test_simplify_removes_what_has_no_effect(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = graph(
        [
            helper.make_node("Identity", ["x"], ["same"]),
            helper.make_node("Add", ["one", "one"], ["two"]),
            helper.make_node("Mul", ["same", "two"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, ["N", 8])},
        ["y"],
        {"one": np.ones(8, np.float32)},
    )
    done = rewritten(model, tmp_path, simplify="yes")
    assert [node.op_type for node in written(tmp_path).graph.node] == ["Mul"]
    assert done.converted.signature.batched
    assert capfd.readouterr().out == ""


def test_inputs_may_be_given_by_position_and_are_checked(tmp_path: Path) -> None:
    model = graph(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        {"a": (TensorProto.FLOAT, ["N", 2]), "b": (TensorProto.FLOAT, ["N", 2])},
        ["y"],
        {},
    )
    one, other = np.zeros((3, 2)), np.ones((3, 2))
    assert rewritten(model, tmp_path / "1", [one, other]).sample.inputs["b"].tolist() == np.ones((3, 2)).tolist()
    assert rewritten(model, tmp_path / "2", {"b": other, "a": one}).report.passed
    for sample, message in (
        ([one], "the sample has 1 arrays"),
        ({"a": one}, "the sample lacks 'b'"),
        ({"a": one, "b": other, "c": one}, "the sample has 'c', which the model has not"),
    ):
        with pytest.raises(ConversionError, match=message) as caught:
            rewritten(model, tmp_path / "3", sample)
        assert caught.value.hint == "the model takes a, b"


def test_a_model_without_a_batch_axis_stays_one(tmp_path: Path) -> None:
    model = graph([helper.make_node("Relu", ["x"], ["y"])], {"x": (TensorProto.FLOAT, [2, 3])}, ["y"], {})
    done = rewritten(model, tmp_path)
    assert not done.converted.signature.batched
    assert done.report.samples[0] == "the sample x 1"


def test_an_image_of_any_size_is_made_up_where_there_is_no_sample(tmp_path: Path) -> None:
    # Halved three times, then joined with itself: only some sizes come out even.
    nodes = [helper.make_node("MaxPool", ["x"], ["p1"], kernel_shape=[2, 2], strides=[2, 2])]
    nodes += [helper.make_node("Conv", ["p1", "w"], ["y"], kernel_shape=[9, 9])]
    model = graph(
        nodes,
        {"x": (TensorProto.FLOAT, ["N", 3, "H", "W"])},
        ["y"],
        {"w": RANDOM.standard_normal((2, 3, 9, 9)).astype(np.float32)},
    )
    done = rewritten(model, tmp_path)
    assert done.sample.inputs["x"].shape == (8, 3, 32, 32)
    # 1 pixel is too small for the original as well.
    assert any(note.startswith("left out") for note in done.report.notes)


@pytest.mark.parametrize(("name", "content"), [("gone.onnx", None), ("broken.onnx", b"not a protobuf at all")])
def test_what_is_no_model_is_a_sentence(name: str, content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    converter = find_converter("onnx", "onnx")
    with pytest.raises(ConversionError, match=r"there is no ONNX file|this ONNX model cannot be read"):
        convert(converter.load(tmp_path / name), converter, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_without_a_gpu_or_tensorrt_there_is_one_sentence_and_the_way_out(digits: Path, tmp_path: Path) -> None:
    converter = find_converter("onnx", "tensorrt")
    with pytest.raises(ConversionError, match="a TensorRT plan is built on the GPU that will run it, and there is no"):
        convert(digits, converter, tmp_path / "made", sample=DIGITS)
    with pytest.raises(ConversionError) as caught:
        convert(digits, converter, tmp_path / "made", sample=DIGITS, options={"float16": True})
    assert caught.value.hint
    assert 'models.Onnx(..., accelerator="tensorrt")' in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_plan_covers_every_batch_that_triton_makes() -> None:
    model = graph(
        [helper.make_node("Add", ["ids", "mask"], ["y"])],
        {"ids": (TensorProto.FLOAT, ["N", "L"]), "mask": (TensorProto.FLOAT, ["N", "L"])},
        ["y"],
        {},
    )
    source = opened_onnx(model, [np.zeros((3, 10)), np.zeros((3, 10))])
    expected = ((1, 1), (8, 10), (64, 40))
    assert profile_of(source, 64, None) == {"ids": expected, "mask": expected}
    assert profile_of(source, 32, 512)["ids"] == ((1, 1), (8, 10), (32, 512))
