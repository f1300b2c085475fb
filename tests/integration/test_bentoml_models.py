"""BentoML's names of the model store: what its users' files say, on ours."""

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import onnx
import onnxruntime
import pytest
import xgboost
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from orchestrator import bentoml, models
from orchestrator.bentoml.frameworks import MODULES
from orchestrator.errors import DefinitionError, StoreError
from orchestrator.sdk import load_service
from orchestrator.sdk.alias import install_bentoml, uninstall_bentoml
from orchestrator.spec import StoredModelRef
from orchestrator.testing import local_client
from tests import onnx_models

ROWS, KINDS = load_iris(return_X_y=True)
SERVICES = Path(__file__).parents[1] / "services"


@pytest.fixture(autouse=True)
def forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", sys.path.copy())
    known = set(sys.modules)
    yield
    uninstall_bentoml()
    for name in {"stored_iris", "classifier"} & (set(sys.modules) - known):
        del sys.modules[name]


def classifier() -> LogisticRegression:
    return LogisticRegression(max_iter=500).fit(ROWS, KINDS)


def test_the_names_are_ours() -> None:
    install_bentoml()
    assert importlib.import_module("bentoml.models") is models
    assert bentoml.models is models
    assert (bentoml.Model, bentoml.Tag) == (models.Model, models.Tag)
    for name, module in MODULES.items():
        assert importlib.import_module(f"bentoml.{name}") is module is getattr(bentoml, name)
        assert sorted(module.__all__) == ["get", "load_model", "save_model"]


@pytest.mark.parametrize("how", ["create", "save_model"])
def test_the_iris_example_of_the_page_runs(tmp_path: Path, how: str) -> None:
    if how == "create":
        with bentoml.models.create("iris_sklearn", module="bentoml.sklearn") as model:
            joblib.dump(classifier(), model.path_of("model.pkl"))
    else:
        model = bentoml.sklearn.save_model("iris_sklearn", classifier())
    shutil.copy(SERVICES / "stored_iris.py", tmp_path)
    definition = load_service("stored_iris:IrisClassifier", tmp_path, bentoml=True)
    assert definition.spec.stored == (StoredModelRef(requested="iris_sklearn:latest", tag=str(model.tag)),)
    with local_client(definition.cls) as client:
        answer = client.post("/classify", json={"input_series": ROWS[::50].tolist()})
        assert (answer.status_code, answer.json()) == (200, [0, 1, 2])


def test_a_tag_that_is_not_there_is_one_line_at_the_users_line(tmp_path: Path) -> None:
    bentoml.sklearn.save_model("iris_sklern", classifier())
    file = shutil.copy(SERVICES / "stored_iris.py", tmp_path)
    with pytest.raises(DefinitionError) as caught:
        load_service("stored_iris:IrisClassifier", tmp_path, bentoml=True)
    text = str(caught.value)
    assert text.startswith(f"{file}:9: importing 'stored_iris' failed: StoreError: iris_sklearn:latest: ")
    assert "no model 'iris_sklearn' in the store" in text
    assert str(tmp_path / "home") in text
    assert "did you mean 'iris_sklern'?" in text
    assert "\n" not in text


def test_references_are_part_of_the_description(tmp_path: Path) -> None:
    (tmp_path / "classifier.py").write_text(
        "import bentoml\n"
        "from bentoml.models import BentoModel, HuggingFaceModel\n\n"
        "@bentoml.service\n"
        "class Classifier:\n"
        "    iris = BentoModel('iris:production')\n"
        "    bert = HuggingFaceModel('acme/tiny')\n\n"
        "    @bentoml.api\n"
        "    def where(self) -> str:\n"
        "        return str(self.iris.tag)\n"
    )
    bentoml.sklearn.save_model("iris:v1", classifier(), aliases=["production"])
    definition = load_service("classifier:Classifier", tmp_path, bentoml=True)
    assert definition.spec.stored == (StoredModelRef(requested="iris:production", tag="iris:v1"),)
    with local_client(definition.cls) as client:
        assert client.post("/where").text == "iris:v1"


def saved_by(name: str, tmp_path: Path) -> tuple[Any, type]:
    onnx_models.linear(tmp_path / "linear.onnx")
    trained: dict[str, tuple[Any, type]] = {
        "sklearn": (classifier(), LogisticRegression),
        "xgboost": (xgboost.XGBClassifier(n_estimators=3).fit(ROWS, KINDS), xgboost.XGBClassifier),
        "lightgbm": (lightgbm.LGBMRegressor(n_estimators=3, verbose=-1).fit(ROWS, KINDS).booster_, lightgbm.Booster),
        "onnx": (onnx.load(tmp_path / "linear.onnx"), onnxruntime.InferenceSession),
        "picklable_model": (classifier(), LogisticRegression),
    }
    return trained[name]


@pytest.mark.parametrize("name", ["sklearn", "xgboost", "lightgbm", "onnx", "picklable_model"])
def test_each_module_saves_and_loads_its_own(name: str, tmp_path: Path) -> None:
    module: Any = MODULES[name]
    model, loaded = saved_by(name, tmp_path)
    made = module.save_model(
        "m",
        model,
        signatures={"predict": {"batchable": True}},
        labels={"owner": "Ann"},
        custom_objects={"scale": 2},
        metadata={"accuracy": 0.9},
    )
    assert isinstance(made, bentoml.Model)
    assert (made.info.module, made.info.labels, made.info.metadata) == (
        f"bentoml.{name}",
        {"owner": "Ann"},
        {"accuracy": 0.9},
    )
    assert made.info.signatures == {"predict": {"batchable": True}}
    assert made.custom_objects == {"scale": 2}
    assert module.get("m:latest") == made
    assert type(module.load_model("m")) is type(module.load_model(made)) is loaded
    others = [other for other in MODULES if other != name]
    for other in others:
        with pytest.raises(StoreError, match=rf"so it is none of bentoml\.{other}$"):
            MODULES[other].get("m")


def test_a_model_can_be_converted_on_the_way() -> None:
    made = bentoml.sklearn.save_model("iris", classifier(), sample=ROWS, to="onnx", aliases=["production"])
    assert made.parity is not None
    assert str(made.record.format) == "onnx"
    np.testing.assert_array_equal(bentoml.sklearn.load_model("iris:production").predict(ROWS[:3]), [0, 0, 0])
    with pytest.raises(StoreError, match=r"bentoml\.sklearn moves nothing to devices"):
        bentoml.sklearn.load_model("iris", device_id="cuda:0")
    with pytest.raises(TypeError, match="external_modules"):
        bentoml.sklearn.save_model("iris", classifier(), external_modules=[])


def test_a_module_refuses_what_is_not_its_own() -> None:
    with pytest.raises(StoreError, match=r"is no model of xgboost"):
        bentoml.xgboost.save_model("iris", classifier())
    with pytest.raises(StoreError, match=r"a builtins\.dict cannot be kept as a model of xgboost: AttributeError"):
        bentoml.xgboost.save_model("iris", {})
    with pytest.raises(StoreError, match=r"a builtins\.dict has no method 'predict'"):
        bentoml.lightgbm.save_model("iris", {})
    assert models.list() == []
