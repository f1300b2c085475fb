"""Models that `save_model` stored, in services on the real Triton."""

import shutil
from pathlib import Path

import httpx2
import pytest
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from orchestrator import bentoml, models
from tests.e2e.serving import SERVICES, Serving

pytestmark = pytest.mark.e2e
ROWS, KINDS = load_iris(return_X_y=True)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))


def test_a_saved_model_is_read_by_its_class_and_run_by_triton(tmp_path: Path) -> None:
    classifier = DecisionTreeClassifier(max_depth=3, random_state=0).fit(ROWS, KINDS)
    models.save_model("iris:v1", classifier, sample=ROWS, aliases=["production"])
    models.save_model("iris_onnx", classifier, sample=ROWS, to="onnx")
    shutil.copy(SERVICES / "stored.py", tmp_path)
    with Serving("stored:Flowers", working_dir=tmp_path) as server:
        # What is newer from here on is for the next start, or for `models deploy`.
        models.save_model("iris:v2", classifier, sample=ROWS, aliases=["production"])
        answer = httpx2.post(f"{server.url}/classify", json={"rows": ROWS[::7].tolist()})
        assert answer.status_code == 200, answer.text
        expected = classifier.predict(ROWS[::7]).tolist()
        assert answer.json() == {"own": expected, "python": expected, "onnx": expected, "version": "iris:v1"}


def test_the_iris_example_of_bentomls_page_runs(tmp_path: Path) -> None:
    classifier = GaussianNB().fit(ROWS, KINDS)
    bentoml.sklearn.save_model("iris_sklearn", classifier)
    shutil.copy(SERVICES / "stored_iris.py", tmp_path)
    with Serving("stored_iris:IrisClassifier", "--bentoml", working_dir=tmp_path) as server:
        answer = httpx2.post(f"{server.url}/classify", json={"input_series": ROWS[::7].tolist()})
        assert (answer.status_code, answer.json()) == (200, classifier.predict(ROWS[::7]).tolist())


def test_a_tag_that_is_not_there_ends_with_one_line(tmp_path: Path) -> None:
    shutil.copy(SERVICES / "stored_iris.py", tmp_path)
    server = Serving("stored_iris:IrisClassifier", "--bentoml", working_dir=tmp_path)
    assert server.process.wait(timeout=60) == 3
    last = server.log.splitlines()[-1]
    assert last.startswith("error: ")
    assert "stored_iris.py:9: " in last
    assert "no model 'iris_sklearn' in the store" in last
    server.stop()
    server.log_path.unlink()
