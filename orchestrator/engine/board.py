"""The cancel board: which calls still have somebody who waits for them, as memory that processes of one machine share.

A front-end enters a call before it hands it to Triton, and takes it off when its caller has gone. Workers look before
they start a call, and while it runs. So a call that waits in Triton's own queue is cancelled without telling Triton,
which may crash when it is told (docs/architecture/04-triton.md).

The board is a file of 64 bit words, cut into regions. A front-end process owns one region: the lock on a byte of the
file says so, and goes with the process. A call's number names its slot and is written there; the call is alive as long
as its slot holds its number. Numbers do not come again, so that a slot can be used for the next call at once. Nothing
is locked: a word has one writer, and is written in one instruction.
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
_REGION_BITS: Final = 6
_GENERATION_BITS: Final = 43
_SLOTS: Final = 1 << _SLOT_BITS
_REGIONS: Final = 1 << _REGION_BITS
_WORDS: Final = _SLOTS * _REGIONS
_WORD_BYTES: Final = 8
_OWNED: Final = 1
"""In a region's first word, which is no slot: a front-end has entered its calls there."""
_FLOCK: Final = "hhqqi4x"
"""`struct flock` of 64 bit Linux: type, whence, start, length, pid."""


def create_board(path: Path) -> None:
    """Makes an empty board; the file has holes, so that it takes only what is used of it."""
    with path.open("xb") as file:
        os.ftruncate(file.fileno(), _WORDS * _WORD_BYTES)


class CallBoard:
    """A front-end process's region. For one thread.

    Args:
        path: of the board.

    Raises:
        OSError: it cannot be opened, or all of its regions are owned.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._region = _claim(self._fd)
            size = _SLOTS * _WORD_BYTES
            self._map = mmap.mmap(self._fd, size, offset=self._region * size)
        except BaseException:
            os.close(self._fd)
            raise
        self._words = memoryview(self._map).cast("q")
        # Whoever had the region before has died: nobody waits for its calls.
        self._words[:] = memoryview(bytes(_SLOTS * _WORD_BYTES)).cast("q")
        self._words[0] = _OWNED
        self._free = list(range(_SLOTS - 1, 0, -1))
        # From the clock, so that a successor's numbers are others than its predecessor's.
        self._generation = time.time_ns() // 1000

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
        self._words[slot] = number
        return number

    def leave(self, number: int) -> None:
        """Takes a call off: it has ended, or nobody waits for it any more. Once for each number."""
        slot = number & _SLOTS - 1
        if slot:
            self._words[slot] = 0
            self._free.append(slot)

    def close(self) -> None:
        """Takes all calls off and gives the region back."""
        with contextlib.suppress(ValueError):  # closed before
            self._words[:] = memoryview(bytes(_SLOTS * _WORD_BYTES)).cast("q")
            self._words.release()
            self._map.close()
            os.close(self._fd)

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
        with path.open("rb") as file:
            self._words = memoryview(mmap.mmap(file.fileno(), _WORDS * _WORD_BYTES, prot=mmap.PROT_READ)).cast("q")

    def left(self, number: int) -> bool:
        """Whether a call has been taken off. Not known of a region that no front-end has: then it has not."""
        place = number & _WORDS - 1
        return self._words[place] != number and self._words[place & ~(_SLOTS - 1)] == _OWNED


def _claim(fd: int) -> int:
    for region in range(_REGIONS):
        # Of the open file and not of the process: two boards in one process are two owners.
        with contextlib.suppress(BlockingIOError):
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, region, 1, 0))
            return region
    raise OSError(f"all {_REGIONS} regions of the board are owned")
