"""Any program below a guard: it ends with this process, however that ends, and so does whatever it started."""

import contextlib
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.errors import ServerProcessError
from orchestrator.triton import leftovers
from orchestrator.triton.command import SERVER_ID_VARIABLE

__all__ = ["ChildProcess"]

_GUARD = Path(__file__).with_name("guard.py")
_CLEANUP_S = 3.0  # what the guard may need once the program's time is over
_TAIL_LINES = 20
_CHUNK_BYTES = 64 << 10


class ChildProcess:
    """A running program. Made running; ends by `stop` or by itself.

    Args:
        command: path of the program, and its arguments.
        env: its whole environment.
        cwd: its working directory.
        output: gets what it writes, standard output and error as one, in another thread.
        grace_s: how long it may take to end after SIGTERM; then all of it is killed.

    Raises:
        ServerProcessError: its guard could not be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        output: Callable[[bytes], None],
        grace_s: float = 5.0,
    ) -> None:
        self._grace_s = grace_s
        self._claim = claim = leftovers.claim()
        guard = [sys.executable, "-I", "-S", _GUARD, grace_s, claim.shm_prefix, claim.run_dir, claim.lock_fd, "--group"]
        try:
            self._guard = subprocess.Popen(
                [*map(str, guard), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**env, SERVER_ID_VARIABLE: claim.server_id},
                cwd=cwd,
                pass_fds=[claim.lock_fd],
                start_new_session=True,  # a terminal's Ctrl-C is for us: we drain, then stop it
            )
        except (OSError, ValueError) as error:
            leftovers.remove(claim.server_id, claim.run_dir)
            raise ServerProcessError(f"{command[0]} cannot be started: {error}") from error
        finally:
            os.close(claim.lock_fd)  # the guard's copy is the lock now
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        self._orders, self._stream = self._guard.stdin, self._guard.stdout
        self._output = output
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._reader = threading.Thread(target=self._read, name="child-output", daemon=True)
        self._reader.start()

    @property
    def run_dir(self) -> Path:
        """A folder that goes with the process, also where ours is killed."""
        return self._claim.run_dir

    @property
    def exit_code(self) -> int | None:
        """The program's exit code, 128 + the signal that ended it, or -9 where its guard was killed; None while it runs."""
        return self._guard.poll()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Waits for its end, and for the end of everything below it.

        Returns:
            The exit code, or None when it runs on.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(timeout_s)
        return self.exit_code

    def last_line(self) -> str:
        """What it wrote last; empty where it wrote nothing."""
        self._reader.join(1.0)
        lines = [line.decode("utf-8", "replace").strip() for line in self._tail]
        return next((line for line in reversed(lines) if line), "")

    def stop(self) -> None:
        """Ends it and everything below it; does nothing where it has ended."""
        with contextlib.suppress(OSError, ValueError):  # it has ended
            self._orders.write(b"stop %.3f\n" % self._grace_s)
            self._orders.flush()
        if self.wait(self._grace_s + _CLEANUP_S) is None:
            self._guard.kill()
            self._guard.wait()
        if self._guard.returncode < 0:  # it could not clean up
            leftovers.remove(self._claim.server_id, self._claim.run_dir)
        self._reader.join(1.0)
        for pipe in (self._orders, self._stream):
            with contextlib.suppress(OSError):
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(ValueError, OSError):  # closed under us
            while chunk := os.read(self._stream.fileno(), _CHUNK_BYTES):
                # A fault of the receiver must not end the reading: the program would stop on a full pipe.
                with contextlib.suppress(Exception):
                    self._output(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                self._tail.extend(lines[-_TAIL_LINES:])
                rest = rest[-_CHUNK_BYTES:]
        self._tail.append(rest)
