"""One running Triton server: start, watch, stop, leave nothing behind."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.errors import ServerProcessError
from orchestrator.triton import leftovers
from orchestrator.triton.command import LOOPBACK, Ports, ServerOptions, free_ports
from orchestrator.triton.install import TritonInstall, find_install
from orchestrator.triton.launch import Run
from orchestrator.triton.preflight import preflight

__all__ = ["TritonServer"]

_ATTEMPTS = 5


class TritonServer:
    """A Triton server below this process.

    It ends with this process, however that ends: a guard process between the two sees to it (`guard.py`).
    Methods block; they may be called from any thread, one at a time.

    Args:
        options: what may be chosen about the server.
        install: the server to run; None finds the installed one.
        orphan_grace_s: how long Triton may take to end once this process has died.
    """

    def __init__(
        self,
        options: ServerOptions | None = None,
        *,
        install: TritonInstall | None = None,
        orphan_grace_s: float = 4.0,
    ) -> None:
        self._options = options or ServerOptions()
        self._install = install
        self._orphan_grace_s = orphan_grace_s
        self._run: Run | None = None

    def start(
        self,
        repositories: Sequence[Path],
        *,
        write: Callable[[Path], None] | None = None,
        env: Mapping[str, str] = {},
        http_port: int | None = None,
        grpc_port: int | None = None,
        metrics_port: int | None = None,
        log: Callable[[str], None] | None = None,
        hold: bool = False,
    ) -> None:
        """Starts the server and returns once it is live; no model is loaded yet.

        Args:
            repositories: model repositories, read only.
            write: writes one more, into the folder `own_repository`, which goes with the server, however that ends.
            env: on top of this process's environment, for Triton and its workers.
            http_port: loopback port; None chooses a free one. So for the others.
            log: gets the lines that a person should see, in another thread.
            hold: a Triton that ends by itself leaves its folder and its ports, for `restart`.

        Raises:
            ServerProcessError: it cannot start here, or did not.
        """
        if self.running:
            raise ServerProcessError("this Triton server runs already", hint="stop it first")
        for path in repositories:
            if not path.is_dir():  # Triton itself would start without it
                raise ServerProcessError(f"there is no model repository {path}")
        install = self._install or find_install()
        asked = {"http": http_port, "grpc": grpc_port, "metrics": metrics_port}
        leftovers.sweep()
        libpython = preflight(install, {use: port for use, port in asked.items() if port is not None})
        for attempt in range(_ATTEMPTS):
            chosen = iter(free_ports(len(asked)))
            ports = Ports(**{use: port or next(chosen) for use, port in asked.items()})
            self._run = Run(
                install,
                libpython=libpython,
                repositories=repositories,
                write=write,
                ports=ports,
                options=self._options,
                env=env,
                orphan_grace_s=self._orphan_grace_s,
                log=log,
                hold=hold,
            )
            try:
                self._run.wait_until_live()
            except BaseException as exc:
                self._run.stop(0)
                lost_a_port = isinstance(exc, ServerProcessError) and any(
                    "already in use" in line for line in exc.log_tail
                )
                if not (lost_a_port and None in asked.values() and attempt + 1 < _ATTEMPTS):
                    raise
            else:
                return

    def restart(self) -> None:
        """Starts a Triton again that has ended by itself, where `start` was asked to hold; no model is loaded then.

        The ports, the folder and the repositories are the same.

        Raises:
            ServerProcessError: it does not start, or has not ended.
        """
        self._started().restart()

    @property
    def ended(self) -> int | None:
        """The exit code of a Triton that has ended by itself and can be started again; None for any other."""
        return self._run.ended if self._run else None

    def stop(self, timeout_s: float = 8.0) -> None:
        """Ends the server and everything below it; does nothing when none runs.

        Args:
            timeout_s: after this all is gone, by force if need be. Triton itself has 3 s less.
        """
        if self._run is not None:
            self._run.stop(timeout_s)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Waits for the server's end, and for the end of the cleanup after it.

        Returns:
            The exit code, or None when it runs on.
        """
        return self._started().wait(timeout_s)

    @property
    def running(self) -> bool:
        """Whether the server's processes are there; not whether a model answers."""
        return self._run is not None and self._run.exit_code is None

    @property
    def alive(self) -> bool:
        """Whether tritonserver itself is there: without it the server still has its guard for a moment, or is held."""
        return self._run is not None and self._run.alive

    @property
    def exit_code(self) -> int | None:
        """Triton's exit code, 128 + the signal that ended it, or -9 where its guard was killed; None while it runs."""
        return self._run.exit_code if self._run else None

    @property
    def pid(self) -> int:
        """Process id of tritonserver."""
        return self._started().pid

    @property
    def guard_pid(self) -> int:
        """Process id of tritonserver's parent."""
        return self._started().guard_pid

    @property
    def server_id(self) -> str:
        """Triton's name for itself; its shared memory segments begin with it."""
        return self._started().claim.server_id

    @property
    def run_dir(self) -> Path:
        """A folder that goes with the server, also where this process is killed."""
        return self._started().claim.run_dir

    @property
    def call_board(self) -> Path:
        """File of the cancel board, for a `TritonBackend` on this machine."""
        return self._started().call_board

    @property
    def own_repository(self) -> Path:
        """Where `write` wrote."""
        return self.run_dir / "repository"

    @property
    def http_url(self) -> str:
        """As `http://127.0.0.1:8000`."""
        return f"http://{LOOPBACK}:{self._started().ports.http}"

    @property
    def grpc_url(self) -> str:
        """As `127.0.0.1:8001`, for `TritonBackend` and `Control`."""
        return f"{LOOPBACK}:{self._started().ports.grpc}"

    @property
    def metrics_url(self) -> str:
        """As `http://127.0.0.1:8002/metrics`."""
        return f"http://{LOOPBACK}:{self._started().ports.metrics}/metrics"

    @property
    def log_tail(self) -> tuple[str, ...]:
        """The last 200 lines of output."""
        return self._run.output.tail if self._run else ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _started(self) -> Run:
        if self._run is None:
            raise ServerProcessError("this Triton server was never started", hint="call start() first")
        return self._run
