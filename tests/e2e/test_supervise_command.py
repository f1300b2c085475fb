"""`python -m orchestrator.triton.supervise`: Triton and its supervisor in one process tree, as in a container."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from orchestrator.engine import InferRequest
from orchestrator.triton import Control, TritonBackend, find_install
from orchestrator.triton.command import Ports, ServerOptions, command_line, environment, free_ports
from orchestrator.triton.install import lay_out_backends
from orchestrator.triton.preflight import preflight
from tests.e2e.serving import command_of, eventually, gone

pytestmark = pytest.mark.e2e

MODEL = """
import os
import numpy
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", numpy.array([os.getpid()]))]) for _ in requests]
"""
CONFIG = """
name: "pid"
backend: "python"
input { name: "x" data_type: TYPE_INT64 dims: [1] }
output { name: "y" data_type: TYPE_INT64 dims: [1] }
instance_group { count: 2 kind: KIND_CPU }
"""


@pytest.fixture
def triton(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The command and its Triton's gRPC address."""
    (tmp_path / "models/pid/1").mkdir(parents=True)
    (tmp_path / "models/pid/config.pbtxt").write_text(CONFIG)
    (tmp_path / "models/pid/1/model.py").write_text(MODEL)
    install = find_install()
    libpython = preflight(install, {})
    ports = Ports(*free_ports(3))
    prefix = f"supervised-{uuid.uuid4().hex[:12]}"  # not one of ours, which others sweep
    command = command_line(
        install, server_id="supervised", shm_prefix=f"{prefix}-", backends=lay_out_backends(install, tmp_path / "backends"),
        repositories=[tmp_path / "models"], ports=ports, options=ServerOptions(), gpu=False,
    )  # fmt: skip
    libraries = [libpython.parent, install.libraries]
    env = environment(os.environ, {}, server_id=prefix, executable=Path(sys.executable), libraries=libraries)
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.triton.supervise", "--drain-timeout", "1", *command, "--load-model=pid"],
        stderr=subprocess.PIPE, text=True, env=env,
    )  # fmt: skip
    try:
        yield process, f"127.0.0.1:{ports.grpc}"
    finally:
        if process.poll() is None:
            for each in (*psutil.Process(process.pid).children(recursive=True), process):
                with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                    each.kill()
        process.communicate()
        for path in Path("/dev/shm").glob(f"{prefix}-*"):
            path.unlink()


def ask(url: str) -> int:
    async def main() -> int:
        backend = TritonBackend(url)
        try:
            response = await backend.infer(InferRequest("pid", {"x": np.ones(1, np.int64)}, timeout_s=10))
            return int(response.outputs["y"][0])
        finally:
            await backend.close()

    return asyncio.run(main())


def ready(url: str) -> bool:
    async def main() -> bool:
        async with Control(url) as control:
            return await control.model_ready("pid")

    return asyncio.run(main())


def stubs(process: "subprocess.Popen[str]") -> set[psutil.Process]:
    """The model's; another one tells of their health."""
    family = psutil.Process(process.pid).children(recursive=True)
    return {each for each in family if any("/models/pid/" in word for word in command_of(each)[1:2])}


def test_a_dead_worker_is_replaced_and_the_end_is_tritons(triton: tuple["subprocess.Popen[str]", str]) -> None:
    process, url = triton
    assert eventually(lambda: ready(url), 60)
    before = stubs(process)
    assert len(before) == 2
    victim = psutil.Process(ask(url))
    victim.kill()
    assert eventually(lambda: len(stubs(process)) == 2 and not stubs(process) & before, 30), stubs(process)
    assert psutil.Process(ask(url)) in stubs(process)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "pid: 1 of 2 workers died; being replaced" in said
    assert "pid: whole again after" in said
    assert not gone(family, 10)


def test_a_triton_that_could_load_nothing_anew_is_not_started() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.triton.supervise", "tritonserver", "--model-repository=/models"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "--model-control-mode=explicit" in done.stderr
