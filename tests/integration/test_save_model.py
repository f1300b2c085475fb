"""`save_model` and `load_model` with models that are really trained, on scikit-learn's own data sets."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import xgboost
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from orchestrator import models
from orchestrator.conversion import ParityError
from orchestrator.errors import ConversionError, DefinitionError, StoreError
from orchestrator.models.stores import default_store
from orchestrator.spec import DType, ModelFormat, ModelSignature, Tag, TensorSpec
from orchestrator.spec.conversion import Tolerance
from tests import onnx_models

ROWS, KINDS = load_iris(return_X_y=True)
TEXTS = ["good film", "bad film", "good book", "bad book"] * 3
VERDICTS = ["yes", "no"] * 6


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def booster(kind: Any = xgboost.XGBClassifier, data: Any = (ROWS, KINDS)) -> Any:
    return kind(n_estimators=5, **({"verbose": -1} if kind.__module__.startswith("lightgbm") else {})).fit(*data)


def native(tag: str, *inputs: Any) -> Any:
    """What a service gets from `models.Python(tag)`, in this process."""

    class Service:
        model = models.Python(tag)

    return Service().model(*inputs)


def files(model: models.Model) -> set[str]:
    return {file.path for file in model.record.files}


# As it is


TRAINED: dict[str, tuple[Callable[[], Any], str, str, Any]] = {
    "classifier": (lambda: LogisticRegression(max_iter=500).fit(ROWS, KINDS), "sklearn", "model.pkl", ROWS),
    "regressor": (
        lambda: GradientBoostingRegressor(n_estimators=5).fit(*load_diabetes(return_X_y=True)),
        "sklearn",
        "model.pkl",
        load_diabetes().data,
    ),
    "pipeline": (
        lambda: make_pipeline(StandardScaler(), RandomForestClassifier(5)).fit(ROWS, KINDS),
        "sklearn",
        "model.pkl",
        ROWS.astype(np.float32),
    ),
    "clusterer": (lambda: KMeans(3, n_init=1).fit(ROWS), "sklearn", "model.pkl", ROWS),
    "texts": (
        lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, VERDICTS),
        "sklearn",
        "model.pkl",
        np.array(TEXTS),
    ),
    "XGBClassifier": (booster, "xgboost", "model.ubj", ROWS),
    "XGBRegressor": (lambda: booster(xgboost.XGBRegressor), "xgboost", "model.ubj", ROWS),
    "xgboost.Booster": (lambda: booster().get_booster(), "xgboost", "model.ubj", ROWS),
    "LGBMClassifier": (lambda: booster(lightgbm.LGBMClassifier), "lightgbm", "model.pkl", ROWS),
    "lightgbm.Booster": (lambda: booster(lightgbm.LGBMRegressor).booster_, "lightgbm", "model.txt", ROWS),
}


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_model_is_saved_in_one_line_and_runs(name: str) -> None:
    train, framework, file, sample = TRAINED[name]
    model = train()
    saved = models.save_model("m", model, sample=sample)
    record = saved.record
    assert (record.framework, record.file, record.format) == (framework, file, ModelFormat.PYTHON)
    assert files(saved) == {file, "sample.npz"}
    wanted = _predict(model, sample)
    loaded = models.load_model("m")
    assert type(loaded) is type(model)
    np.testing.assert_allclose(_predict(loaded, sample), wanted) if wanted.dtype.kind == "f" else None
    assert saved.record.signature is not None
    assert saved.record.signature.batched
    got = native("m", sample[:20])
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(got, wanted[:20], rtol=1e-5)
    else:
        plain = [each.decode() if isinstance(each, bytes) else each for each in got]
        assert plain == [*wanted[:20]]
    proof = saved.sample
    assert proof is not None
    assert [len(array) for array in (*proof.inputs.values(), *proof.outputs.values())] == [8, 8]
    assert {"python", "orchestrator", framework} <= set(saved.info.context)


def _predict(model: Any, rows: Any) -> Any:
    if isinstance(model, xgboost.Booster):
        return model.predict(xgboost.DMatrix(rows))
    return model.predict(rows)


def test_the_signature_says_what_the_model_takes_and_gives() -> None:
    saved = models.save_model("iris", TRAINED["classifier"][0](), sample=ROWS.astype(np.float32))
    assert saved.record.signature == ModelSignature(
        inputs=(TensorSpec(name="X", dtype=DType.FP32, shape=(-1, 4)),),
        outputs=(TensorSpec(name="output", dtype=DType.INT64, shape=(-1,)),),
        batched=True,
    )
    texts = models.save_model("texts", TRAINED["texts"][0](), sample=TEXTS).record.signature
    assert texts is not None
    assert [(each.dtype, each.shape) for each in (*texts.inputs, *texts.outputs)] == [(DType.BYTES, (-1,))] * 2


def test_one_signature_names_the_method_that_a_call_runs() -> None:
    classifier = TRAINED["classifier"][0]()
    saved = models.save_model("iris", classifier, sample=ROWS, signatures={"predict_proba": {"batchable": True}})
    assert saved.record.method == "predict_proba"
    assert saved.info.signatures == {"predict_proba": {"batchable": True}}
    np.testing.assert_allclose(native("iris", ROWS[:5]), classifier.predict_proba(ROWS[:5]))
    scaler = models.save_model("scaler", StandardScaler().fit(ROWS), sample=ROWS)
    assert (scaler.record.method, scaler.info.signatures) == ("transform", {"transform": {"batchable": True}})
    with pytest.raises(StoreError, match=r"a sklearn.LogisticRegression has no method 'predictt'"):
        models.save_model("iris", classifier, sample=ROWS, signatures={"predictt": {}})


def test_without_a_sample_the_declaration_says_the_tensors() -> None:
    saved = models.save_model("iris", TRAINED["classifier"][0]())
    assert (saved.record.signature, saved.sample) == (None, None)

    class Service:
        model = models.Python("iris", inputs=["X: FP64[-1, 4]"], outputs=["kind: INT64[-1]"])

    assert Service().model(ROWS[:2]).tolist() == [0, 0]


def test_a_sample_may_be_a_data_frame() -> None:
    frame = load_iris(as_frame=True).data
    saved = models.save_model("iris", LogisticRegression(max_iter=500).fit(frame, KINDS), sample=frame)
    assert saved.record.signature is not None
    assert saved.record.signature.inputs[0].shape == (-1, 4)
    assert native("iris", frame.to_numpy()[:3]).tolist() == [0, 0, 0]


def test_anything_that_can_be_pickled_is_saved_when_asked() -> None:
    def double(rows: Any) -> Any:
        return rows * 2

    with pytest.raises(
        StoreError, match=r"no framework that is known has made a builtins.function \(framework='pickle'"
    ):
        models.save_model("double", double)
    saved = models.save_model("double", double, framework="pickle", sample=ROWS)
    assert (saved.record.method, saved.record.framework) == ("__call__", "pickle")
    np.testing.assert_allclose(native("double", ROWS[:2]), ROWS[:2] * 2)
    assert models.load_model("double")(21) == 42
    kept = models.save_model("words", ["a", "b"], framework="pickle")
    assert (kept.record.format, kept.load()) == (None, ["a", "b"])
    with pytest.raises(StoreError, match="nothing here can run this model"):
        models.save_model("words", ["a", "b"], framework="pickle", sample=ROWS)


def test_what_is_wrong_with_a_sample_is_said() -> None:
    classifier = TRAINED["classifier"][0]()
    for sample, words in [
        (ROWS[:, :2], "the model does not take the sample: ValueError: X has 2 features"),
        (np.zeros((2, 4), dtype=np.complex64), "Complex data not supported"),
        (pd.DataFrame({"a": [1.0], "b": ["x"]}), "mixes texts with other values"),
    ]:
        with pytest.raises(StoreError, match=words):
            models.save_model("iris", classifier, sample=sample)
    with pytest.raises(StoreError, match="gives a sparse matrix"):
        models.save_model("tfidf", TfidfVectorizer().fit(TEXTS), sample=np.array(TEXTS))
    assert models.list() == []


def test_a_model_whose_file_gives_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = TRAINED["classifier"][0]()
    other = LogisticRegression(max_iter=500).fit(ROWS, (KINDS + 1) % 3)
    dump = joblib.dump
    monkeypatch.setattr(joblib, "dump", lambda _, file: dump(other, file))  # a disk that writes something else
    with pytest.raises(StoreError, match=r"model.pkl is not the model that was given: .*8 of 8 values differ"):
        models.save_model("iris", classifier, sample=ROWS)
    assert models.list() == []


def test_a_mismatched_framework_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"a sklearn.LogisticRegression is no model of pickle2|no framework 'pickle2'"):
        models.save_model("iris", TRAINED["classifier"][0](), framework="pickle2")
    joblib.dump(TRAINED["classifier"][0](), tmp_path / "m.joblib")
    with pytest.raises(
        StoreError, match=r"a sklearn.LogisticRegression is no model of xgboost \(framework='sklearn'\)"
    ):
        models.save_model("iris", tmp_path / "m.joblib", framework="xgboost")
    with pytest.raises(ConversionError, match=r"a sklearn.LogisticRegression is no model of xgboost"):
        models.save_model("iris", tmp_path / "m.joblib", framework="xgboost", to="onnx")
    assert models.list() == []


# Converted


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("classifier", ["label", "probabilities"]),
        ("regressor", ["variable"]),
        ("XGBClassifier", ["label", "probabilities"]),
        ("LGBMClassifier", ["label", "probabilities"]),
    ],
)
def test_the_converted_model_lies_beside_the_original(name: str, outputs: list[str]) -> None:
    train, framework, file, sample = TRAINED[name]
    model = train()
    steps: list[str] = []
    saved = models.save_model("m", model, sample=sample, to="onnx", progress=steps.append)
    record = saved.record
    assert (record.framework, record.format, record.file) == (framework, ModelFormat.ONNX, "model.onnx")
    assert files(saved) == {file, "model.onnx", "parity.json", "sample.npz"}
    assert record.signature is not None
    assert [output.name for output in record.signature.outputs] == outputs
    assert "comparing the converted model with the original" in steps

    class Service:
        model = models.Onnx("m:latest")

    got = Service().model(sample[:10].astype(np.float32), outputs=outputs[0])
    np.testing.assert_allclose(got.reshape(-1), model.predict(sample[:10]), rtol=1e-3)
    assert type(models.load_model("m")) is type(model)
    report = saved.parity
    assert report is not None
    assert report.passed
    assert (report.source, report.target) == (framework, "onnx")
    assert json.loads(Path(saved.path_of("parity.json")).read_bytes())["rows"] == report.rows
    assert record.tolerance == (report.tolerance.relative, report.tolerance.absolute)


def test_the_sample_of_a_converted_model_is_the_originals_answers() -> None:
    classifier = TRAINED["classifier"][0]()
    sample = models.save_model("iris", classifier, sample=ROWS, to="onnx").sample
    assert sample is not None
    np.testing.assert_array_equal(sample.inputs["X"], ROWS[:8].astype(np.float32))
    np.testing.assert_allclose(sample.outputs["probabilities"], classifier.predict_proba(ROWS[:8]), rtol=1e-5)


def test_a_model_of_columns_is_converted_with_a_data_frame() -> None:
    frame = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0] * 3, "colour": ["red", "blue"] * 6})
    columns = ColumnTransformer([("n", StandardScaler(), ["size"]), ("c", OneHotEncoder(), ["colour"])])
    model = make_pipeline(columns, LogisticRegression()).fit(frame, VERDICTS)
    saved = models.save_model("columns", model, sample=frame, to="onnx")
    assert saved.record.signature is not None
    assert [(each.name, each.dtype) for each in saved.record.signature.inputs] == [
        ("size", DType.FP32),
        ("colour", DType.BYTES),
    ]


def test_a_model_that_is_not_the_original_is_refused_and_nothing_is_stored() -> None:
    model = GradientBoostingRegressor(n_estimators=50, random_state=0).fit(*load_diabetes(return_X_y=True))
    with pytest.raises(ParityError, match="the converted model is not the original") as caught:
        models.save_model("d", model, sample=load_diabetes().data, to="onnx", tolerance=(0.0, 0.0), aliases=["x"])
    assert not caught.value.report.passed
    assert models.list() == []
    assert models.aliases() == {}
    tolerance = Tolerance(relative=1e-4, absolute=1e-3)
    saved = models.save_model("d", model, sample=load_diabetes().data, to="onnx", tolerance=tolerance)
    assert saved.record.tolerance == (1e-4, 1e-3)


def test_a_conversion_that_cannot_be_is_refused(tmp_path: Path) -> None:
    for model, to, words in [
        (LogisticRegression(), "onnx", "is not fitted"),
        (TRAINED["classifier"][0](), "tensorrt", "no converter from 'sklearn' to 'tensorrt'"),
    ]:
        with pytest.raises(ConversionError, match=words):
            models.save_model("m", model, to=to)
    classifier = TRAINED["classifier"][0]()
    with pytest.raises(ConversionError, match="has no option 'zork'"):
        models.save_model("m", classifier, to="onnx", options={"zork": 1})
    with pytest.raises(StoreError, match=r"are those of a conversion \(say to='onnx', too\)"):
        models.save_model("m", classifier, options={"opset": 15})
    with pytest.raises(StoreError, match="signature= is for a model that is not converted"):
        models.save_model("m", classifier, to="onnx", signature=_linear_signature())
    assert models.list() == []
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_options_reach_the_converter() -> None:
    saved = models.save_model("m", TRAINED["classifier"][0](), sample=ROWS, to="onnx", options={"float64": True})
    assert saved.record.signature is not None
    assert saved.record.signature.inputs[0].dtype is DType.FP64
    assert models.get("m").parity == saved.parity


# Files


def test_users_files_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    classifier, boosted, regressor = TRAINED["classifier"][0](), booster(), booster(lightgbm.LGBMRegressor)
    joblib.dump(classifier, tmp_path / "a.joblib")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(boosted))
    boosted.save_model(tmp_path / "c.json")
    boosted.save_model(tmp_path / "d.ubj")
    regressor.booster_.save_model(tmp_path / "e.txt")
    (tmp_path / "f.pkl").write_bytes(pickle.dumps(Path))
    (tmp_path / "g.txt").write_text("notes")
    (tmp_path / "h.json").write_text("[1]")
    expected = {
        "a.joblib": ("sklearn", "model.pkl"),
        "b.pkl": ("xgboost", "model.pkl"),
        "c.json": ("xgboost", "model.json"),
        "d.ubj": ("xgboost", "model.ubj"),
        "e.txt": ("lightgbm", "model.txt"),
        "f.pkl": ("pickle", "model.pkl"),
        "g.txt": ("", "g.txt"),
        "h.json": ("", "h.json"),
    }
    for name, (framework, file) in expected.items():
        saved = models.save_model("m", tmp_path / name)
        assert (saved.record.framework, saved.record.file, files(saved)) == (framework, file, {file})
    for name in ("a.joblib", "b.pkl", "c.json", "d.ubj", "e.txt"):
        saved = models.save_model("m", str(tmp_path / name), sample=ROWS, to="onnx")
        assert saved.record.format is ModelFormat.ONNX
        assert len(files(saved)) == 4
    assert models.load_model(models.list("m")[-1]).predict(ROWS[:1]).tolist() == [0]


def test_an_onnx_file_comes_with_its_weights_and_its_signature(tmp_path: Path) -> None:
    onnx_models.linear(tmp_path / "linear.onnx")
    model = onnx.load(tmp_path / "linear.onnx")
    onnx.save(model, tmp_path / "det.onnx", save_as_external_data=True, location="det.weights", size_threshold=0)
    for given, found in [
        (tmp_path / "det.onnx", {"model.onnx", "det.weights"}),
        (onnx.load(tmp_path / "linear.onnx"), {"model.onnx"}),
    ]:
        saved = models.save_model("det", given, sample={"x": np.ones((2, 4), np.float32)})
        assert (saved.record.format, saved.record.file, saved.record.framework) == (
            ModelFormat.ONNX,
            "model.onnx",
            "onnx",
        )
        assert files(saved) == {*found, "sample.npz"}
        assert saved.record.signature == _linear_signature()
        assert isinstance(models.load_model("det"), onnxruntime.InferenceSession)
    half = models.save_model("half", tmp_path / "det.onnx", to="onnx", options={"float16": True})
    assert files(half) == {"model.onnx", "parity.json", "sample.npz"}


def _linear_signature() -> ModelSignature:
    return ModelSignature(
        inputs=(TensorSpec(name="x", dtype=DType.FP32, shape=(-1, 4)),),
        outputs=(TensorSpec(name="y", dtype=DType.FP32, shape=(-1, 3)),),
        batched=True,
    )


def test_a_folder_is_kept_whole(tmp_path: Path) -> None:
    folder, blob = tmp_path / "bert", tmp_path / "blob"
    (folder / "sub").mkdir(parents=True)
    blob.write_text("weights")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "sub" / "model.safetensors").symlink_to(blob)  # as in the hub's cache
    saved = models.save_model("bert", folder)
    assert (saved.record.framework, saved.record.format, saved.record.file) == ("huggingface", None, None)
    assert files(saved) == {"config.json", "sub/model.safetensors"}
    assert Path(saved.path_of("sub/model.safetensors")).read_text() == "weights"
    with pytest.raises(StoreError, match="has no file that Triton can run"):
        saved.to_runner()
    with pytest.raises(StoreError, match=r"nothing here can run this model.*to='onnx'"):
        models.save_model("bert", folder, sample=ROWS)
    (folder / "modules.json").write_text("[]")
    assert models.save_model("bert", folder).record.framework == "sentence_transformers"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data.bin").write_text("x")
    assert models.save_model("other", tmp_path / "other").record.framework == ""
    with pytest.raises(StoreError, match="does not say which framework it is of"):
        models.load_model("other")


def test_a_model_py_of_triton_is_kept_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "double"
    folder.mkdir()
    (folder / "model.py").write_text("class TritonPythonModel: ...\n")
    (folder / "config.pbtxt").write_text(
        'max_batch_size: 8\ninput [{name: "x" data_type: TYPE_FP32 dims: [4]}]\n'
        'output [{name: "y" data_type: TYPE_FP32 dims: [4]}]\n'
    )
    record = models.save_model("double", folder).record
    assert (record.format, record.file, record.framework) == (ModelFormat.PYTHON, "model.py", "")
    assert record.signature is not None
    assert record.signature.batched


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing.onnx", "there is no file or folder"),
        ("broken.onnx", "broken.onnx"),
        ("broken.pkl", "pickle cannot read this model"),
        ("broken.ubj", "xgboost cannot read this model"),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, path: str, words: str) -> None:
    if path.startswith("broken"):
        (tmp_path / path).write_text("zork")
    with pytest.raises(StoreError, match=words) as caught:
        models.save_model("m", tmp_path / path)
    assert "\n" not in str(caught.value)
    assert models.list() == []


# Trust


def test_a_pickle_from_elsewhere_is_read_only_with_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "ran"

    class Mine:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (marker,))

    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "model.pkl").write_bytes(pickle.dumps(Mine()))
    default_store().save(Tag.of("evil:1"), tmp_path / "evil", framework="sklearn", file="model.pkl")
    models.save_model("iris:1", TRAINED["classifier"][0](), sample=ROWS, to="onnx")
    models.save_model("boosted:1", booster(), sample=ROWS)
    archives = [models.export_model(tag, tmp_path / f"{tag[:-2]}.tar") for tag in ("evil:1", "iris:1", "boosted:1")]
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "other"))
    for archive in archives:
        models.import_model(archive)
    for tag in ("evil", "iris"):
        with pytest.raises(StoreError, match=rf"{tag}:1 was imported from a file, and model.pkl is a pickle"):
            models.load_model(tag)

    class Service:
        evil = models.Python("evil", inputs=["X: FP64[-1, 4]"], outputs=["y: INT64[-1]"])

    with pytest.raises(DefinitionError, match=r"evil:1 was imported from a file"):
        Service().evil(ROWS)
    assert not marker.exists()
    assert models.load_model("iris", trust=True).predict(ROWS[:1]).tolist() == [0]
    assert models.get("boosted").load().predict(ROWS[:1]).tolist() == [0]  # no pickle

    class Safe:
        iris = models.Onnx("iris")

    assert Safe().iris(ROWS[:1].astype(np.float32), outputs="label").tolist() == [0]
    models.load_model("evil", trust=True)
    assert marker.exists()


# The rest


def test_labels_metadata_and_aliases_are_there_from_the_start() -> None:
    saved = models.save_model(
        "cancer:v1",
        GaussianNB().fit(*load_breast_cancer(return_X_y=True)),
        labels={"stage": "dev"},
        metadata={"accuracy": np.float64(0.95), "rows": np.int64(569)},
        aliases=["production", "best"],
        custom_objects={"names": ["malignant", "benign"]},
    )
    assert (saved.labels, saved.metadata) == ({"stage": "dev"}, {"accuracy": 0.95, "rows": 569})
    assert models.get("cancer:production") == models.get("cancer:best") == saved
    assert saved.custom_objects == {"names": ["malignant", "benign"]}
    with pytest.raises(StoreError, match="a tag is name"):
        models.save_model("cancer", TRAINED["classifier"][0](), aliases=["a b"])
    with pytest.raises(StoreError, match="cancer:v1 is in the store already"):
        models.save_model("cancer:v1", TRAINED["classifier"][0](), to="onnx")
    assert len(models.list()) == 1


def test_a_runner_names_the_model_and_its_methods() -> None:
    saved = models.save_model("iris:1", TRAINED["classifier"][0](), sample=ROWS)
    runner = models.get("iris").to_runner()
    assert (runner.name, runner.methods) == ("iris", ("predict",))
    assert isinstance(runner.model, models.Python)
    models.save_model("iris:2", TRAINED["classifier"][0](), sample=ROWS, to="onnx")
    assert isinstance(models.get("iris").to_runner().model, models.Onnx)
    assert saved.to_runner().model.resolve("s", "a").spec.tag == "iris:1"


def test_zip_files_tell_scripts_from_modules(tmp_path: Path) -> None:
    from orchestrator.models.user_files import framework_of_file

    for name, member in [("script.pt", "script/code/__torch__.py"), ("module.pt", "module/data.pkl")]:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, "x")
    found = [framework_of_file(tmp_path / name) for name in ("script.pt", "module.pt")]
    assert [row.name for row in found if row] == ["torchscript", "torch"]
