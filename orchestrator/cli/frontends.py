"""Several front-end processes on one port: started, started again when one dies, and stopped together."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final, TypeVar

from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE

from orchestrator.cli.console import note
from orchestrator.errors import ServerProcessError

__all__ = ["Serve", "run_frontends"]

_PR_SET_PDEATHSIG: Final = 1
_END_S: Final = 15.0
"""What a front-end process may need from the end of its requests to its own: connections, hooks, threads."""
_PAUSE_S: Final = 0.5
"""Before one that has died is started again."""
P = TypeVar("P")
Serve = Callable[[P, socket.socket, Callable[[], None]], None]
"""Serves a plan on a socket. Before it closes the port it calls the function, which returns once all processes would: they
share it, so that one that closes it alone would leave the others' new connections to nobody."""


@dataclass(frozen=True, slots=True)
class _Frontend:
    """A process.

    Attributes:
        line: our end of a pipe: it says that its requests have ended, we say that all have.
    """

    process: BaseProcess
    line: "Connection[None, None]"


def run_frontends(serve: Serve[P], plan: P, sock: socket.socket, count: int, *, within_s: float) -> None:
    """Runs until SIGTERM or Ctrl-C, as they are raised in this process, and until all processes have ended.

    Args:
        serve: what a process does; a function of a module.
        plan: pickled for each process, since its document leaves out what is secret.
        count: of processes.
        within_s: how long requests in flight may take once the processes shall stop.

    Raises:
        ServerProcessError: a process could not start.
    """
    frontends: dict[int, _Frontend] = {}
    try:
        for number in range(1, count + 1):
            frontends[number] = _start(number, serve, plan, sock, within_s)
        while True:
            wait([each.process.sentinel for each in frontends.values()])
            for number, each in frontends.items():
                code, pid = each.process.exitcode, each.process.pid
                if code is None:
                    continue
                mark_process_dead(pid)  # type: ignore[no-untyped-call]
                if code == STARTUP_FAILURE:
                    raise ServerProcessError("a front-end process could not start", exit_code=code)
                note(f"front-end process {pid} has ended (exit code {code}); starting another one")
                each.line.close()
                time.sleep(_PAUSE_S)
                frontends[number] = _start(number, serve, plan, sock, within_s)
    finally:
        _stop(list(frontends.values()), sock, within_s)


def _start(number: int, serve: Serve[P], plan: P, sock: socket.socket, within_s: float) -> _Frontend:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (serve, plan, sock, theirs, within_s, os.getpid())
    process = context.Process(target=_run, args=arguments, name=f"frontend-{number}")
    process.start()
    theirs.close()
    return _Frontend(process, ours)


def _run(
    serve: Serve[P], plan: P, sock: socket.socket, line: "Connection[None, None]", within_s: float, parent: int
) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # kill -9 of the parent must not leave us behind
    if os.getppid() != parent:  # it died before the line above took effect
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent, which then stops us

    def together() -> None:
        with contextlib.suppress(OSError):  # the parent has died
            line.send(None)
            line.poll(within_s)

    serve(plan, sock, together)


def _stop(frontends: list[_Frontend], sock: socket.socket, within_s: float) -> None:
    end = time.monotonic() + within_s + _END_S
    for each in frontends:
        each.process.terminate()
    # They have their own: with ours open, too, a request that comes when they have gone would wait for nobody.
    sock.close()
    try:
        drained = {each.line for each in frontends}
        while drained and (ready := wait(drained, max(0.0, end - time.monotonic()))):
            drained.difference_update(ready)  # a process that has died counts, too
        for each in frontends:
            with contextlib.suppress(OSError):
                each.line.send(None)
        for each in frontends:
            each.process.join(max(0.0, end - time.monotonic()))
    finally:  # also at a second Ctrl-C
        for each in frontends:
            if each.process.exitcode is None:
                note(f"front-end process {each.process.pid} does not stop, and is killed")
                each.process.kill()
                each.process.join()
            each.line.close()
