"""What a worker process says of itself, in a page of shared memory that outlives it.

While it lives a supervisor reads there when it last made progress, and how many calls it has. After its death the
front-end reads which calls it had begun: those may have had their effects and are never sent again; others may be.

The page is `/dev/shm/<server's id>-beat-<pid>`, so that it goes with the server's other segments:

    u64 turn      last sign of life, nanoseconds of the machine's monotonic clock
    u64 since     begin of the oldest piece of work that runs now, same clock; 0 for none
    u32 calls     that it has
    u32 full      not 0: it has begun more calls at once than there are places
    u32 mark ...  CRC of the id of a call that it has begun, also of the last ones that have ended: the answer may be on
                  its way; 0 for an empty place
    ...
    4096          its command line, which says what it works for, as in /proc
"""

import contextlib
import mmap
import os
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

__all__ = [
    "SERVER_ID_VARIABLE",
    "TURN_S",
    "Beat",
    "Heartbeat",
    "beat_path",
    "beats_of",
    "command_line_of",
    "was_begun",
]

SERVER_ID_VARIABLE: Final = "ORCHESTRATOR_SERVER"
"""Carries the server's id into every process below Triton, so that a stray one can be told from anything else."""
_SHM: Final = Path("/dev/shm")  # noqa: S108
_MARKED_BYTES: Final = 4096
_BYTES: Final = 8192
_HEAD: Final = struct.Struct("<QQII")
_CALLS, _FULL, _MARKS = range(4, 7)
"""Places among the page's words of 32 bits."""
_PLACES: Final = _MARKED_BYTES // 4 - _MARKS
TURN_S: Final = 0.5
"""How often a living worker says so."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worker last said.

    Attributes:
        turn_ns: its last sign of life.
        since_ns: begin of its oldest work; 0 for none.
        calls: that it has.
        marks: of calls that it has begun; None where they were more than it can say.
    """

    turn_ns: int
    since_ns: int
    calls: int
    marks: frozenset[int] | None

    def stuck_s(self, now_ns: int) -> float:
        """For how long nothing has moved."""
        oldest = min(self.turn_ns, self.since_ns) if self.since_ns else self.turn_ns
        return max(0.0, (now_ns - oldest) / 1e9)

    def has_begun(self, request_id: str) -> bool:
        """Whether it may have begun a call. It may say so of a call with the same id; a no is certain."""
        return self.marks is None or _mark(request_id) in self.marks

    @classmethod
    def read(cls, server_id: str, pid: int) -> Self | None:
        """Of a worker, dead or alive; None where it says nothing, or its page has been removed."""
        try:
            page = beat_path(server_id, pid).read_bytes()
            turn_ns, since_ns, calls, full = _HEAD.unpack_from(page)
            if not turn_ns:  # it is just being made
                return None
            marks = None if full else frozenset(struct.unpack_from(f"<{_PLACES}I", page, _HEAD.size)) - {0}
        except (OSError, struct.error):
            return None
        return cls(turn_ns, since_ns, calls, marks)


def command_line_of(server_id: str, pid: int) -> bytes:
    """Of a worker, dead or alive, words ended by NULs; empty where nobody knows."""
    try:
        return beat_path(server_id, pid).read_bytes()[_MARKED_BYTES:].rstrip(b"\0")
    except OSError:
        return b""


def beat_path(server_id: str, pid: int) -> Path:
    """File of a worker's page."""
    return _SHM / f"{server_id}-beat-{pid}"


def beats_of(server_id: str) -> list[int]:
    """Process ids of the workers, dead or alive, whose pages are there."""
    prefix = f"{server_id}-beat-"
    names = [name.removeprefix(prefix) for name in os.listdir(_SHM) if name.startswith(prefix)]
    return [int(name) for name in names if name.isdigit()]


def was_begun(server_id: str, request_id: str) -> bool:
    """Whether any worker of a server may have begun a call; yes where none says anything."""
    beats = [beat for pid in beats_of(server_id) if (beat := Beat.read(server_id, pid)) is not None]
    return not beats or any(beat.has_begun(request_id) for beat in beats)


class Heartbeat:
    """A worker's own page. Does nothing where the process is below no server of ours, or shared memory is full.

    A worker that runs its calls in one thread says `begin` and `end`; one that runs many at once says `call` on one
    thread, and `working` on any.
    """

    def __init__(self) -> None:
        server_id = os.environ.get(SERVER_ID_VARIABLE)
        self._path = beat_path(server_id, os.getpid()) if server_id else None
        page = _new_page(self._path) if self._path else None
        # Without a page into memory of its own, which nobody reads.
        self._times = memoryview(page or bytearray(_BYTES)).cast("Q")
        self._words = memoryview(self._times.obj).cast("I")
        self._is_read = page is not None
        command = Path("/proc/self/cmdline").read_bytes()[: _BYTES - _MARKED_BYTES]
        memoryview(self._times.obj).cast("B")[_MARKED_BYTES : _MARKED_BYTES + len(command)] = command
        self._times[0] = time.monotonic_ns()
        self._work: dict[object, int] = {}
        self._next = 0
        self._free = deque(range(_MARKS, _MARKS + _PLACES))
        self._closed = threading.Event()

    def turn(self) -> None:
        """It lives."""
        if self._work:
            # One step for the interpreter: other threads add and remove meanwhile.
            self._times[1] = min(list(self._work.values()), default=0)
        self._times[0] = time.monotonic_ns()

    def keep_turning(self) -> None:
        """Says that it lives, from a thread of its own: not while something holds the interpreter, or it is stopped."""
        self.turn()
        if self._is_read:
            threading.Thread(target=self._turn_on, name="orchestrator-heartbeat", daemon=True).start()

    def begin(self, request_ids: Sequence[str]) -> None:
        """Takes some calls."""
        words = self._words
        for request_id in request_ids:
            words[_MARKS + self._next] = _mark(request_id)
            self._next = (self._next + 1) % _PLACES
        words[_CALLS] = len(request_ids)
        words[_FULL] |= len(request_ids) > _PLACES
        self.progress()

    def progress(self) -> None:
        """The next piece of work for them begins."""
        self._times[1] = time.monotonic_ns()

    def end(self) -> None:
        """They have ended."""
        self._times[1] = 0
        self._words[_CALLS] = 0

    @contextlib.contextmanager
    def call(self, request_id: str) -> Iterator[None]:
        """Inside, one of many calls that run side by side."""
        words = self._words
        place = self._free.popleft() if self._free else _FULL  # for good: nobody knows when what has no mark has ended
        words[place] = _mark(request_id)
        words[_CALLS] += 1
        try:
            yield
        finally:
            words[_CALLS] -= 1
            if place != _FULL:
                self._free.append(place)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Inside, one thread is busy with one piece of work; `turn` tells."""
        work = object()
        self._work[work] = time.monotonic_ns()
        try:
            yield
        finally:
            del self._work[work]
            if not self._work:
                self._times[1] = 0

    def close(self) -> None:
        """Says nothing from now on, as before it was made: starts and stops take what they take."""
        self._closed.set()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _turn_on(self) -> None:
        while not self._closed.wait(TURN_S):
            self.turn()


def _mark(request_id: str) -> int:
    return zlib.crc32(request_id.encode(errors="surrogatepass")) or 1


def _new_page(path: Path) -> mmap.mmap | None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        os.posix_fallocate(fd, 0, _BYTES)  # else a full file system would end this process at the first write
        return mmap.mmap(fd, _BYTES)
    except OSError:
        path.unlink(missing_ok=True)
        return None
    finally:
        os.close(fd)
