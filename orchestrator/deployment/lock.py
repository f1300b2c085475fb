"""One deployment at a time in a repository that several commands may write, also from different machines."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.errors import DeploymentError

__all__ = ["alone_in"]

_LOCK: Final = ".deploy.lock"
"""A file, which Triton does not look at. It stays; the lock on it ends with the process that holds it."""
_WAIT_S: Final = 60.0
_POLL_S: Final = 0.1


@contextlib.contextmanager
def alone_in(repository: Path, what: str, *, wait_s: float = _WAIT_S) -> Iterator[None]:
    """Inside, no other deployment changes the repository.

    Args:
        what: is to be done, for whoever waits.
        wait_s: how long to wait for another one to end.

    Raises:
        DeploymentError: it goes on longer than that, or the folder cannot be written.
    """
    end = time.monotonic() + wait_s
    try:
        lock = os.open(repository / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DeploymentError(f"cannot write {error.filename}: {error.strerror}") from error
    try:
        while not _taken(lock):
            if time.monotonic() > end:
                holder = os.pread(lock, 1000, 0).decode(errors="replace") or "another deployment"
                raise DeploymentError(f"{holder} is under way in {repository}; try again when that has ended")
            time.sleep(_POLL_S)
        os.ftruncate(lock, 0)
        started = time.strftime("%H:%M:%S")
        os.pwrite(lock, f"{what} (process {os.getpid()} on {socket.gethostname()}, since {started})".encode(), 0)
        yield
    finally:
        os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
