"""Processes that are watched: the moment of their end, and killing exactly them."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Collection

__all__ = ["ProcessWatch"]


class ProcessWatch:
    """Has the running event loop told when one of some processes ends.

    Args:
        ended: called then.
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._fds: dict[int, int] = {}

    def only(self, pids: Collection[int]) -> None:
        """Watches these processes; all others are forgotten."""
        for pid in [pid for pid in self._fds if pid not in pids]:
            self._forget(pid)
        for pid in pids:
            if pid not in self._fds:
                with contextlib.suppress(OSError):  # it has ended since it was listed: the next list shows it
                    self._fds[pid] = fd = os.pidfd_open(pid)
                    asyncio.get_running_loop().add_reader(fd, self._tell, pid)

    def kill(self, pid: int) -> None:
        """Kills a process that is watched, and never another one that has its number by now."""
        if pid in self._fds:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._fds[pid], signal.SIGKILL)

    def _tell(self, pid: int) -> None:
        self._forget(pid)
        self._ended()

    def _forget(self, pid: int) -> None:
        fd = self._fds.pop(pid)
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
