"""The cancel board: which calls still have somebody who waits for them, and how far those have read, as memory that
processes of one machine share.

A caller - a front-end process, or a worker that calls another service - enters a call before it hands it to Triton, and
takes it off when nobody waits for it any more. Workers look before they start a call, and while it runs. So a call that
waits in Triton's own queue is cancelled without telling Triton, which may crash when it is told
(docs/architecture/04-triton.md). The caller of a stream also says how many chunks it has taken, so that the worker does
not make more than somebody reads (`worker/flow.py`).

The board is a file of 64 bit words, cut into regions. A process that calls owns one region: the lock on a byte of the
file says so, and goes with the process. A region has slots of two words: a call's number, which names its slot, and how
many chunks were taken. The call is alive as long as its slot holds its number, so that a slot can be used for the next
call at once. Nothing is locked: a word has one writer, and is written in one instruction.

Numbers come again in a region after 2^41 calls, two years of 30 000 a second, or where its owner follows one of 417 days
before: a call lives shorter.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import time
from pathlib import Path
from typing import Final, Self

__all__ = ["BOARD_VARIABLE", "BoardReader", "CallBoard", "create_board"]

BOARD_VARIABLE: Final = "ORCHESTRATOR_CALL_BOARD"
"""Environment of Triton: the board's file. Without it workers ask Triton, which takes 40 times as long."""
_SLOT_BITS: Final = 14
_REGION_BITS: Final = 8
_GENERATION_BITS: Final = 41
_GENERATION_SHIFT: Final = 14
"""From nanoseconds to the 16 us in which no process calls twice."""
_SLOTS: Final = 1 << _SLOT_BITS
_REGIONS: Final = 1 << _REGION_BITS
_SLOT_WORDS: Final = 2
_REGION_BYTES: Final = _SLOTS * _SLOT_WORDS * 8
_PAGE_BYTES: Final = 4096
_OWNED: Final = 2
"""In a region's first word, which is no slot: a process has entered its calls there. Also says what the layout is: 1 was
that of one word a slot."""
_FLOCK: Final = "hhqqi4x"
"""`struct flock` of 64 bit Linux: type, whence, start, length, pid."""


def create_board(path: Path) -> None:
    """Makes an empty board; the file has holes, so that it takes only what is used of it."""
    with path.open("xb") as file:
        os.ftruncate(file.fileno(), _REGIONS * _REGION_BYTES)


class CallBoard:
    """A calling process's region. For one thread.

    Args:
        path: of the board.

    Raises:
        OSError: it cannot be opened, is no board, or all of its regions are owned.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _check(path, self._fd)
            self._region = _claim(self._fd)
            self._map = mmap.mmap(self._fd, _REGION_BYTES, offset=self._region * _REGION_BYTES)
        except BaseException:
            os.close(self._fd)
            raise
        self._words = memoryview(self._map).cast("q")
        # Whoever had the region before has died: nobody waits for its calls.
        self._clear()
        self._words[0] = _OWNED
        self._free = list(range(_SLOTS - 1, 0, -1))
        # From the clock, so that a successor's numbers are others than its predecessor's.
        self._generation = time.time_ns() >> _GENERATION_SHIFT

    def enter(self) -> int:
        """Enters a call.

        Returns:
            Its number; 0 where the board is full, and the call goes without.
        """
        if not self._free:
            return 0
        slot = self._free.pop()
        self._generation = generation = (self._generation + 1) % (1 << _GENERATION_BITS)
        number = ((generation << _REGION_BITS | self._region) << _SLOT_BITS) | slot
        self._words[slot * _SLOT_WORDS + 1] = 0  # first: who sees the number reads this call's chunks
        self._words[slot * _SLOT_WORDS] = number
        return number

    def consumed(self, number: int, chunks: int) -> None:
        """Says how many of a stream's chunks its caller has taken so far; of a call that has not left."""
        slot = number & _SLOTS - 1
        if slot:
            self._words[slot * _SLOT_WORDS + 1] = chunks

    def leave(self, number: int) -> None:
        """Takes a call off: it has ended, or nobody waits for it any more. Once for each number."""
        slot = number & _SLOTS - 1
        if slot:
            self._words[slot * _SLOT_WORDS] = 0
            self._free.append(slot)

    def close(self) -> None:
        """Takes all calls off and gives the region back."""
        if not self._map.closed:
            self._words.release()
            self._map.close()
            self._clear()
            os.close(self._fd)

    def _clear(self) -> None:
        """Only what was used: a page that is written takes memory."""
        start, empty = self._region * _REGION_BYTES, bytes(_PAGE_BYTES)
        for at in range(start, start + _REGION_BYTES, _PAGE_BYTES):
            if os.pread(self._fd, _PAGE_BYTES, at) != empty:
                os.pwrite(self._fd, empty, at)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BoardReader:
    """The board as workers see it.

    Raises:
        OSError: there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            _check(path, file.fileno())
            self._words = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)).cast("q")

    def left(self, number: int) -> bool:
        """Whether a call has been taken off. Not known of a region that no process has: then it has not."""
        place = _place(number)
        return self._words[place] != number and self._words[place & ~(_SLOTS * _SLOT_WORDS - 1)] == _OWNED

    def consumed(self, number: int) -> int | None:
        """How many chunks a call's caller has taken so far; None where the call is not there, or no longer."""
        place = _place(number)
        chunks = self._words[place + 1]
        return chunks if self._words[place] == number else None  # in this order: the slot may be the next call's

    def is_owned(self, number: int) -> bool:
        """Whether the process that entered a call lives, or has a successor: else its calls stay for ever."""
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, number >> _SLOT_BITS & _REGIONS - 1, 1, 0)
        try:
            with self._path.open("rb") as file:
                kind, *_ = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))
        except FileNotFoundError:  # it goes with the server
            return False
        return bool(kind != fcntl.F_UNLCK)


def _check(path: Path, fd: int) -> None:
    if os.fstat(fd).st_size != _REGIONS * _REGION_BYTES:
        raise OSError(f"{path} is no board, or one of another release")


def _place(number: int) -> int:
    """Of a call's first word on the board."""
    return (number & _SLOTS * _REGIONS - 1) * _SLOT_WORDS


def _claim(fd: int) -> int:
    for region in range(_REGIONS):
        # Of the open file and not of the process: two boards in one process are two owners.
        with contextlib.suppress(BlockingIOError):
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, region, 1, 0))
            return region
    raise OSError(f"all {_REGIONS} regions of the board are owned")
