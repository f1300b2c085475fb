"""`HuggingFaceModel` through huggingface_hub itself: from a cache without a network, and from a small hub of our own."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

REVISION = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"weights", "onnx/model.onnx": b"graph"}
USE = """
import sys
from pathlib import Path
from orchestrator import models
from orchestrator.errors import StoreError

class Classifier:
    path = models.HuggingFaceModel({arguments})

assert isinstance(Classifier.path, models.HuggingFaceModel)
try:
    found = Classifier().path
except StoreError as error:
    print("error:", error)
else:
    assert type(found) is str and Classifier().path is found
    print(found)
    print(*sorted(p.relative_to(found).as_posix() for p in Path(found).rglob("*") if p.is_file()))
"""


def use(arguments: str, home: Path, **environment: str) -> list[str]:
    """What a class with such a model prints, in a process of its own: the hub's library reads its variables only once."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE"))}
    done = subprocess.run(
        [sys.executable, "-c", USE.format(arguments=arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=ours | {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"} | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache as the hub's library writes it: blobs by digest, and a snapshot of links to them."""
    model = tmp_path / "hub" / "models--acme--tiny"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(REVISION)
    (model / "blobs").mkdir()
    for name, content in FILES.items():
        blob = model / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        link = model / "snapshots" / REVISION / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return tmp_path


def test_a_cache_is_enough_without_a_network(cache: Path) -> None:
    snapshot = cache / "hub" / "models--acme--tiny" / "snapshots" / REVISION
    for arguments in ('"acme/tiny"', f'"acme/tiny", revision="{REVISION}"', '"acme/tiny", "main"'):
        path, files = use(arguments, cache, HF_HUB_OFFLINE="1")
        assert Path(path) == snapshot
        assert files.split() == sorted(FILES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('"acme/other"', "acme/other at 'main' is not in the cache, and the hub is not to be reached"),
        ('"acme/tiny", revision="v2"', "acme/tiny at 'v2' is not in the cache"),
        ('"acme/tiny/more"', "acme/tiny/more cannot be fetched: Repo id must be in the form"),
        ('"acme/other", endpoint="http://127.0.0.1:9"', "acme/other at 'main' is not in the cache"),
    ],
)
def test_what_is_not_there_is_one_line(cache: Path, arguments: str, words: str) -> None:
    (line,) = use(arguments, cache, HF_HUB_OFFLINE="1")
    assert line.startswith(f"error: {words}")


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub's HTTP as fetching a snapshot needs; one model, acme/tiny."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._about(parts[2:])
        elif parts[:3] == ["acme", "tiny", "resolve"] and "/".join(parts[4:]) in FILES:
            content = FILES["/".join(parts[4:])]
            self._answer(content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": REVISION})
        else:
            self._missing("EntryNotFound")

    def _about(self, parts: list[str]) -> None:
        if parts[:2] != ["acme", "tiny"]:
            self._missing("RepoNotFound")
        elif parts[2:3] == ["tree"]:
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in FILES.items()
            ]
            self._answer(json.dumps(entries).encode(), {"Content-Type": "application/json"})
        elif parts[3:] and parts[3] not in ("main", REVISION):
            self._missing("RevisionNotFound")
        else:
            siblings = [{"rfilename": name} for name in FILES]
            about = {
                "id": "acme/tiny",
                "sha": REVISION,
                "siblings": siblings,
                "private": False,
                "tags": [],
                "downloads": 0,
            }
            self._answer(json.dumps(about).encode(), {"Content-Type": "application/json"})

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_hub_of_ones_own_is_fetched_from(tmp_path: Path, hub: str) -> None:
    path, files = use(f'"acme/tiny", endpoint="{hub}"', tmp_path)
    assert Path(path).is_relative_to(tmp_path)
    assert files.split() == sorted(FILES)
    assert (Path(path) / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert use('"acme/tiny"', tmp_path, HF_HUB_OFFLINE="1") == [path, files]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('include=["*.json", "onnx/*"]', ["config.json", "onnx/model.onnx"]),
        ('include="*.json"', ["config.json"]),
        ('exclude=["onnx/*"]', ["config.json", "model.safetensors"]),
        ('include=["*.json", "*.safetensors"], exclude="config*"', ["model.safetensors"]),
    ],
)
def test_only_the_wanted_files_are_fetched(tmp_path: Path, hub: str, arguments: str, expected: list[str]) -> None:
    _, files = use(f'"acme/tiny", endpoint="{hub}", {arguments}', tmp_path)
    assert files.split() == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('"acme/zork"', "there is no model 'acme/zork' on the hub"),
        ('"acme/tiny", revision="v2"', "acme/tiny has no revision 'v2'"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line(tmp_path: Path, hub: str, arguments: str, words: str) -> None:
    (line,) = use(f'{arguments}, endpoint="{hub}"', tmp_path)
    assert line.startswith(f"error: {words}")
