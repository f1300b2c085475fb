"""The examples of BentoML's page on services run unmodified with `--bentoml`, here without Triton."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from orchestrator import bentoml
from orchestrator.errors import DefinitionError
from orchestrator.models.stores import default_store
from orchestrator.testing import local_client
from tests.seeds import LEFT_OUT, SEEDS, load_seed, save_for_runner

TEXT = "Triton executes and batches. It also owns the GPU."
SUMMARY = "Triton executes and batches."


@pytest.fixture
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestClient]:
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


def test_every_example_of_the_page_is_served_or_has_its_reason() -> None:
    assert {path.stem for path in Path("tests/services").glob("seed_*.py")} == set(SEEDS)
    for name in LEFT_OUT.values():
        with pytest.raises(DefinitionError, match="composition of services comes next"):
            getattr(bentoml, name)(type("AnotherService", (), {}))
