"""scikit-learn through its converter: inputs of many kinds, outputs under plain names, and what is refused."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingRegressor, IsolationForest, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.mixture import GaussianMixture
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from xgboost import XGBClassifier

from benchmarks.conversions import PAGE, cases, row_of, rows_in
from converters.sklearn_onnx import SklearnToOnnx
from orchestrator.conversion import Conversion, ParityError, convert
from orchestrator.errors import ConversionError
from orchestrator.formats import open_model, read_signature
from orchestrator.spec import ModelFormat, NativeModelSpec, ParityReport

IRIS, SPECIES = load_iris(return_X_y=True)
NAMES = load_iris().target_names[SPECIES]
BOOSTER = XGBClassifier(n_estimators=5, n_jobs=1)
DIABETES, PROGRESS = load_diabetes(return_X_y=True)


def made(model: Any, folder: Path, sample: Any = None, **options: Any) -> Conversion:
    return convert(model, SklearnToOnnx(), folder / "made", sample=sample, options=options)


def form(done: Conversion) -> list[str]:
    signature = done.converted.signature
    assert signature.batched
    return [f"{spec.name}: {spec.dtype}{list(spec.shape[1:])}" for spec in (*signature.inputs, *signature.outputs)]


@pytest.mark.parametrize(
    ("model", "target", "outputs"),
    [
        (LogisticRegression(max_iter=200), SPECIES, ["label: INT64[]", "probabilities: FP32[3]"]),
        (LogisticRegression(max_iter=200), NAMES, ["label: BYTES[]", "probabilities: FP32[3]"]),
        (LogisticRegression(max_iter=200), SPECIES > 0, ["label: INT64[]", "probabilities: FP32[2]"]),
        (make_pipeline(StandardScaler(), SVC()), SPECIES, ["label: INT64[]", "scores: FP32[3]"]),
        (RidgeClassifier(), SPECIES > 0, ["label: INT64[]", "scores: FP32[2]"]),
        (SVC(), SPECIES > 0, ["label: INT64[]", "scores: FP32[2]"]),
        (VotingClassifier([("a", GaussianNB()), ("b", SVC())]), SPECIES, ["label: INT64[]"]),
        (LinearRegression(), IRIS[:, 0], ["variable: FP32[1]"]),
        (LinearRegression(), IRIS[:, :2], ["variable: FP32[2]"]),
        (make_pipeline(StandardScaler(), PCA(2)), None, ["variable: FP32[2]"]),
        (KMeans(3, random_state=0), None, ["label: INT64[]", "distances: FP32[3]"]),
        (IsolationForest(n_estimators=20, random_state=0), None, ["label: INT64[]", "scores: FP32[1]"]),
        (GaussianMixture(2, random_state=0), None, ["label: INT64[]", "probabilities: FP32[2]"]),
        (make_pipeline(SimpleImputer(), BOOSTER), SPECIES, ["label: INT64[]", "probabilities: FP32[3]"]),
        (MultiOutputClassifier(LogisticRegression(max_iter=200)), np.column_stack([SPECIES, SPECIES > 0]), ["label: INT64[2]"]),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else "",
)  # fmt: skip
def test_outputs_have_plain_names_and_true_shapes(model: Any, target: Any, outputs: list[str], tmp_path: Path) -> None:
    model.fit(IRIS, target)
    done = made(model, tmp_path, IRIS)
    assert form(done) == ["X: FP32[4]", *outputs]
    for spec, array in zip(done.converted.signature.outputs, done.sample.outputs.values(), strict=True):
        # Triton refuses an answer of another shape than the file declares.
        assert array.shape[1:] == spec.shape[1:]


def passengers() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = 60
    return pd.DataFrame(
        {
            "age": rng.uniform(1, 80, rows),
            "fare": rng.uniform(5, 300, rows),
            "siblings": rng.integers(0, 4, rows),
            "port": rng.choice(["Cherbourg", "Queenstown", "Southampton"], rows),
            "class": rng.integers(1, 4, rows),
        }
    )


def by_column(columns: list[tuple[str, Any, list[str]]]) -> Any:
    return make_pipeline(ColumnTransformer(columns), LogisticRegression(max_iter=500))


def test_a_model_that_picks_columns_has_an_input_for_each(tmp_path: Path) -> None:
    frame = passengers()
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    model = by_column(
        [
            ("numbers", numbers, ["age", "fare"]),
            ("counts", StandardScaler(), ["siblings"]),
            ("names", OneHotEncoder(handle_unknown="ignore"), ["port", "class"]),
        ]
    )
    model.fit(frame, (frame["fare"] + 20 * frame["siblings"] > 150).to_numpy())
    done = made(model, tmp_path, frame)
    assert form(done)[:5] == [
        "age: FP32[1]",
        "fare: FP32[1]",
        "siblings: INT64[1]",
        "port: BYTES[1]",
        "class: INT64[1]",
    ]
    assert done.sample.inputs["port"].shape == (8, 1)
    # By name, in any order, and as a dictionary of columns.
    columns = {name: frame[name].to_numpy() for name in reversed(frame.columns)}
    assert made(model, tmp_path / "by-name", columns).report.passed


def test_a_model_that_picks_columns_by_name_needs_a_sample(tmp_path: Path) -> None:
    frame = passengers()
    model = by_column([("numbers", StandardScaler(), ["age", "fare"])]).fit(frame, frame["fare"] > 100)
    with pytest.raises(ConversionError, match="the model picks columns by name") as caught:
        made(model, tmp_path)
    assert caught.value.hint == "give a sample: a few rows as a data frame, or columns by name"


def test_columns_by_number_are_one_table(tmp_path: Path) -> None:
    model = make_pipeline(
        ColumnTransformer([("scaled", StandardScaler(), [0, 2]), ("as is", "passthrough", [1])]), LinearRegression()
    ).fit(IRIS, IRIS[:, 3])
    assert form(made(model, tmp_path, IRIS))[0] == "X: FP32[4]"


def test_a_frame_of_numbers_is_one_table_in_the_models_order(tmp_path: Path) -> None:
    frame = load_iris(as_frame=True).data
    model = LogisticRegression(max_iter=200).fit(frame, SPECIES)
    done = made(model, tmp_path, frame[frame.columns[::-1]])
    assert np.allclose(done.sample.inputs["X"], frame.to_numpy()[:8], atol=1e-6)


def test_text_is_an_input(tmp_path: Path) -> None:
    texts = np.array(["a good film", "a bad film", "very good", "Very bad", "good actors", "bad music, bad light"])
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(
        texts, ["up", "down", "up", "down", "up", "down"]
    )
    done = made(model, tmp_path, texts)
    assert form(done) == ["X: BYTES[1]", "label: BYTES[]", "probabilities: FP32[2]"]
    folder, signature = tmp_path / "made", done.converted.signature
    assert read_signature(folder / "model.onnx", ModelFormat.ONNX) == signature
    spec = NativeModelSpec(
        attribute="m", name="m", format=ModelFormat.ONNX, file="model.onnx", signature=signature, files_digest=""
    )
    opened = open_model(folder, spec)
    assert opened.run({"X": np.array([["GOOD music"], ["bad"]])})["label"].tolist() == [b"up", b"down"]
    opened.close()


def test_float64_is_an_option(tmp_path: Path) -> None:
    model = LinearRegression().fit(DIABETES * 1e6, PROGRESS)
    done = made(model, tmp_path, DIABETES * 1e6, float64="true")
    assert form(done) == ["X: FP64[10]", "variable: FP64[1]"]
    assert done.report.outputs[0].worst_relative < 1e-12
    assert "computed in float64" in done.report.notes


def test_an_opset_is_an_option(tmp_path: Path) -> None:
    model = LogisticRegression(max_iter=200).fit(IRIS, SPECIES)
    assert "opset 15" in made(model, tmp_path, opset=15).report.notes
    with pytest.raises(ConversionError, match="opset='many' is not an opset"):
        made(model, tmp_path / "other", opset="many")


def test_thresholds_that_are_values_of_the_data_keep_their_rows(tmp_path: Path) -> None:
    # Rounded to the nearest float32, as skl2onnx does, they send the rows that they came from to the other side.
    with threadpool_limits(1):
        model = HistGradientBoostingRegressor(random_state=0).fit(DIABETES, PROGRESS)
        before = model.predict(DIABETES)
        assert made(model, tmp_path, DIABETES).report.outputs[0].worst_relative < 1e-4
        assert (model.predict(DIABETES) == before).all()


def test_an_answer_that_skl2onnx_gets_wrong_is_refused(tmp_path: Path) -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    table, malignant = load_breast_cancer(return_X_y=True)
    model = LinearDiscriminantAnalysis().fit(table, malignant)
    with pytest.raises(ParityError) as caught:
        made(model, tmp_path, table)
    report: ParityReport = caught.value.report
    assert [output.name for output in report.outputs if not output.passed] == ["probabilities"]
    assert caught.value.hint == "the option float64=true may keep it"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LogisticRegression(), "LogisticRegression is not fitted"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "Pipeline is not fitted"),
        (DummyClassifier().fit(IRIS, SPECIES), "skl2onnx has no converter for DummyClassifier"),
        (make_pipeline(StandardScaler(), DummyClassifier()).fit(IRIS, SPECIES), "no converter for DummyClassifier"),
    ],
)
def test_what_cannot_be_converted_is_a_sentence(model: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=message) as caught:
        made(model, tmp_path, IRIS)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_read_by_joblib(tmp_path: Path) -> None:
    model = LogisticRegression(max_iter=200).fit(IRIS, SPECIES)
    converter = SklearnToOnnx()
    for name in ("model.joblib", "model.pkl"):
        joblib.dump(model, tmp_path / name)
        assert converter.matches(converter.load(tmp_path / name))
    (tmp_path / "broken.pkl").write_bytes(b"no pickle")
    (tmp_path / "model.txt").write_text("")
    for name, message in (
        ("gone.joblib", "there is no file"),
        ("broken.pkl", "cannot be read"),
        ("model.txt", "is no sk"),
    ):
        with pytest.raises(ConversionError, match=message):
            converter.load(tmp_path / name)


TABLE = {
    ("AdaBoostClassifier", "iris"),
    ("ExtraTreesClassifier", "wine"),
    ("GaussianNB", "digits"),
    ("GradientBoostingClassifier", "iris"),
    ("HistGradientBoostingClassifier", "breast_cancer"),
    ("KNeighborsClassifier", "digits"),
    ("LinearDiscriminantAnalysis", "breast_cancer"),
    ("LogisticRegression", "digits"),
    ("MLPClassifier", "wine"),
    ("NearestCentroid", "iris"),
    ("QuadraticDiscriminantAnalysis", "wine"),
    ("RandomForestClassifier", "breast_cancer"),
    ("SVC", "digits"),
    ("TunedThresholdClassifierCV", "breast_cancer"),
    ("BayesianRidge", "diabetes"),
    ("GaussianProcessRegressor", "diabetes"),
    ("HistGradientBoostingRegressor", "diabetes"),
    ("KNeighborsRegressor", "diabetes"),
    ("MLPRegressor", "linnerud"),
    ("RandomForestRegressor", "diabetes"),
    ("SVR", "diabetes"),
    ("LGBMClassifier", "wine"),
    ("XGBClassifier", "iris"),
    ("XGBRFClassifier", "iris"),
}
"""Rows of docs/conversions.md that are made again here: every family of models, and every kind of refusal."""


@pytest.mark.parametrize(("estimator", "data_set"), sorted(TABLE))
def test_the_page_says_what_a_fresh_run_says(estimator: str, data_set: str) -> None:
    (case,) = [case for case in cases() if (case.estimator, case.data_set) == (estimator, data_set)]
    row = row_of(case)
    assert row is not None
    assert not row.message or row.refused, f"refused, and the page does not say why: {row.message}"
    said = rows_in(PAGE.read_text())
    assert said.get((estimator, data_set), said.get((estimator, "any"))) is not bool(row.refused), row.message


def test_the_page_has_every_estimator() -> None:
    assert {case.estimator for case in cases()} == {estimator for estimator, _ in rows_in(PAGE.read_text())}
