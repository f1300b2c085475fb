"""BentoML's own clients, as released, against our front-end.

They live in an environment of their own inside of ours, which the first run makes: BentoML wants other versions of packages
that we pin.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.server import FrontendOptions
from tests.e2e.serving import Serving
from tests.integration.live import live_server
from tests.services.media import Media, Streams

VERSION = "1.4.39"
CACHE = Path(sys.prefix) / "test-environments"
SCRIPT = Path(__file__).with_name("bentoml_calls.py")


@pytest.fixture(scope="session")
def python_with_bentoml() -> Path:
    """A Python that has BentoML. Fails, and does not skip, where that cannot be had."""
    folder = CACHE / f"bentoml-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            packages = [f"bentoml=={VERSION}", "pandas", "pillow"]
            installed = subprocess.run(
                [python, "-m", "pip", "install", "--quiet", *packages], capture_output=True, text=True, check=False
            )
            if installed.returncode:
                pytest.fail(f"pip cannot install {' '.join(packages)}:\n{installed.stderr[-3000:]}")
            (folder / "complete").touch()
    return python


@pytest.fixture(scope="module", params=["local", "triton"])
def urls(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Addresses of Media and of Streams."""
    if request.param == "triton":
        with Serving("media:Media", "--allow-internal-urls") as first, Serving("media:Streams") as second:
            yield first.url, second.url
        return
    options = FrontendOptions(allow_internal_urls=True)
    with live_server(Media, options=options) as media, live_server(Streams) as streams:
        yield media, streams


@pytest.fixture(scope="module")
def outcomes(
    python_with_bentoml: Path, urls: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Kind of client -> name of the call -> what came of it; one process makes all calls."""
    home = str(tmp_path_factory.mktemp("bentoml"))  # it makes one in the user's home otherwise
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": home, "NO_PROXY": "*"}
    ran = subprocess.run(
        [python_with_bentoml, SCRIPT, *urls], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


RESULTS: dict[str, Any] = {
    "json": ["7", 1.0, True, {"x": 3, "label": "here"}, ["a", "2"], 5, 5],
    "json by position": [1, [2], {"a": "b"}],
    "text": "<h1>ü</h1>",
    "image": "7PNG 3x2",
    "image by path": "PNG 3x2",
    "image by path text": "PNG 3x2",
    "image result": {"image": "PNG", "size": [3, 2]},
    "optional image": {"image": "PNG", "size": [3, 2]},
    "file": {"file": "hello", "suffix": ".txt"},
    "file result": {"file": "a,b\n1,2\n", "suffix": ".csv"},
    "files": [[5, None], ["a", "1"]],
    "bytes": {"bytes": "ü".encode().decode("latin-1")},
    "array": {"array": [[2.0, 4.0], [6.0, 8.0]], "dtype": "float32"},
    "array of lists": {"array": [[2.0, 4.0]], "dtype": "float32"},
    "array of text": {"array": ["a", "bc"], "dtype": "str64"},
    "frame": {"frame": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]},
    "frame by columns": {"frame": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]},
    "frame total": {"a": 3.0},
    "root text": '"quoted"',
    "root bytes": {"bytes": "\x00\xff"},
    "root model": {"x": 4, "label": "here"},
    "root list": 3,
    "root array": {"array": [1, 2], "dtype": "int64"},
    "root frame": {"frame": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]},
    "root without a value": {"x": 7, "label": "here"},
    "stream of text": ["line 0\n", "line 1\n"],
    "stream of bytes": [{"bytes": "\x00\xff"}, {"bytes": "\x01"}],
    "stream of numbers": [0, 1],
    "stream of arrays": [{"array": [[1.0, 1.0]], "dtype": "float32"}, {"array": [[0.0], [0.0]], "dtype": "float32"}],
    "stream of events": ["data: one\n\n", "data: two\n\n"],
}
FAULTS = {
    "content type": ("InvalidArgument", 400, "expected audio/*"),
    "invalid": ("InvalidArgument", 400, "valid integer"),
    "refused": ("BentoMLException", 418, "short and stout"),
    "missing": ("TypeError", 0, "Missing required arguments"),
    "unknown": ("TypeError", 0, "Arguments not found"),
    "no endpoint": ("NotFound", 0, "nowhere"),
    "stream that breaks": ("RemoteProtocolError", 0, "incomplete"),
    "stream that fails first": ("BentoMLException", 500, "Streams.text failed"),
}


@pytest.mark.parametrize("client", ["sync", "async"])
@pytest.mark.parametrize("name", RESULTS)
def test_a_call_has_its_result(outcomes: dict[str, dict[str, Any]], client: str, name: str) -> None:
    found = outcomes[client][name]
    if name == "files":
        found[0][1] = None  # the size of an image that pillow has written
    if name == "array of text":
        assert found.pop("dtype").startswith("str")
        assert found == {"array": RESULTS[name]["array"]}
    elif name.startswith("stream of") and name not in ("stream of numbers", "stream of arrays"):
        # The client gives what a read of its socket gives: two chunks may come as one.
        assert joined(found) == joined(RESULTS[name])
    else:
        assert found == RESULTS[name]


def joined(chunks: Any) -> str:
    assert isinstance(chunks, list), chunks
    return "".join(chunk if isinstance(chunk, str) else chunk["bytes"] for chunk in chunks)


@pytest.mark.parametrize("client", ["sync", "async"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_call_fails_with_the_error_that_its_callers_know(
    outcomes: dict[str, dict[str, Any]], client: str, name: str
) -> None:
    kind, code, words = FAULTS[name]
    found = outcomes[client][name]
    assert (found["error"], found["code"]) == (kind, code) or not code
    assert found["error"] == kind
    assert words in found["message"]


@pytest.mark.parametrize("client", ["sync", "async"])
def test_a_file_is_fetched_by_its_url(outcomes: dict[str, dict[str, Any]], client: str) -> None:
    assert outcomes[client]["image by url"].startswith("PNG ")


def test_a_file_is_the_whole_body(outcomes: dict[str, dict[str, Any]]) -> None:
    assert outcomes["sync"]["root file"]["file"] == "hello"
    assert outcomes["sync"]["root image by url"] == outcomes["sync"]["image by url"]


def test_the_client_knows_the_service(outcomes: dict[str, dict[str, Any]]) -> None:
    assert outcomes["sync"]["ready"] is True
    assert outcomes["sync"]["doc"] == "How large an image is."
    assert set(outcomes["sync"]["endpoints"]) >= {"size", "copy", "root_text", "frame"}
