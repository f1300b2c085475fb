"""What a worker may take of the machine's memory, so that one that takes too much falls alone."""

import contextlib
import resource
from pathlib import Path
from typing import Final

from orchestrator.errors import DefinitionError

__all__ = ["die_first", "limit_memory"]

_PROCESS: Final = Path("/proc/self")
_OOM_SCORE: Final = 500
"""Half of the machine's memory: before Triton and the front-end, whose loss would be everybody's."""
_STACK_BYTES: Final = 8 << 20


def die_first() -> None:
    """Has the kernel choose this process, and not Triton, when memory runs out."""
    file = _PROCESS / "oom_score_adj"
    with contextlib.suppress(OSError, ValueError):  # without /proc nobody can be told
        if int(file.read_text()) < _OOM_SCORE:
            file.write_text(str(_OOM_SCORE))


def limit_memory(name: str, most_bytes: int, *, threads: int) -> None:
    """Has allocations fail from here on that would take this process beyond its memory. To be called once all is loaded.

    The system counts what was reserved, not what is used: pools and stacks of threads that stand idle. What has been
    reserved by now and is not used does not count, nor do the stacks of threads to come.

    Args:
        name: of the service, for the error.
        most_bytes: RAM, without what is shared with other processes (tensors, program code).
        threads: that will be started yet.

    Raises:
        DefinitionError: it takes more already.
    """
    used, reserved = (_status_bytes(key) for key in ("RssAnon", "VmData"))
    if used > most_bytes:
        raise DefinitionError(
            f"{name} takes {used >> 20} MiB of memory once it is loaded, and resources.memory_limit is "
            f"{most_bytes >> 20} MiB",
            hint="raise it, or take it away",
        )
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    stack_bytes = _STACK_BYTES if stack == resource.RLIM_INFINITY else stack
    most = most_bytes + max(0, reserved - used) + threads * stack_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _status_bytes(key: str) -> int:
    for line in (_PROCESS / "status").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) << 10
    return 0
