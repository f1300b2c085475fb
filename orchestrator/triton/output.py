"""What tritonserver and its workers write: a bounded tail for errors, and the lines that a person should see."""

import contextlib
import re
import threading
from collections import deque
from collections.abc import Callable
from typing import IO, Final

import orjson

from orchestrator.logs import json_line

__all__ = ["Output", "structured"]

_LINE_BYTES = 64 << 10
_LINE_CHARS = 4000
_TAIL_LINES = 200
# Severity, month and day, time, thread, source: I1121 01:09:25.074801 5270 cache_manager.cc:174] ...
_OWN = re.compile(r"(?P<level>[IWEF])\d{4} [\d:.]+\s+\d+ (?P<source>\w+\.(?:cc|h):\d+)\] ?(?P<text>.*)")
# Triton writes a line and its end one after the other, and a worker may come in between: what it says follows the quote.
_BROKEN_INTO = re.compile(r'([IWEF]\d{4} [\d:.]+\s+\d+ \w+\.(?:cc|h):\d+\] "(?:[^"\\]|\\.)*")(.+)')
_LEVELS: Final = {"I": "info", "W": "warning", "E": "error", "F": "critical"}
_HARMLESS = (
    "CudaDriverHelper has not been initialized",  # no GPU
    "unable to create stream for",  # no GPU: said of every ensemble
    "no pinned memory pool, falling back",  # no GPU
    "DCGM unable to start",
    "Failed to initialize NVML",
    "HandleCancellation called even when",  # Triton's own surprise at a stream that ended with an error
)


def structured(line: str) -> str:
    """A line of Triton's, or of its workers, as JSON. A worker's own JSON is as it is."""
    if line.startswith("{"):
        with contextlib.suppress(ValueError):
            if "message" in orjson.loads(line):
                return line
    match = _OWN.match(line)
    if match is None:
        return json_line("info", "output", line, more={"process": "triton"})
    more = {"process": "triton", "source": match["source"]}
    return json_line(_LEVELS[match["level"]], "triton", match["text"].strip(), more=more)


class Output:
    """Reads a server's output in a thread of its own, until its end.

    Args:
        stream: binary, closed by the caller after `join`.
        log: gets each line that is not Triton's own routine talk; called in the reading thread.
    """

    def __init__(self, stream: IO[bytes], log: Callable[[str], None] | None) -> None:
        self._stream = stream
        self._log = log
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._in_table = False
        self._thread = threading.Thread(target=self._read, name="triton-output", daemon=True)
        self._thread.start()

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines, Triton's own included."""
        return tuple(self._tail)

    def last_error(self) -> str | None:
        """Text of the last line that Triton itself logged as an error."""
        for line in reversed(self.tail):
            match = _OWN.match(line)
            if match and match["level"] in "EF" and not any(text in line for text in _HARMLESS):
                return match["text"].strip().strip('"').strip()
        return None

    def join(self, timeout_s: float) -> None:
        """Waits for the end of the output."""
        self._thread.join(timeout_s)

    def _read(self) -> None:
        with contextlib.suppress(ValueError, OSError):  # closed under us
            while raw := self._stream.readline(_LINE_BYTES):
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                broken = _BROKEN_INTO.fullmatch(line)
                for each in broken.groups() if broken else (line,):
                    self._take(each)

    def _take(self, line: str) -> None:
        self._tail.append(line[:_LINE_CHARS])
        if self._log is not None and self._worth_reading(line):
            # A fault of the receiver must not end the reading: Triton would stop on a full pipe.
            with contextlib.suppress(Exception):
                self._log(line)

    def _worth_reading(self, line: str) -> bool:
        match = _OWN.match(line)
        if match:
            self._in_table = match["level"] == "I" and not match["text"]  # a table follows, up to an empty line
            return match["level"] != "I" and not any(text in line for text in _HARMLESS)
        if self._in_table:
            self._in_table = line.startswith(("+", "|"))
            return False
        return bool(line.strip()) and not line.startswith("Signal (") and not any(text in line for text in _HARMLESS)
