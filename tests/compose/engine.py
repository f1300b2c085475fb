"""A Docker engine that answers: the machine's own, or one that is started here and stopped again."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.compose.tools import CACHE, Tools, unpacked_tools

__all__ = ["Engine", "running_engine"]

_START_S: Final = 60.0
_FORWARD: Final = Path("/proc/sys/net/ipv4/ip_forward")
_RUN_FOLDERS: Final = (Path("/run/docker"), Path("/run/containerd"), Path("/run/runc"))
_NO_RULES: Final = {
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
}


@dataclass(frozen=True, slots=True)
class Engine:
    """How an engine is reached.

    Attributes:
        environment: of its client, complete.
        ours: it was started here, and goes again.
        tools: where its programs are; None for those of the machine.
    """

    environment: dict[str, str]
    ours: bool
    tools: Tools | None

    def docker(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """Runs `docker`; returns what it prints.

        Raises:
            AssertionError: it fails; with its own words.
        """
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, env=self.environment, timeout=timeout_s, check=False
        )
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr[-4000:]}"
        return done.stdout


@contextmanager
def running_engine() -> Iterator[Engine]:
    """The engine of this machine where one answers that is new enough, else one of ours. Skips the test where neither can be."""
    if _answers(dict(os.environ)):
        yield Engine(dict(os.environ), ours=False, tools=None)
        return
    if os.geteuid() != 0:
        pytest.skip("no Docker Engine 23 with Compose 2.24 answers here, and only root can start one")
    tools = unpacked_tools()
    with tempfile.TemporaryDirectory(prefix="orchestrator-engine-", dir="/tmp") as folder:
        config = Path(folder, "config")
        shutil.copytree(tools.plugins, config / "cli-plugins")
        environment = {
            **os.environ,
            **tools.environment,
            "DOCKER_CONFIG": str(config),
            "DOCKER_HOST": f"unix://{folder}/docker.sock",
        }
        with _machine_as_it_was(environment), _dockerd(Path(folder), environment):
            yield Engine(environment, ours=True, tools=tools)


def _answers(environment: dict[str, str]) -> bool:
    """Whether an engine is there that can do what docker-compose.yml needs."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = [
            subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=20).stdout
            for command in (
                ["docker", "version", "--format", "{{.Server.Version}}"],
                ["docker", "compose", "version", "--short"],
                ["docker", "buildx", "version"],
            )
        ]
        return _version(said[0]) >= (23, 0) and _version(said[1]) >= (2, 24)
    return False


def _version(text: str) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else (0, 0)


@contextmanager
def _dockerd(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Runs the daemon. What it has built is kept, in the cache: layers that have not changed are not built again."""
    log = folder / "dockerd.log"
    # Its end comes with ours, also when we are killed.
    command = [
        "setpriv", "--pdeathsig", "TERM", "dockerd", "--data-root", str(CACHE / "engine"),
        "--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid"), "--host", environment["DOCKER_HOST"],
    ]  # fmt: skip
    with log.open("wb") as output:
        daemon = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + _START_S
        while not _answers(environment):
            if daemon.poll() is not None or time.monotonic() > end:
                last = [line for line in log.read_text().splitlines() if "level=info" not in line]
                pytest.skip(f"dockerd does not start here: {' | '.join(last[-3:])}")
            time.sleep(0.2)
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(60)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        for mount in sorted(_mounts_below(folder, CACHE / "engine"), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)


def _mounts_below(*folders: Path) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if any(Path(point).is_relative_to(folder) for folder in folders)]


@contextmanager
def _machine_as_it_was(environment: dict[str, str]) -> Iterator[None]:
    """Takes away what a daemon leaves when it ends: its bridge and firewall rules, the forwarding of packets, empty folders."""
    rules = _run(environment, "iptables-save")
    for table, chains in _NO_RULES.items():
        if f"*{table}\n" not in rules:
            rules += "\n".join([f"*{table}", *(f":{chain} ACCEPT [0:0]" for chain in chains), "COMMIT", ""])
    forwards = _FORWARD.read_text()
    had_bridge = Path("/sys/class/net/docker0").exists()
    controllers = [each / "docker" for each in Path("/sys/fs/cgroup").iterdir() if each.is_dir()]
    fresh = [each for each in (*_RUN_FOLDERS, Path("/sys/fs/cgroup/docker"), *controllers) if not each.exists()]
    try:
        yield
    finally:
        _run(environment, "iptables-restore", text=rules)
        _FORWARD.write_text(forwards)
        if not had_bridge:
            subprocess.run(["ip", "link", "delete", "docker0"], check=False, capture_output=True)
        for folder in fresh:
            for path in sorted([folder, *folder.rglob("*/")], reverse=True):
                with contextlib.suppress(OSError):  # not there, or somebody else's: it is not empty
                    path.rmdir()


def _run(environment: dict[str, str], *command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        pytest.skip(f"the kernel has no firewall that an engine could use: {done.stderr.strip()}")
    return done.stdout
