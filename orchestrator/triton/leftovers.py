"""The mark that a server lives, and the removal of what dead ones left.

Triton's Python backend keeps tensors in `/dev/shm`, and a killed server leaves them there until the machine restarts.
So each server has an id; its segments, its run directory and the environment of its processes carry it; and its guard
holds a lock on `/dev/shm/<id>-lock`. A lock that can be taken belongs to a dead server. Unlike a pid, that holds across
containers that share `/dev/shm`.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.triton.command import SERVER_ID_VARIABLE

__all__ = ["Claim", "claim", "living", "remove", "sweep"]

SHM = Path("/dev/shm")  # noqa: S108
_NAME = re.compile(r"(orchestrator-\d+-[0-9a-f]{12})-")


@dataclass(frozen=True, slots=True)
class Claim:
    """A server's id and what goes with it.

    Attributes:
        server_id: unique on this machine.
        run_dir: an empty folder of its own.
        lock_fd: the locked file. The guard inherits it; the caller closes its own copy then.
    """

    server_id: str
    run_dir: Path
    lock_fd: int

    @property
    def shm_prefix(self) -> str:
        """How the names of its segments begin."""
        return f"{self.server_id}-"


def claim() -> Claim:
    """Takes a new id, with its lock and its run directory."""
    while True:
        server_id = f"orchestrator-{os.getpid()}-{secrets.token_hex(6)}"
        lock = SHM / f"{server_id}-lock"
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        # A sweep between the two lines above may have taken the file for a dead server's.
        with contextlib.suppress(FileNotFoundError):
            if lock.stat().st_ino == os.fstat(fd).st_ino:
                break
        os.close(fd)
    run_dir = Path(tempfile.mkdtemp(prefix=f"{server_id}-"))
    os.write(fd, json.dumps({"run_dir": str(run_dir)}).encode())
    return Claim(server_id, run_dir, fd)


def living() -> list[Path]:
    """Run directories of this user's servers, those that still end among them."""
    found = []
    for server_id in _ids():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found.append(Path(json.loads((SHM / f"{server_id}-lock").read_bytes())["run_dir"]))
    return [run_dir for run_dir in found if run_dir.is_dir()]


def sweep() -> list[str]:
    """Removes what dead servers of this user left: stray workers, segments, run directories.

    Returns:
        The ids of those servers.
    """
    return [server_id for server_id in _ids() if _sweep_one(server_id)]


def _ids() -> list[str]:
    """Of all servers of this user that have anything in shared memory."""
    names = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(SHM):
            with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                if entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                    names.append(entry.name)
    return sorted({match[1] for name in names if (match := _NAME.match(name))})


def _sweep_one(server_id: str) -> bool:
    run_dir = None
    try:
        fd = os.open(SHM / f"{server_id}-lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:  # the lock is made first and removed last: without one, the segments are nobody's
        remove(server_id, None)
        return True
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(ValueError, KeyError, TypeError):
            run_dir = Path(json.loads(os.read(fd, 4096))["run_dir"])
        remove(server_id, run_dir)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def remove(server_id: str, run_dir: Path | None) -> None:
    """Removes everything of one server, which must be dead.

    Args:
        run_dir: its folder, removed only if its name bears the id and it is this user's own.
    """
    for pid in _processes(server_id):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    lock = SHM / f"{server_id}-lock"
    for path in SHM.glob(f"{server_id}-*"):
        if path != lock:
            with contextlib.suppress(OSError):
                path.unlink()
    if run_dir is not None and run_dir.name.startswith(f"{server_id}-"):
        with contextlib.suppress(OSError):
            if run_dir.lstat().st_uid == os.geteuid():
                shutil.rmtree(run_dir)
    with contextlib.suppress(OSError):
        lock.unlink()


def _processes(server_id: str) -> Iterator[int]:
    """Processes of this user that carry the server's id in their environment."""
    mark = f"{SERVER_ID_VARIABLE}={server_id}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)
