"""The running servers of this user, as the commands that change versions see them."""

import json
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

from orchestrator import errors
from orchestrator.cli.operator import SOCKET, short_path
from orchestrator.deployment import ServerStatus
from orchestrator.errors import DeploymentError, OrchestratorError
from orchestrator.triton.leftovers import living

__all__ = ["RunningServer", "chosen", "running_servers"]

_ASK_S: Final = 5.0
_BY_CODE: Final[dict[str, type[OrchestratorError]]] = {
    getattr(errors, name).code: getattr(errors, name) for name in errors.__all__
}
_ORIGIN: Final = "http://operator"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers on its operator's socket."""

    socket: Path
    status: ServerStatus

    def order(self, path: str, body: Any) -> Iterator[dict[str, Any]]:
        """Has it do something, and tells of each step and each model as it comes.

        Raises:
            OrchestratorError: it refused, or failed: as it was raised there.
            DeploymentError: it has gone away meanwhile.
        """
        try:
            with _client(self.socket, None) as client, client.stream("POST", _ORIGIN + path, json=body) as answer:
                if answer.status_code != 200:
                    raise _error_of(json.loads(answer.read()))
                for line in answer.iter_lines():
                    event = json.loads(line)
                    if event["kind"] == "problem":
                        raise _error_of(event)
                    yield event
        except httpx2.TransportError as error:
            raise DeploymentError(
                f"the server at {self.status.url} went away meanwhile: {error}", hint="`orchestrator models status`"
            ) from error


def running_servers() -> list[RunningServer]:
    """Those that answer, by their URL."""
    found = []
    for run_dir in living():
        path = run_dir / SOCKET
        try:
            if stat.S_ISSOCK(path.stat().st_mode):
                with _client(path, _ASK_S) as client:
                    answer = client.get(f"{_ORIGIN}/status")
                if answer.status_code == 200:
                    found.append(RunningServer(path, ServerStatus.parse(answer.content)))
        except (OSError, httpx2.TransportError, ValueError):
            continue  # it ends, or has never begun
    return sorted(found, key=lambda server: server.status.url)


def chosen(name: str, url: str | None, everywhere: bool) -> Sequence[RunningServer]:
    """The servers that an order is for.

    Args:
        name: of the model or the service that it is about.
        url: of `--server`.
        everywhere: `--all`.

    Raises:
        DeploymentError: there is none, or several and nothing says which.
    """
    servers = running_servers()
    if not servers:
        raise DeploymentError(
            "no server of yours runs here that can be deployed to",
            hint="`orchestrator serve` with a Triton of its own; `models alias` moves what the next start takes",
        )
    if url is not None:
        named = [server for server in servers if server.status.url.rstrip("/") == url.rstrip("/")]
        if not named:
            raise DeploymentError(f"no server of yours runs at {url}", hint=f"there is {_urls(servers)}")
        return named
    if len(servers) == 1:
        return servers
    fitting = [server for server in servers if name in server.status.names]
    if not fitting:
        raise DeploymentError(f"no running server uses {name!r}", hint=_listed(servers))
    if len(fitting) > 1 and not everywhere:
        raise DeploymentError(
            f"{len(fitting)} running servers use {name!r}",
            hint=f"--server URL names one, --all takes all: {_urls(fitting)}",
        )
    return fitting


def _urls(servers: Sequence[RunningServer]) -> str:
    return ", ".join(server.status.url for server in servers)


def _listed(servers: Sequence[RunningServer]) -> str:
    return "; ".join(f"{server.status.url} has {', '.join(sorted(server.status.names))}" for server in servers)


@contextmanager
def _client(path: Path, timeout_s: float | None) -> Iterator[httpx2.Client]:
    with (
        short_path(path) as short,
        httpx2.Client(transport=httpx2.HTTPTransport(uds=short), timeout=timeout_s) as client,
    ):
        yield client


def _error_of(problem: dict[str, Any]) -> OrchestratorError:
    kind = _BY_CODE.get(str(problem.get("type", "")).rpartition(":")[2], DeploymentError)
    return kind(str(problem.get("detail", "the server gave no reason")))
