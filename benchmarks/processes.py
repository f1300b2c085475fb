"""A server in a process of its own: started, waited for, stopped for good."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

__all__ = ["ServerFailed", "ServerProcess"]

_STOP_S: Final = 30.0
"""Triton alone may take 8 s."""
_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None)


class ServerFailed(Exception):
    """A server did not come up; the text ends with what it said."""


class ServerProcess:
    """A running command whose output is read to its end, so that it never blocks on a full pipe.

    Args:
        command: what to run.
        cwd: where.
    """

    def __init__(self, command: Sequence[str], cwd: Path) -> None:
        self._command = " ".join(command)
        self._lines: deque[str] = deque(maxlen=1000)
        self._news = threading.Condition()
        # No colours in what we parse; a group of its own, so that Ctrl-C comes to us first and we stop it in order.
        environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"} | {"NO_COLOR": "1"}
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509  # one system call, of a library that is loaded already
        )
        assert self._process.stdout
        assert self._process.stderr
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self._process.stdout, self._process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def wait_for(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """Waits for a line of the output, standard or error.

        Raises:
            ServerFailed: the process ended, or the time is over.
        """
        wanted = re.compile(pattern)
        ends = time.monotonic() + timeout_s
        with self._news:
            while True:
                for line in self._lines:
                    if match := wanted.search(line):
                        return match
                if self._process.poll() is not None and not any(reader.is_alive() for reader in self._readers):
                    raise self._failed(f"ended with exit code {self._process.returncode}")
                if time.monotonic() > ends:
                    raise self._failed(f"said nothing like {pattern!r} within {timeout_s:.0f} s")
                self._news.wait(0.1)

    def stop(self) -> None:
        """Ends it; by force, with everything in its process group, where it takes more than 30 s."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            sys.stderr.write(f"did not stop within {_STOP_S:.0f} s, killed: {self._command}\n")
            os.killpg(self._process.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
            self._process.wait()
        for reader in self._readers:
            reader.join(5)

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    self._lines.append(line.rstrip("\n"))
                    self._news.notify_all()

    def _failed(self, reason: str) -> ServerFailed:
        said = "\n".join(f"  | {line}" for line in list(self._lines)[-20:])
        return ServerFailed(f"{self._command}: {reason}\n{said}")


def _end_with_parent() -> None:
    """A benchmark that was killed leaves no server behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
