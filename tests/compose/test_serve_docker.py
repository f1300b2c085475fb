"""`orchestrator serve --triton docker` on the real engine: the container comes and goes with the command."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.compose.base_image import ensure_base
from tests.compose.engine import Engine, running_engine
from tests.compose.stack import IMAGES, ROOT, Stack
from tests.e2e.serving import COMMAND, Serving, eventually

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]

IMAGE = f"{IMAGES}/triton-cpu"
IRIS = ROOT / "examples" / "iris"
FLOWER = {"input_series": [[5.1, 3.5, 1.4, 0.2]]}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with running_engine() as engine:
        ensure_base(engine)
        Stack(engine).compose("build", "triton", timeout_s=900)
        yield engine
        assert containers(engine) == []


def containers(engine: Engine) -> list[str]:
    return engine.docker("ps", "--all", "--quiet", "--no-trunc", "--filter", "label=orchestrator.owner").split()


def within(engine: Engine, **variables: str) -> list[str]:
    """A command that runs another one as a client of the engine."""
    known = {name: value for name, value in engine.environment.items() if os.environ.get(name) != value}
    return [
        "env",
        *(f"{name}={value}" for name, value in {**known, "ORCHESTRATOR_TRITON_IMAGE": IMAGE, **variables}.items()),
    ]


def species(url: str) -> int:
    response = httpx2.post(f"{url}/classify", json=FLOWER, timeout=10)
    return response.status_code


def test_the_container_comes_and_goes_with_the_command(engine: Engine) -> None:
    started = time.monotonic()
    with Serving("service:Iris", "--triton", "docker", working_dir=IRIS, within=within(engine)) as server:
        print(f"\nready after {time.monotonic() - started:.1f} s")
        assert species(server.url) == 200
        (container,) = containers(engine)
        assert 'nv_inference_request_success{model="Iris"' in httpx2.get(f"{server.url}/metrics").text
        pid = int(engine.docker("inspect", "--format", "{{.State.Pid}}", container))
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: species(server.url) == 200, 60)
        assert containers(engine) == [container]
    assert containers(engine) == []


def test_what_a_killed_command_left_goes_with_the_next_start(engine: Engine) -> None:
    server = Serving("service:Iris", "--triton", "docker", working_dir=IRIS, within=within(engine))
    with server:
        server.process.kill()
        server.process.wait()
        (orphan,) = containers(engine)
        label = '{{index .Config.Labels "orchestrator.repository"}}'
        folder = Path(engine.docker("inspect", "--format", label, orphan).strip())
        assert (folder / "Iris/config.pbtxt").is_file()
    with Serving("service:Iris", "--triton", "docker", working_dir=IRIS, within=within(engine)) as server:
        assert species(server.url) == 200
        assert orphan not in containers(engine)
        assert not folder.exists()


@pytest.mark.parametrize(
    ("variables", "code", "text"),
    [
        (
            {"ORCHESTRATOR_TRITON_IMAGE": "orchestrator-test/no-such"},
            2,
            "there is no image 'orchestrator-test/no-such'",
        ),
        ({"DOCKER_HOST": "unix:///nowhere/docker.sock"}, 2, "no Docker engine answers"),
    ],
)
def test_what_is_missing_is_said(engine: Engine, variables: dict[str, str], code: int, text: str) -> None:
    done = subprocess.run(
        [*within(engine, **variables), str(COMMAND), "serve", "service:Iris", "--port", "0", "--triton", "docker"],
        cwd=IRIS, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr
