"""Who calls, how long they wait, how urgent it is, and what it is a part of: read from a request."""

import math
import re
import time
from collections.abc import Iterable
from typing import Final

from orchestrator.errors import InvalidInput
from orchestrator.server.auth_client import CHECKED_CLIENT
from orchestrator.spec import PRIORITY_HEADER, TIMEOUT_HEADER, TRACE_HEADERS, Priority

__all__ = ["Caller"]

_GRPC_TIMEOUT_HEADER: Final = "grpc-timeout"
_GRPC_TIMEOUT: Final = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS_S: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_KEY_HEADERS: Final = (b"authorization", b"x-api-key")
_TIMEOUT, _GRPC, _PRIORITY = (name.encode() for name in (TIMEOUT_HEADER, _GRPC_TIMEOUT_HEADER, PRIORITY_HEADER))
_READ: Final = frozenset({_TIMEOUT, _GRPC, _PRIORITY, *(name.encode() for name in TRACE_HEADERS)})
_TRACE_PARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
"""W3C Trace Context, 3.2."""
_LONGEST_STATE: Final = 512
Headers = Iterable[tuple[bytes, bytes]]


class Caller:
    """Whoever waits for an answer.

    Args:
        headers: of the request as ASGI has them, names in lower case.
        address: of its connection.
        priority: where the request names none.

    Attributes:
        limit_s: how long they wait in all.
        deadline: when that ends, by the monotonic clock; infinite where they do not say.
        trace: the W3C trace context by header; empty where there is none, or none that can be read.

    Raises:
        InvalidInput: a header cannot be read.
    """

    __slots__ = ("_address", "_headers", "deadline", "limit_s", "priority", "trace")

    def __init__(self, headers: Headers, address: str = "", priority: Priority = Priority.NORMAL) -> None:
        self._headers = headers
        self._address = address
        self.priority = priority
        self.limit_s = self.deadline = math.inf
        self.trace: dict[str, str] = {}
        # Not by Starlette's mapping, which walks through all of them for each name.
        for name, value in headers:
            if name in _READ:
                self._read(name, value.decode("latin-1"))
        if self.trace and not _TRACE_PARENT.fullmatch(self.trace.get("traceparent", "")):
            self.trace = {}

    def within(self, seconds: float) -> None:
        """Makes the deadline at most so many seconds from now."""
        deadline = time.monotonic() + seconds
        if deadline < self.deadline:
            self.deadline, self.limit_s = deadline, seconds

    @property
    def client(self) -> str:
        """Who takes turns with other clients: the name of a checked key or token; else the key as it is sent, or the address."""
        if checked := CHECKED_CLIENT.get():
            return checked
        keys = {name: value for name, value in self._headers if name in _KEY_HEADERS}
        return next((keys[name].decode("latin-1") for name in _KEY_HEADERS if keys.get(name)), self._address)

    def _read(self, name: bytes, value: str) -> None:
        if name == _PRIORITY:
            self.priority = _priority(value)
        elif name not in (_TIMEOUT, _GRPC):
            if len(value) <= _LONGEST_STATE:
                self.trace[name.decode()] = value
        else:
            self.within(_seconds(value) if name == _TIMEOUT else _grpc_seconds(value))


def _seconds(given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidInput(f"the header {TIMEOUT_HEADER} takes seconds above 0, not {given!r}")
    return seconds


def _grpc_seconds(given: str) -> float:
    match = _GRPC_TIMEOUT.fullmatch(given)
    if match is None:
        raise InvalidInput(f"the header {_GRPC_TIMEOUT_HEADER} takes a number and one of H M S m u n, not {given!r}")
    return int(match[1]) * _UNITS_S[match[2]]


def _priority(named: str) -> Priority:
    try:
        return Priority(named.strip().lower())
    except ValueError:
        raise InvalidInput(f"the header {PRIORITY_HEADER} takes {', '.join(Priority)}, not {named!r}") from None
