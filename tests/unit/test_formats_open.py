"""Model files run in this process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from orchestrator.errors import BackendUnavailable, DefinitionError, InvalidInput, OutputMismatch, ServiceFault
from orchestrator.formats import OpenModel, from_triton, open_model, read_signature, to_triton
from orchestrator.spec import ModelFormat, ModelOptions, ModelSignature, NativeModelSpec
from tests.onnx_models import linear, save, text, value


def opened(path: Path, **more: Any) -> OpenModel:
    signature = read_signature(path, ModelFormat.ONNX)
    spec = NativeModelSpec(
        attribute="m", name="m", format=ModelFormat.ONNX, file=path.name, signature=signature, files_digest="", **more
    )
    return open_model(path.parent, spec, threads=1)


def framework(
    path: Path, name: str, outputs: list[str], inputs: list[str] | None = None, method: str = ""
) -> OpenModel:
    signature = read_signature(path, ModelFormat.PYTHON, inputs=inputs or ["x: FP32[-1, 4]"], outputs=outputs)
    return open_model(
        path.parent,
        NativeModelSpec(
            attribute="m",
            name="m",
            format=ModelFormat.PYTHON,
            file=path.name,
            framework=name,
            method=method,
            signature=signature,
            files_digest="",
        ),
        threads=1,
    )


def test_an_onnx_model_gives_named_arrays(tmp_path: Path) -> None:
    x = np.array([[1, 0, 0, 2]], dtype=np.float32)
    result = opened(linear(tmp_path / "m.onnx")).run({"x": x})
    assert {name: (array.dtype.name, array.tolist()) for name, array in result.items()} == {
        "y": ("float32", [[18.0, 21.0, 24.0]])
    }


def test_only_the_outputs_that_are_wanted_come(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    float_ = TensorProto.FLOAT
    shape = ("n", 1)
    path = save(
        tmp_path / "m.onnx", nodes, [value("x", float_, shape)], [value("y", float_, shape), value("z", float_, shape)]
    )
    model = opened(path)
    x = np.ones((1, 1), np.float32)
    assert list(model.run({"x": x}, ["z"])) == ["z"]
    assert list(model.run({"x": x})) == ["y", "z"]
    with pytest.raises(InvalidInput, match="w: the model has no such output: it has y, z"):
        model.run({"x": x}, ["w"])


@pytest.mark.parametrize(
    "words",
    [
        np.array([["für"], ["b"]]),
        np.array([["für".encode()], [b"b"]], dtype=object),
        np.array([["für"], [b"b"]], dtype=object),
        np.array([["für".encode()], [b"b"]]),
    ],
)
def test_text_goes_in_as_str_or_bytes_and_comes_out_as_utf8(tmp_path: Path, words: Any) -> None:
    got = opened(text(tmp_path / "m.onnx")).run({"s": words})["t"]
    assert got.dtype == object
    assert got.tolist() == [["für".encode()], [b"b"]]


@pytest.mark.parametrize(
    ("x", "problem"),
    [
        (np.ones((1, 4)), r"x: wanted FP32\[-1, 4\], got an array of float64"),
        (np.ones((1, 4), np.int64), r"x: wanted FP32\[-1, 4\], got an array of int64"),
        (np.array([["a"] * 4]), r"x: wanted FP32\[-1, 4\], got an array of text"),
        (np.ones((1, 5), np.float32), r"x: wanted FP32\[-1, 4\], got shape \[1, 5\]"),
        (np.ones(4, np.float32), r"x: wanted FP32\[-1, 4\], got shape \[4\]"),
    ],
)
def test_a_wrong_input_is_named_with_what_was_wanted_and_got(tmp_path: Path, x: Any, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        opened(linear(tmp_path / "m.onnx")).run({"x": x})


def test_inputs_that_are_missing_unknown_or_no_text_are_named(tmp_path: Path) -> None:
    model = opened(linear(tmp_path / "m.onnx"))
    with pytest.raises(InvalidInput, match=r"x: is missing: wanted FP32\[-1, 4\]"):
        model.run({})
    with pytest.raises(InvalidInput, match="z: the model has no such input: it has x"):
        model.run({"z": np.ones((1, 4), np.float32)})
    words = opened(text(tmp_path / "t.onnx"))
    with pytest.raises(InvalidInput, match="s: text must be UTF-8: invalid start byte at byte 1"):
        words.run({"s": np.array([[b"a\xff"]], dtype=object)})
    with pytest.raises(InvalidInput, match="s: an array of text holds str or bytes, not int"):
        words.run({"s": np.array([[1]], dtype=object)})


def test_inputs_have_as_many_rows_as_each_other(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    tensors = [value(name, TensorProto.FLOAT, ("n", 2)) for name in "aby"]
    model = opened(save(tmp_path / "m.onnx", nodes, tensors[:2], tensors[2:]))
    # Without the check the one row would be broadcast.
    with pytest.raises(InvalidInput, match="a has 1, b has 3"):
        model.run({"a": np.ones((1, 2), np.float32), "b": np.ones((3, 2), np.float32)})


def test_a_failing_run_is_a_fault_in_one_line(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["table", "i"], ["y"])]
    path = save(
        tmp_path / "m.onnx",
        nodes,
        [value("i", TensorProto.INT64, ("n", 1))],
        [value("y", TensorProto.FLOAT, ("n", 1))],
        {"table": np.arange(3, dtype=np.float32)},
    )
    with pytest.raises(ServiceFault, match=r"model 'm' failed: .*idx=7") as caught:
        opened(path).run({"i": np.array([[7]])})
    assert "\n" not in str(caught.value)


def test_a_closed_model_says_so(tmp_path: Path) -> None:
    model = opened(linear(tmp_path / "m.onnx"))
    model.close()
    model.close()
    with pytest.raises(BackendUnavailable, match="model 'm' is closed"):
        model.run({"x": np.ones((1, 4), np.float32)})


def test_a_broken_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")
    spec = opened(path).spec
    path.write_bytes(b"no model at all")
    with pytest.raises(DefinitionError, match=r"m.onnx: onnxruntime cannot read this model: .*[Pp]rotobuf") as caught:
        open_model(tmp_path, spec)
    assert "\n" not in str(caught.value)
    with pytest.raises(DefinitionError, match="there is no such model file"):
        open_model(tmp_path, spec.model_copy(update={"file": "n.onnx"}))


def test_a_machine_without_the_gpu_that_is_asked_for_uses_the_cpu_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    model = opened(linear(tmp_path / "m.onnx"), options=ModelOptions(gpus=(0,)))
    assert model.run({"x": np.zeros((1, 4), np.float32)})["y"].tolist() == [[0.0] * 3]
    assert "onnxruntime has no CUDA here, so it runs on the CPU and not on GPU 0" in caplog.text


def test_a_column_and_a_number_travel_with_an_axis_more() -> None:
    from orchestrator.spec import DType, TensorSpec

    def spec(batched: bool, shape: tuple[int, ...]) -> NativeModelSpec:
        tensor = TensorSpec(name="x", dtype=DType.FP32, shape=shape)
        signature = ModelSignature(inputs=(tensor,), outputs=(tensor,), batched=batched)
        return NativeModelSpec(
            attribute="m", name="m", format=ModelFormat.ONNX, file="", signature=signature, files_digest=""
        )

    for each, array, sent in [
        (spec(True, (-1,)), np.zeros(3), (3, 1)),
        (spec(True, (-1,)), np.zeros(1), (1, 1)),
        (spec(False, ()), np.zeros(()), (1,)),
        (spec(True, (-1, 1)), np.zeros((3, 1)), (3, 1)),
        (spec(False, (-1,)), np.zeros(1), (1,)),
    ]:
        there = to_triton(each, {"x": array})
        assert there["x"].shape == sent
        back = from_triton(each, there)
        assert back["x"].shape == array.shape
        assert from_triton(each, back)["x"].shape == array.shape


@pytest.fixture(scope="module")
def iris() -> Any:
    from sklearn.datasets import load_iris

    x, y = load_iris(return_X_y=True)
    return x.astype(np.float32), y


def test_a_model_of_scikit_learn_runs_its_method(tmp_path: Path, iris: Any) -> None:
    import joblib
    from sklearn.linear_model import LogisticRegression

    x, y = iris
    model = LogisticRegression(max_iter=500).fit(x, y)
    joblib.dump(model, tmp_path / "iris.joblib")
    labels = framework(tmp_path / "iris.joblib", "sklearn", ["label: INT64[-1]"]).run({"x": x})
    assert labels["label"].tolist() == model.predict(x).tolist()
    shares = framework(tmp_path / "iris.joblib", "sklearn", ["p: FP32[-1, 3]"], method="predict_proba").run({"x": x})
    assert shares["p"].dtype == np.float32
    np.testing.assert_allclose(shares["p"], model.predict_proba(x), rtol=1e-6)
    with pytest.raises(DefinitionError, match="a LogisticRegression has no method 'preditc'"):
        framework(tmp_path / "iris.joblib", "sklearn", ["p: FP32[-1, 3]"], method="preditc")
    with pytest.raises(OutputMismatch, match=r"output 'label' has shape \[150\], and its signature says \[-1, 1\]"):
        framework(tmp_path / "iris.joblib", "sklearn", ["label: INT64[-1, 1]"]).run({"x": x})
    with pytest.raises(OutputMismatch, match="output 'p' is float32, and its signature says INT64"):
        framework(tmp_path / "iris.joblib", "sklearn", ["p: INT64[-1, 3]"], method="predict_proba").run({"x": x})


def test_text_goes_through_a_model_of_scikit_learn(tmp_path: Path) -> None:
    import joblib
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(CountVectorizer(), MultinomialNB()).fit(["schön warm", "kalt nass"], ["gut", "übel"])
    joblib.dump(model, tmp_path / "words.joblib")
    opened_ = framework(tmp_path / "words.joblib", "sklearn", ["mood: BYTES[-1]"], ["words: BYTES[-1]"])
    assert opened_.run({"words": np.array(["warm", "nass"])})["mood"].tolist() == [b"gut", "übel".encode()]


def test_models_of_xgboost_run_from_their_own_files(tmp_path: Path, iris: Any) -> None:
    import xgboost

    x, y = iris
    model = xgboost.XGBClassifier(n_estimators=3).fit(x, y)
    model.save_model(tmp_path / "c.json")
    labels = framework(tmp_path / "c.json", "xgboost", ["label: INT64[-1]"]).run({"x": x})
    assert labels["label"].tolist() == model.predict(x).tolist()
    booster = xgboost.train({"objective": "multi:softprob", "num_class": 3}, xgboost.DMatrix(x, y), 3)
    booster.save_model(tmp_path / "b.ubj")
    shares = framework(tmp_path / "b.ubj", "xgboost", ["p: FP32[-1, 3]"]).run({"x": x})
    assert np.array_equal(shares["p"], booster.predict(xgboost.DMatrix(x)))


def test_models_of_lightgbm_run_from_their_own_files(tmp_path: Path, iris: Any) -> None:
    import lightgbm

    x, y = iris
    booster = lightgbm.train({"objective": "regression", "verbose": -1}, lightgbm.Dataset(x, y), 3)
    booster.save_model(tmp_path / "b.txt")
    got = framework(tmp_path / "b.txt", "lightgbm", ["y: FP64[-1]"]).run({"x": x})
    assert np.array_equal(got["y"], booster.predict(x))


def test_what_no_framework_can_read_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "m.joblib").write_bytes(b"nothing")
    with pytest.raises(DefinitionError, match=r"m.joblib: sklearn cannot read this model: "):
        framework(tmp_path / "m.joblib", "sklearn", ["y: FP32[-1]"])
    with pytest.raises(DefinitionError, match=r"there is no way to run a model of 'caffe': there is keras, lightgbm"):
        framework(tmp_path / "m.joblib", "caffe", ["y: FP32[-1]"])
    with pytest.raises(DefinitionError, match="runs in Triton only, not in this process"):
        framework(tmp_path / "m.joblib", "", ["y: FP32[-1]"])


@pytest.mark.parametrize(("name", "format"), [("tensorrt", ModelFormat.TENSORRT), ("torch", ModelFormat.TORCHSCRIPT)])
def test_a_package_that_is_missing_is_named(tmp_path: Path, name: str, format: ModelFormat) -> None:
    from importlib.util import find_spec

    if find_spec(name):
        pytest.skip(f"{name} is here")
    (tmp_path / "m.bin").write_bytes(b"")
    signature = read_signature(tmp_path / "m.bin", format, inputs=["x: FP32[-1]"], outputs=["y: FP32[-1]"])
    spec = NativeModelSpec(attribute="m", name="m", format=format, file="m.bin", signature=signature, files_digest="")
    with pytest.raises(DefinitionError, match=rf"the package {name} is needed to run a .*\("):
        open_model(tmp_path, spec)


def test_reading_formats_loads_no_framework() -> None:
    heavy = ["onnx", "onnxruntime", "sklearn", "torch", "google.protobuf"]
    code = f"import json, sys, orchestrator.formats; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
