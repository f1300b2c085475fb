"""A deployment whose process is killed: whatever the moment, Triton starts from what is on disk, and serves what that says."""

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from orchestrator.deployment.folder import ModelFolder
from orchestrator.triton import Control, TritonServer
from tests.e2e.serving import ROOT, gone
from tests.e2e.versions import save_number, write_code

pytestmark = [pytest.mark.e2e, pytest.mark.soak]

KILLS = 6


def test_triton_starts_from_whatever_a_killed_deployment_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    repository, code = tmp_path / "repository", tmp_path / "code"
    write_code(code, "a")
    for version in (1, 2, 3):
        save_number(tmp_path / "home", version)
    moments = random.Random(7)
    served = set()
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.deploy_loop", str(repository), str(code)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        time.sleep(moments.uniform(0, 6))
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        process.stdout.close()
        states = asyncio.run(states_of(repository))
        for model in ("number", "Teller"):
            version = ModelFolder(repository, model).serving
            assert (model, str(version), "READY") in states
            served.add((model, version))
        assert not gone(family, 15)
    assert len(served) > 2, "the process must have been killed at different moments of its work"


async def states_of(repository: Path) -> set[tuple[str, str, str]]:
    """What a Triton serves that starts with a repository."""
    with TritonServer() as server:
        await asyncio.to_thread(server.start, [repository])
        async with Control(server.grpc_url) as control:
            for model in ("number", "Teller"):
                await control.load_model(model)
            return {(each.name, each.version, each.state) for each in await control.repository_index()}
