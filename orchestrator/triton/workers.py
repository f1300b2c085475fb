"""The worker processes of a Triton, as the system shows them: Triton itself says READY of a model whose workers are dead."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.engine.heartbeat import command_line_of

__all__ = ["WorkerProcess", "dead_worker", "worker_processes"]

_STUB: Final = "triton_python_backend_stub"


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """One process of Triton's Python backend.

    Attributes:
        pid: its process id.
        started: clock ticks since the machine's start: two processes with one pid differ in it. 0 where nobody has seen it
            alive.
        entry: the `model.py` that it runs; the folders above it are version and model.
        segment: name of its shared memory.
        instance: Triton's name for it, such as `Iris_0_1`.
    """

    pid: int
    started: int
    entry: Path
    segment: str
    instance: str

    @property
    def model(self) -> str:
        """Name of the Triton model."""
        return self.entry.parent.parent.name

    @property
    def version(self) -> str:
        """Of the model."""
        return self.entry.parent.name

    @property
    def copy(self) -> tuple[str, str]:
        """Model and version; Triton may have several copies of one."""
        return self.model, self.version


def worker_processes(server: int) -> list[WorkerProcess]:
    """The living workers of a Triton; those that have ended and are not collected yet do not count.

    Args:
        server: process id of tritonserver.
    """
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # The command's name, in parentheses, may hold spaces and parentheses: fields count from the last one.
                fields = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[1]) == server and fields[0] not in (b"Z", b"X"):
                    found.append(_read(int(name), int(fields[19])))
    return [process for process in found if process is not None]


def dead_worker(server_id: str, pid: int) -> WorkerProcess | None:
    """A worker that nobody has seen alive, from the page that it has left; None where it has none.

    Args:
        server_id: of its server.
    """
    with contextlib.suppress(IndexError):
        return _from_command_line(pid, 0, command_line_of(server_id, pid))
    return None


def _read(pid: int, started: int) -> WorkerProcess | None:
    return _from_command_line(pid, started, Path("/proc", str(pid), "cmdline").read_bytes())


def _from_command_line(pid: int, started: int, line: bytes) -> WorkerProcess | None:
    """From its command line: stub, model.py, segment, sizes, server, folder, ..., instance, runtime folder."""
    words = line.split(b"\0")
    if not words[0].endswith(_STUB.encode()):
        return None
    entry, segment, instance = (os.fsdecode(word) for word in (words[1], words[2], words[8]))
    return WorkerProcess(pid, started, Path(entry), segment.removeprefix("/"), instance)
