"""The examples of BentoML's pages on services and composition run unmodified with `--bentoml`, on the real Triton."""

import os
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sklearn.datasets import load_iris

from orchestrator.bentoml import SyncHTTPClient
from orchestrator.bentoml.exceptions import InvalidArgument
from orchestrator.models.stores import default_store
from tests.e2e.serving import Serving
from tests.seeds import (
    CONCURRENT,
    GRAPH,
    SEQUENTIAL,
    place_ffmpeg,
    place_hub,
    place_seed,
    save_for_iris,
    save_for_runner,
)

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


def test_the_iris_example_runs_beside_what_it_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    expected = save_for_iris()
    default_store().close()
    with Serving(place_seed("seed_iris", tmp_path), "--bentoml", working_dir=tmp_path) as server:
        answer = httpx2.post(f"{server.url}/classify", json={"input_series": load_iris().data[::50].tolist()})
        assert (answer.status_code, answer.json()) == (200, expected)
        assert "loading Preprocessing, iris_classifier" in server.log


def test_the_greeting_card_is_made_by_three_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place_ffmpeg(tmp_path / "bin")), prepend=os.pathsep)
    with Serving(place_seed("seed_greeting_card", tmp_path), "--bentoml", working_dir=tmp_path) as server:
        with SyncHTTPClient(server.url) as client:
            film = client.generate_card(message="Hello!").read_bytes()
        assert film.startswith(b"\x89PNG")
        assert film.endswith(b"Hello! And all the best.")
        assert "loading StableLMService, SDXLTurboService, XTTSService\n" in server.log


@pytest.mark.parametrize(
    ("module", "api", "arguments", "expected", "in_triton"),
    [
        pytest.param(
            "seed_multi_model",
            "process_b",
            {"input_data": "neutral"},
            {"label": "distilbert/distilbert-base-uncased", "score": 0.07},
            "MultiModelService",
            id="one service",
        ),
        pytest.param(
            "seed_sequential",
            "predict",
            {"input_data": "four"},
            SEQUENTIAL,
            "PreprocessingService, InferenceService",
            id="sequential",
        ),
        pytest.param(
            "seed_concurrent",
            "ensemble_predict",
            {"input_data": "positive"},
            CONCURRENT,
            "ModelAService, ModelBService",
            id="concurrent",
        ),
        pytest.param(
            "seed_inference_graph",
            "generate_score",
            {},
            GRAPH,
            "GPT2, DistilGPT2, BertBaseUncased",
            id="inference graph",
        ),
    ],
)
def test_the_examples_of_composition(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    api: str,
    arguments: dict[str, Any],
    expected: Any,
    in_triton: str,
) -> None:
    monkeypatch.setenv("HF_HOME", str(place_hub(tmp_path / "hf")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with Serving(place_seed(module, tmp_path), "--bentoml", working_dir=tmp_path) as server:
        with SyncHTTPClient(server.url) as client:
            assert getattr(client, api)(**arguments) == expected
        assert f"loading {in_triton}\n" in server.log
        if module == "seed_inference_graph":
            assert "GPT2.generate has no argument 'max_length'; it is left away" in server.log


def test_without_the_flag_the_command_names_it(tmp_path: Path) -> None:
    server = Serving(place_seed("seed_route", tmp_path), working_dir=tmp_path)
    assert server.process.wait(timeout=30) == 3
    assert "--bentoml" in server.log
    assert "seed_route.py:2" in server.log
    server.stop()
    server.log_path.unlink()
