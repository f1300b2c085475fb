"""A Triton as in a container: `python -m orchestrator.triton.supervise` with all models of a repository."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from orchestrator.triton import Control, find_install
from orchestrator.triton.command import Ports, ServerOptions, command_line, environment, free_ports
from orchestrator.triton.install import lay_out_backends
from orchestrator.triton.preflight import preflight
from orchestrator.worker.source import SERVICE_PATH_VARIABLE
from tests.e2e.serving import eventually, name_of


class SupervisedTriton:
    """Its address stays the same when it is started again.

    Args:
        repository: whose models it loads at its start.
        service: folder of the service's code, as it sees it.
        env: on top of this process's.
    """

    def __init__(self, repository: Path, service: Path, env: Mapping[str, str] = {}) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="orchestrator-test-")
        install = find_install()
        libpython = preflight(install, {})
        ports = Ports(*free_ports(3))
        self._prefix = f"supervised-{uuid.uuid4().hex[:12]}"  # not one of ours, which others sweep
        self._command = command_line(
            install, server_id="supervised", shm_prefix=f"{self._prefix}-",
            backends=lay_out_backends(install, Path(self._folder.name) / "backends"),
            repositories=[repository], ports=ports, options=ServerOptions(), gpu=False,
        )  # fmt: skip
        self._env = environment(
            os.environ, {**env, SERVICE_PATH_VARIABLE: str(service)}, server_id=self._prefix,
            executable=Path(sys.executable), libraries=[libpython.parent, install.libraries],
        )  # fmt: skip
        self.address = f"127.0.0.1:{ports.grpc}"
        self.log = Path(self._folder.name) / "log"
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for path in Path("/dev/shm").glob(f"{self._prefix}-*"):
            path.unlink()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        return f"grpc://{self.address}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.triton.supervise", *self._command, "--load-model=*"],
                stdout=log, stderr=log, env=self._env,
            )  # fmt: skip

    def kill(self) -> None:
        """Ends Triton at once, as the kernel would for want of memory; its supervisor follows."""
        triton = next(each for each in psutil.Process(self.process.pid).children() if name_of(each) == "tritonserver")
        triton.kill()
        self.process.wait(15)

    def stop(self) -> None:
        if self.process.poll() is None:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                for each in (*family, self.process):
                    with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                        each.kill()
                self.process.wait()

    def ready(self, *models: str, within_s: float = 60) -> bool:
        """Whether it has the models in time."""

        async def ask() -> bool:
            async with Control(self.address) as control:
                return all([await control.model_ready(model) for model in models])

        return eventually(lambda: asyncio.run(ask()), within_s)

    def versions(self, model: str) -> list[str]:
        """Those that take calls."""

        async def ask() -> list[str]:
            async with Control(self.address) as control:
                index = await control.repository_index()
            return [each.version for each in index if each.name == model and each.state == "READY"]

        return asyncio.run(ask())

    def successes(self, model: str) -> int:
        """Calls of the versions that are loaded that came to a good end."""

        async def ask() -> int:
            async with Control(self.address) as control:
                return sum(each.counts["success"] for each in await control.statistics(model))

        return asyncio.run(ask())
