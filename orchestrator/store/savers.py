"""Who is saving: a process that another one can find dead."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["Saver"]


@dataclass(frozen=True, slots=True)
class Saver:
    """A process.

    Attributes:
        host: where its pid means something: the host's name, this boot's id, and the pid namespace, since two containers
            may share a name.
        pid: in that namespace.
        started: when the process did, in clock ticks since the boot; a pid alone is soon somebody else's.
    """

    host: str
    pid: int
    started: int

    @classmethod
    def current(cls) -> Self:
        pid = os.getpid()
        return cls(_host(), pid, _started(pid) or 0)

    def lives(self) -> bool | None:
        """Whether it still runs; None where that cannot be known from here."""
        if self.host != _host():
            return None
        return _started(self.pid) == self.started


def _host() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"


def _started(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name, in parentheses, may hold spaces and parentheses: fields count from the last one.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])
