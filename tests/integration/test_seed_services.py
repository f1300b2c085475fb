"""The examples of BentoML's pages on services and on composition run unmodified with `--bentoml`, here without Triton."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from sklearn.datasets import load_iris
from starlette.testclient import TestClient

from orchestrator.models.stores import default_store
from orchestrator.testing import local_client
from tests.seeds import (
    CONCURRENT,
    GRAPH,
    SEEDS,
    SEQUENTIAL,
    load_seed,
    place_ffmpeg,
    place_hub,
    save_for_iris,
    save_for_runner,
)

TEXT = "Triton executes and batches. It also owns the GPU."
SUMMARY = "Triton executes and batches."


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place_hub(tmp_path / "hf") / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def client(request: pytest.FixtureRequest, tmp_path: Path, hub: None) -> Iterator[TestClient]:
    with load_seed(request.param, tmp_path) as cls, local_client(cls) as client:
        yield client


def seed(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("client", [name], indirect=True)


@pytest.mark.parametrize("client", ["seed_summarization", "seed_configured"], indirect=True)
def test_the_first_example_answers_with_text(client: TestClient) -> None:
    answer = client.post("/summarize", json={"text": TEXT})
    assert (answer.status_code, answer.text) == (200, SUMMARY)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@seed("seed_summarization")
def test_its_interface_is_the_methods(client: TestClient) -> None:
    (route,) = client.get("/schema.json").json()["routes"]
    assert (route["name"], route["route"]) == ("summarize", "/summarize")
    assert client.post("/summarize", json={}).status_code == 400
    assert client.get("/summarize").status_code == 405


@seed("seed_route")
def test_a_route_of_ones_own(client: TestClient) -> None:
    assert client.post("/custom/url/name", json={"text": TEXT}).text == SUMMARY
    assert client.post("/summarize", json={"text": TEXT}).status_code == 404


@seed("seed_context")
def test_the_context_sets_status_cookies_and_headers(client: TestClient) -> None:
    answer = client.post("/summarize", json={"text": TEXT})
    assert (answer.status_code, answer.text) == (202, SUMMARY)
    assert answer.headers["x-custom-header"] == "value"
    cookie = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
    assert cookie == {"key=value", "path=/summarize", "secure", "httponly", "samesite=none"}


@seed("seed_vllm")
def test_an_asynchronous_stream(client: TestClient) -> None:
    assert client.post("/generate", json={"prompt": "one two", "tokens": [3]}).text == "#0 one two 3 "
    assert client.post("/generate", json={}).text == "#1 Explain superconductors like I'm five years old "


@pytest.fixture
def model_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(home))
    (home / "new").mkdir()
    save_for_runner(home / "new")
    yield
    default_store().close()


@pytest.mark.usefixtures("model_store")
def test_a_runner_of_a_stored_model(tmp_path: Path) -> None:
    with load_seed("seed_runner", tmp_path) as cls, local_client(cls) as client:
        assert client.post("/classify", json={"input_series": [[0.5, 0, 0, 1]]}).json() == [[9, 10.5, 12]]
        wrong = client.post("/classify", json={"input_series": [[0.5]]})
        assert wrong.status_code == 400
        assert "model_name.x: wanted FP32[-1, 4], got shape [1, 1]" in wrong.json()["detail"]


@pytest.mark.usefixtures("model_store")
def test_a_stored_model_beside_a_dependency(tmp_path: Path) -> None:
    expected = save_for_iris()
    with load_seed("seed_iris", tmp_path) as cls, local_client(cls) as client:
        rows = load_iris().data[::50].tolist()
        assert client.post("/classify", json={"input_series": rows}).json() == expected
        assert client.get("/schema.json").json()["name"] == "iris_classifier"


def test_three_services_make_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place_ffmpeg(tmp_path / "bin")), prepend=os.pathsep)
    with load_seed("seed_greeting_card", tmp_path) as cls, local_client(cls) as client:
        answer = client.post("/generate_card", json={"message": "Hello!"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
        assert answer.content.startswith(b"\x89PNG")
        assert answer.content.endswith(b"Hello! And all the best.")


@seed("seed_multi_model")
def test_two_models_in_one_service(client: TestClient) -> None:
    classified = client.post("/process_a", json={"input_data": "it is new", "labels": ["old", "new"]}).json()
    assert classified == {"sequence": "it is new", "labels": ["new", "old"], "scores": [1.0, 0.0]}
    both = client.post("/combined_process", json={"input_data": "neutral"}).json()
    assert both["classification"]["labels"][0] == "neutral"
    assert both["sentiment"] == {"label": "distilbert/distilbert-base-uncased", "score": 0.07}
    assert client.post("/process_b", json={"input_data": "neutral"}).json() == both["sentiment"]


@seed("seed_sequential")
def test_one_model_after_the_other(client: TestClient) -> None:
    assert client.post("/predict", json={"input_data": "four"}).json() == SEQUENTIAL


@seed("seed_concurrent")
def test_two_models_at_once(client: TestClient) -> None:
    assert client.post("/ensemble_predict", json={"input_data": "positive"}).json() == CONCURRENT


@seed("seed_inference_graph")
def test_an_inference_graph(client: TestClient) -> None:
    assert client.post("/generate_score", json={}).json() == GRAPH


def test_every_example_of_the_pages_is_served() -> None:
    assert {path.stem for path in Path("tests/services").glob("seed_*.py")} == set(SEEDS)
