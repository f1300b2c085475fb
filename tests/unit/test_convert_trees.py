"""XGBoost and LightGBM through their converters: estimators, Boosters and files, and what onnxmltools gets wrong."""

from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from orchestrator.conversion import Conversion, ParityError, convert, converter_for, find_converter
from orchestrator.errors import ConversionError

IRIS, SPECIES = load_iris(return_X_y=True)
CANCER, MALIGNANT = load_breast_cancer(return_X_y=True)
DIABETES, PROGRESS = load_diabetes(return_X_y=True)
FEW: dict[str, Any] = {"n_estimators": 8, "n_jobs": 1}


def made(model: Any, folder: Path, sample: Any = None) -> Conversion:
    done = convert(model, converter_for(model, "onnx"), folder / "made", sample=sample)
    assert done.converted.signature.batched
    return done


def outputs(done: Conversion) -> list[str]:
    return [f"{spec.name}: {spec.dtype}{list(spec.shape[1:])}" for spec in done.converted.signature.outputs]


def xgb_classifier(table: Any, target: Any) -> xgboost.XGBClassifier:
    return xgboost.XGBClassifier(**FEW).fit(table, target)


def lgb_classifier(table: Any, target: Any) -> lightgbm.LGBMClassifier:
    return lightgbm.LGBMClassifier(**FEW, verbose=-1).fit(table, target)


@pytest.mark.parametrize(
    ("model", "table", "expected"),
    [
        (xgb_classifier(IRIS, SPECIES), IRIS, ["label: INT64[]", "probabilities: FP32[3]"]),
        (xgb_classifier(IRIS, SPECIES).get_booster(), IRIS, ["label: INT64[]", "probabilities: FP32[3]"]),
        (xgb_classifier(CANCER, MALIGNANT), CANCER, ["label: INT64[]", "probabilities: FP32[2]"]),
        (xgb_classifier(CANCER, MALIGNANT).get_booster(), CANCER, ["label: INT64[]", "probabilities: FP32[2]"]),
        (xgboost.XGBRegressor(**FEW).fit(DIABETES, PROGRESS), DIABETES, ["variable: FP32[1]"]),
        (
            xgboost.XGBRanker(**FEW).fit(DIABETES, np.arange(442) % 5, qid=np.arange(442) // 10),
            DIABETES,
            ["variable: FP32[1]"],
        ),
        (lgb_classifier(IRIS, load_iris().target_names[SPECIES]), IRIS, ["label: BYTES[]", "probabilities: FP32[3]"]),
        (lgb_classifier(IRIS, SPECIES).booster_, IRIS, ["label: INT64[]", "probabilities: FP32[3]"]),
        (lgb_classifier(CANCER, MALIGNANT), CANCER, ["label: INT64[]", "probabilities: FP32[2]"]),
        (lgb_classifier(CANCER, MALIGNANT).booster_, CANCER, ["label: INT64[]", "probabilities: FP32[2]"]),
        (lightgbm.LGBMRegressor(**FEW, verbose=-1).fit(DIABETES, PROGRESS), DIABETES, ["variable: FP32[1]"]),
    ],
    ids=lambda value: f"{type(value).__module__.partition('.')[0]}-{type(value).__name__}" if hasattr(value, "predict") else "",
)  # fmt: skip
def test_a_model_keeps_its_answers(model: Any, table: Any, expected: list[str], tmp_path: Path) -> None:
    done = made(model, tmp_path, table)
    assert outputs(done) == expected
    assert done.report.outputs[0].agreement in (1.0, None)
    for spec, array in zip(done.converted.signature.outputs, done.sample.outputs.values(), strict=True):
        # onnxmltools declares LightGBM's label to be one value, whatever the batch.
        assert array.shape[1:] == spec.shape[1:]


def test_without_a_sample_the_model_says_how_many_features_it_takes(tmp_path: Path) -> None:
    for name, model in (
        ("xgboost", xgb_classifier(CANCER, MALIGNANT).get_booster()),
        ("lightgbm", lgb_classifier(CANCER, MALIGNANT).booster_),
    ):
        assert made(model, tmp_path / name).sample.inputs["X"].shape == (8, 30)


def test_names_of_columns_are_no_hindrance(tmp_path: Path) -> None:
    frame = load_iris(as_frame=True).data
    one, other = xgb_classifier(frame, SPECIES), lgb_classifier(frame, SPECIES)
    for name, model in (("one", one), ("booster", one.get_booster()), ("other", other)):
        # Columns in another order than the model's.
        done = made(model, tmp_path / name, frame[frame.columns[::-1]])
        assert np.allclose(done.sample.inputs["X"], frame.to_numpy()[:8])
    assert one.get_booster().feature_names == list(frame.columns)


def test_missing_values_go_the_same_way(tmp_path: Path) -> None:
    table = IRIS.copy()
    table[::3, 2] = np.nan
    for name, model in (("xgboost", xgb_classifier(table, SPECIES)), ("lightgbm", lgb_classifier(table, SPECIES))):
        assert made(model, tmp_path / name, table).report.notes == ()


def test_an_objective_that_onnxmltools_forgets_is_refused(tmp_path: Path) -> None:
    share = (PROGRESS - PROGRESS.min()) / np.ptp(PROGRESS)
    model = xgboost.XGBRegressor(**FEW, objective="reg:logistic").fit(DIABETES, share)
    with pytest.raises(ParityError, match="Output 'variable'"):
        made(model, tmp_path, DIABETES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            xgboost.XGBRegressor(**FEW, booster="gblinear").fit(DIABETES, PROGRESS),
            "onnxmltools does not convert this xgb",
        ),
        (xgboost.XGBClassifier(), "XGBClassifier is not fitted"),
        (lightgbm.LGBMClassifier(), "LGBMClassifier is not fitted"),
    ],
)
def test_what_cannot_be_converted_is_a_sentence(model: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=message) as caught:
        made(model, tmp_path)
    assert caught.value.hint


def test_files_are_read_in_the_frameworks_own_form_and_as_pickles(tmp_path: Path) -> None:
    one, other = xgb_classifier(IRIS, SPECIES), lgb_classifier(IRIS, SPECIES)
    for name in ("m.json", "m.ubj"):
        one.save_model(tmp_path / name)
    other.booster_.save_model(tmp_path / "m.txt")
    joblib.dump(one, tmp_path / "one.joblib")
    joblib.dump(other, tmp_path / "other.pkl")
    for framework, name in (
        ("xgboost", "m.json"),
        ("xgboost", "m.ubj"),
        ("xgboost", "one.joblib"),
        ("lightgbm", "m.txt"),
        ("lightgbm", "other.pkl"),
    ):
        converter = find_converter(framework, "onnx")
        model = converter.load(tmp_path / name)
        assert converter.matches(model)
        done = convert(model, converter, tmp_path / f"from-{name}", sample=IRIS)
        assert outputs(done) == ["label: INT64[]", "probabilities: FP32[3]"]


@pytest.mark.parametrize("name", ["broken.json", "broken.ubj", "broken.txt", "broken.pkl", "gone.json", "gone.txt"])
def test_a_file_that_is_no_model_is_a_sentence(name: str, tmp_path: Path) -> None:
    if name.startswith("broken"):
        (tmp_path / name).write_text("{no model")
    converter = find_converter("lightgbm" if name.endswith("txt") else "xgboost", "onnx")
    with pytest.raises(ConversionError, match=r"there is no file|is no \w+ model|cannot be read") as caught:
        converter.load(tmp_path / name)
    assert "\n" not in str(caught.value)
