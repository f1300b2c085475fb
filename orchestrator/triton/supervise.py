"""A Triton and its supervisor as one command, for a container, whose processes nobody outside can see.

    python -m orchestrator.triton.supervise [--hang-timeout S] [--drain-timeout S] tritonserver \\
        --model-repository=/models --model-control-mode=explicit --load-model='*'

It ends when Triton does, with its exit code; whoever runs the container starts it again.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from orchestrator.engine.health import HEALTH_MODEL, Health, ModelHealth, State
from orchestrator.engine.heartbeat import SERVER_ID_VARIABLE
from orchestrator.errors import OrchestratorError, SettingsError
from orchestrator.logs import is_json, json_line
from orchestrator.triton import leftovers
from orchestrator.triton.guard import allow_files
from orchestrator.triton.health_model import write_health_model
from orchestrator.triton.supervisor import Supervisor

__all__ = ["main"]

_GRPC_PORT: Final = "8001"
_POLL_S: Final = 0.2


class _OwnTriton:
    """A Triton that is our child, and is not started again (implements `Watched`)."""

    def __init__(self, command: list[str], claim: leftovers.Claim) -> None:
        options = dict(
            word.removeprefix("--").split("=", 1) for word in command if word.startswith("--") and "=" in word
        )
        self.own_repository = Path(options.get("model-repository", ""))
        self.run_dir = claim.run_dir
        told = claim.run_dir / "repository"
        write_health_model(told, claim.run_dir)
        command = [*command, f"--model-repository={told}"]
        if "--load-model=*" not in command:
            command.append(f"--load-model={HEALTH_MODEL}")
        self.server_id = claim.server_id
        self.grpc_url = f"127.0.0.1:{options.get('grpc-port', _GRPC_PORT)}"
        self.ended = None
        allow_files()
        self.process = subprocess.Popen(command, env={**os.environ, SERVER_ID_VARIABLE: claim.server_id})

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    alive = running

    def restart(self) -> None:
        raise SettingsError("it is not started again from here")

    def stop(self, number: int) -> None:
        """Passes a signal on, once those who call it are told: their questions would hold it up."""
        state = ModelHealth(state=State.DOWN, reason="Triton stops", soon=False)
        Health(server_id=self.server_id, whole=state).write(self.run_dir)
        self.process.send_signal(number)


def main(arguments: list[str]) -> int:
    """Runs Triton until it ends.

    Returns:
        Its exit code.

    Raises:
        SettingsError: it could not be healed.
    """
    parser = argparse.ArgumentParser(prog="python -m orchestrator.triton.supervise")
    parser.add_argument("--hang-timeout", type=float, default=120.0, metavar="S")
    parser.add_argument("--drain-timeout", type=float, default=60.0, metavar="S")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    if "--model-control-mode=explicit" not in given.command:
        raise SettingsError(
            "Triton loads no model anew unless it is started with --model-control-mode=explicit",
            hint="add --load-model='*' to have all loaded at the start",
        )
    claim = leftovers.claim()
    try:
        server = _OwnTriton(given.command, claim)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: server.stop(number))
        asyncio.run(_watch(server, hang_s=given.hang_timeout, drain_s=given.drain_timeout))
        return server.process.wait()
    finally:
        os.close(claim.lock_fd)
        leftovers.remove(claim.server_id, claim.run_dir)
        shutil.rmtree(claim.run_dir, ignore_errors=True)


async def _watch(server: _OwnTriton, *, hang_s: float, drain_s: float) -> None:
    async def nothing() -> None:
        """Whoever starts Triton again has it load its models."""

    def say(line: str) -> None:
        text = json_line("info", "orchestrator.triton", line, more={"process": "supervisor"}) if is_json() else line
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    supervisor = Supervisor(server, load=nothing, drain_s=drain_s, hang_s=hang_s, say=say)
    life = asyncio.create_task(supervisor.run())
    while server.running:
        await asyncio.sleep(_POLL_S)
    life.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await life


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OrchestratorError as error:
        sys.exit(f"error: {error}")
