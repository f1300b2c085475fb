"""docker-compose.yml as it is, under a name of its own, and what a test wants to know of its containers."""

import json
import os
import secrets
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.compose.engine import Engine

__all__ = ["IMAGES", "ROOT", "Stack"]

ROOT: Final = Path(__file__).resolve().parents[2]
IMAGES: Final = "orchestrator-test"
_CA_VARIABLES: Final = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
_PORTS: Final = "13000-13009"


@dataclass(slots=True)
class Stack:
    """One project of Compose.

    Attributes:
        name: of the project; its containers, volumes and networks begin with it.
        variables: for docker-compose.yml.
    """

    engine: Engine
    name: str = field(default_factory=lambda: f"{IMAGES}-{secrets.token_hex(3)}")
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bundle = next((path for name in _CA_VARIABLES if (path := os.environ.get(name)) and Path(path).is_file()), "")
        self.variables |= {"ORCHESTRATOR_IMAGES": IMAGES, "ORCHESTRATOR_PORT": _PORTS, "BUILD_CA_BUNDLE": bundle}

    def compose(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """Runs `docker compose`; returns what it prints.

        Raises:
            AssertionError: it fails; with its own words.
        """
        done = subprocess.run(
            ["docker", "compose", "--project-name", self.name, *arguments],
            capture_output=True, text=True, cwd=ROOT, check=False, timeout=timeout_s,
            env=self.engine.environment | self.variables,
        )  # fmt: skip
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}: {done.stderr[-6000:]}"
        return done.stdout

    def up(self, *arguments: str) -> float:
        """`docker compose up --wait`; returns the seconds that it took."""
        started = time.monotonic()
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", "120", "--no-build", *arguments, timeout_s=200)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.compose('logs', '--tail', '40')}") from None
        return time.monotonic() - started

    def containers(self, service: str) -> list[str]:
        """Ids of a service's containers, by their number."""
        rows = [json.loads(line) for line in self.compose("ps", "--all", "--format", "json", service).splitlines()]
        return [row["ID"] for row in sorted(rows, key=lambda row: str(row["Name"]))]

    def inspect(self, container: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", container))
        return found[0]

    def urls(self) -> list[str]:
        """Of the front-ends, as they are reached from outside."""
        found = []
        for container in self.containers("frontend"):
            (bound,) = self.inspect(container)["NetworkSettings"]["Ports"]["3000/tcp"]
            found.append(f"http://{bound['HostIp']}:{bound['HostPort']}")
        return found

    def execute(self, container: str, *command: str) -> str:
        return self.engine.docker("exec", container, *command)

    def read(self, container: str, url: str) -> str:
        """A page as it is seen from inside a container that has our Python."""
        code = f"import urllib.request as r; print(r.urlopen({url!r}, timeout=5).read().decode())"
        return self.execute(container, "python3", "-c", code)

    def log(self, service: str) -> str:
        return self.compose("logs", "--no-color", "--no-log-prefix", service)

    def kill(self, container: str, name: str = "", *, having: str = "") -> None:
        """kill -9 from outside: `docker kill` would keep it from coming again.

        Args:
            name: of the process; pid 1 where it is empty.
            having: what its command line has, too.
        """
        if name:
            rows = [
                row.split(maxsplit=2)
                for row in self.engine.docker("top", container, "-o", "pid,comm,args").splitlines()
            ]
            (pid,) = [int(row[0]) for row in rows[1:] if row[1] == name and having in row[2]]
        else:
            pid = int(self.inspect(container)["State"]["Pid"])
        os.kill(pid, signal.SIGKILL)

    def down(self) -> float:
        """`docker compose down -v`, and the images; returns the seconds that it took."""
        started = time.monotonic()
        self.compose("--profile", "cpu", "down", "--volumes", "--remove-orphans", "--rmi", "all", timeout_s=200)
        return time.monotonic() - started

    def left(self) -> list[str]:
        """Names of whatever the engine still has of this project."""
        names = []
        for kind in (["ps", "--all"], ["volume", "ls"], ["network", "ls"]):
            column = "{{.Names}}" if kind[0] == "ps" else "{{.Name}}"
            names += self.engine.docker(*kind, "--format", column).split()
        names += self.engine.docker("image", "ls", "--format", "{{.Repository}}").split()
        return [name for name in names if name.startswith((self.name, f"{IMAGES}/"))]
