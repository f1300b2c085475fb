"""One attempt to run tritonserver below a guard, from its first process to its last trace."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.engine.board import BOARD_VARIABLE, create_board
from orchestrator.errors import ServerProcessError
from orchestrator.triton import leftovers
from orchestrator.triton.command import LOOPBACK, Ports, ServerOptions, command_line, environment, has_gpu
from orchestrator.triton.install import TritonInstall, lay_out_backends, link_or_copy
from orchestrator.triton.output import Output
from orchestrator.triton.probe_model import write_probe_model

__all__ = ["Run"]

_GUARD = Path(__file__).with_name("guard.py")
_START_S = 30.0
_POLL_S = 0.005
_CLEANUP_S = 3.0  # what the guard may need once Triton's time is over: kill, collect, remove


class Run:
    """The processes of one server. Made running; ends by `stop` or by itself.

    Args:
        libpython: the library that the workers load as their Python.
        repositories: the callers' model repositories; the probe's is added.
        write: writes one more repository, into a folder that goes with the server.
        env: on top of this process's environment.
        orphan_grace_s: how long Triton may take to end once this process has died.
        log: gets the lines of output that a person should see.
        hold: where Triton ends by itself, all but its processes stays, for `restart`.

    Raises:
        ServerProcessError: the guard could not be started.
    """

    def __init__(
        self,
        install: TritonInstall,
        *,
        libpython: Path,
        repositories: Sequence[Path],
        write: Callable[[Path], None] | None,
        ports: Ports,
        options: ServerOptions,
        env: Mapping[str, str],
        orphan_grace_s: float,
        log: Callable[[str], None] | None,
        hold: bool = False,
    ) -> None:
        self.ports = ports
        self.claim = claim = leftovers.claim()
        self._stopping = threading.Lock()
        try:
            (claim.run_dir / "lib").mkdir()
            # A folder with only this library: its own may hold others that Triton must not load (conda).
            link_or_copy(libpython, claim.run_dir / "lib" / libpython.name)
            write_probe_model(claim.run_dir / "probe")
            create_board(self.call_board)
            if write is not None:
                own = claim.run_dir / "repository"
                own.mkdir()
                write(own)
                repositories = [*repositories, own]
            command = command_line(
                install,
                server_id=claim.server_id,
                shm_prefix=claim.shm_prefix,
                backends=lay_out_backends(install, claim.run_dir / "backends"),
                repositories=[*repositories, claim.run_dir / "probe"],
                ports=ports,
                options=options,
                # The environment is read here and not in settings.py because it is handed on, not interpreted.
                gpu=has_gpu(os.environ | env) if options.gpu is None else options.gpu,
            )
            guard = [sys.executable, "-I", "-S", _GUARD, orphan_grace_s, claim.shm_prefix, claim.run_dir, claim.lock_fd]
            self._guard = subprocess.Popen(
                [*map(str, guard), "--files", *(["--hold"] if hold else []), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(
                    os.environ,
                    {**env, BOARD_VARIABLE: str(self.call_board)},
                    server_id=claim.server_id,
                    executable=Path(sys.executable),
                    libraries=[claim.run_dir / "lib", install.libraries],
                ),
                pass_fds=[claim.lock_fd],
                start_new_session=True,  # a terminal's Ctrl-C is for us: we drain, then stop Triton
            )
        except BaseException as exc:
            leftovers.remove(claim.server_id, claim.run_dir)
            if isinstance(exc, OSError):
                raise ServerProcessError(
                    f"Triton cannot be started: {exc}", hint="check the file system and limits"
                ) from exc
            raise
        finally:
            os.close(claim.lock_fd)  # the guard's copy is the lock now
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        self._orders, self._stream = self._guard.stdin, self._guard.stdout
        self.output = Output(self._stream, log)
        self._watcher = threading.Thread(target=self._watch, name="triton-watch", daemon=True)
        self._watcher.start()

    @property
    def call_board(self) -> Path:
        """File of the cancel board that the workers read."""
        return self.claim.run_dir / "calls"

    @property
    def exit_code(self) -> int | None:
        """Triton's as the guard forwarded it, negative where the guard itself was killed, None while it runs."""
        return self._guard.poll()

    @property
    def ended(self) -> int | None:
        """Triton's exit code where it has ended by itself and can be started again, else None."""
        try:
            return int((self.claim.run_dir / "ended").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def restart(self) -> None:
        """Starts Triton again, on the same ports, with the same repositories; returns once it is live.

        Raises:
            ServerProcessError: it did not start, or has not ended.
        """
        if self.ended is None:
            raise ServerProcessError("this Triton server has not ended", exit_code=self.exit_code)
        with contextlib.suppress(OSError, ValueError):  # the guard has ended: told below
            self._orders.write(b"start\n")
            self._orders.flush()
        end = time.monotonic() + _CLEANUP_S
        while self.ended is not None and self.exit_code is None and time.monotonic() < end:
            time.sleep(_POLL_S)
        self.wait_until_live()

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    @property
    def pid(self) -> int:
        """tritonserver's process id; known as soon as it runs.

        Raises:
            ServerProcessError: it does not run (any more).
        """
        try:
            return int((self.claim.run_dir / "pid").read_text(encoding="ascii"))
        except (OSError, ValueError):
            raise ServerProcessError(
                "Triton does not run", exit_code=self.exit_code, log_tail=self.output.tail
            ) from None

    @property
    def alive(self) -> bool:
        """Whether tritonserver is there, and no zombie."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
        except (OSError, ServerProcessError):
            return False

    def wait_until_live(self) -> None:
        """Returns once every port of this very server answers.

        Raises:
            ServerProcessError: it ended, or was not live after 30 s.
        """
        end = time.monotonic() + _START_S
        while not self._live():
            self._raise_if_ended()
            if time.monotonic() > end:
                raise ServerProcessError(
                    f"Triton was not live {_START_S:.0f} s after its start",
                    log_tail=self.output.tail,
                    hint="see the end of its log",
                )
            time.sleep(_POLL_S)

    def _raise_if_ended(self) -> None:
        code = self.exit_code if self.exit_code is not None else self.ended
        if code is not None:
            if self.exit_code is not None:  # while the guard is there its end of the pipe is open
                self.output.join(1.0)
            error = self.output.last_error()
            raise ServerProcessError(
                f"Triton ended while it started (exit code {code})" + (f": {error}" if error else ""),
                exit_code=code,
                log_tail=self.output.tail,
                hint="see the end of its log",
            )

    def _live(self) -> bool:
        with contextlib.suppress(OSError, ServerProcessError):  # not yet, or no longer
            with socket.create_connection((LOOPBACK, self.ports.http), timeout=1.0) as http:
                http.sendall(b"GET /v2 HTTP/1.0\r\n\r\n")
                answer = b"".join(iter(lambda: http.recv(4096), b""))
            # Triton's own name, because another server may have won the race for the port. The metrics port comes last
            # and does not say whose it is; gRPC's comes first, and without it there would be no answer here.
            return f'"name":"{self.claim.server_id}"'.encode() in answer and _listens(self.pid, self.ports.metrics)
        return False

    def wait(self, timeout_s: float | None) -> int | None:
        """Waits for the end and for the cleanup after it.

        Returns:
            The exit code, None when it still runs.
        """
        self._watcher.join(timeout_s)
        return None if self._watcher.is_alive() else self.exit_code

    def stop(self, timeout_s: float) -> None:
        """Ends everything within the time; returns when nothing is left."""
        with self._stopping:
            with contextlib.suppress(OSError, ValueError):  # it has ended
                self._orders.write(b"stop %.3f\n" % max(timeout_s - _CLEANUP_S, 0))
                self._orders.flush()
            if self.wait(max(timeout_s, _CLEANUP_S)) is None:
                self._guard.kill()
                self.wait(_CLEANUP_S)
            self.output.join(1.0)
            for pipe in (self._orders, self._stream):
                with contextlib.suppress(OSError):
                    pipe.close()

    def _watch(self) -> None:
        # The guard cleans up after itself. Killed, it cannot: Triton has died with it, segments and hung workers stay.
        if self._guard.wait() < 0:
            leftovers.remove(self.claim.server_id, self.claim.run_dir)


def _listens(pid: int, port: int) -> bool:
    """Whether it is this process that listens on a TCP port; True where /proc does not tell."""
    own = set()
    try:
        table = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                own.add(os.readlink(descriptor))
    except OSError:
        return Path(f"/proc/{pid}").exists()
    for line in table:
        # number, local address:port, remote one, state (0A: listening), queues, timers, retransmits, user, -, inode
        fields = line.split()
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port and f"socket:[{fields[9]}]" in own:
            return True
    return False
