"""The examples of BentoML's page on services run unmodified with `orchestrator serve --bentoml`, on the real Triton."""

from pathlib import Path

import httpx2
import pytest

from orchestrator.bentoml import SyncHTTPClient
from orchestrator.bentoml.exceptions import InvalidArgument
from orchestrator.models.stores import default_store
from tests.e2e.serving import Serving
from tests.seeds import place_seed, save_for_runner

pytestmark = pytest.mark.e2e
TEXT = "Triton executes and batches. It also owns the GPU."
SUMMARY = "Triton executes and batches."


def test_the_context_example_answers_as_the_page_says(tmp_path: Path) -> None:
    with Serving(place_seed("seed_context", tmp_path), "--bentoml", working_dir=tmp_path) as server:
        answer = httpx2.post(f"{server.url}/summarize", json={"text": TEXT})
        assert (answer.status_code, answer.text) == (202, SUMMARY)
        assert answer.headers["x-custom-header"] == "value"
        assert answer.headers["set-cookie"].startswith("key=value")
        with SyncHTTPClient(server.url) as client:
            assert client.is_ready()
            assert client.summarize(text=TEXT) == client.summarize(TEXT) == SUMMARY
            with pytest.raises(InvalidArgument, match="text"):
                client.summarize(text=7)


def test_the_stream_example_streams_through_the_client(tmp_path: Path) -> None:
    target = place_seed("seed_vllm", tmp_path)
    with Serving(target, "--bentoml", working_dir=tmp_path) as server, SyncHTTPClient(server.url) as client:
        assert "".join(client.generate("one two", tokens=[3])) == "#0 one two 3 "
        assert "".join(client.generate()) == "#1 Explain superconductors like I'm five years old "


def test_the_runner_example_calls_its_model_in_triton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    (tmp_path / "new").mkdir()
    save_for_runner(tmp_path / "new")
    default_store().close()
    with Serving(place_seed("seed_runner", tmp_path), "--bentoml", working_dir=tmp_path) as server:
        answer = httpx2.post(f"{server.url}/classify", json={"input_series": [[0.5, 0, 0, 1]]})
        assert answer.json() == [[9, 10.5, 12]]
        assert "loading model_name, MyService" in server.log


def test_without_the_flag_the_command_names_it(tmp_path: Path) -> None:
    server = Serving(place_seed("seed_route", tmp_path), working_dir=tmp_path)
    assert server.process.wait(timeout=30) == 3
    assert "--bentoml" in server.log
    assert "seed_route.py:2" in server.log
    server.stop()
    server.log_path.unlink()
