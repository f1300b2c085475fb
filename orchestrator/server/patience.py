"""Who calls, how long they wait, and how urgent it is: read from a request."""

import math
import re
import time
from collections.abc import Mapping
from typing import Final

from orchestrator.errors import InvalidInput
from orchestrator.spec import PRIORITY_HEADER, TIMEOUT_HEADER, Priority

__all__ = ["Caller", "timeout_in"]

_GRPC_TIMEOUT_HEADER: Final = "grpc-timeout"
_GRPC_TIMEOUT: Final = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS_S: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_KEY_HEADERS: Final = ("authorization", "x-api-key")


class Caller:
    """Whoever waits for an answer.

    Args:
        headers: of the request, names in lower case.
        address: of its connection.
        priority: where the request names none.
        arrived: when the request came, by the monotonic clock.

    Attributes:
        deadline: when they stop waiting, by the monotonic clock; infinite where they do not say.

    Raises:
        InvalidInput: a header cannot be read.
    """

    __slots__ = ("_address", "_headers", "deadline", "priority")

    def __init__(
        self,
        headers: Mapping[str, str],
        address: str = "",
        priority: Priority = Priority.NORMAL,
        arrived: float | None = None,
    ) -> None:
        self._headers = headers
        self._address = address
        timeout_s = timeout_in(headers)
        self.deadline = math.inf if timeout_s is None else (arrived or time.monotonic()) + timeout_s
        named = headers.get(PRIORITY_HEADER)
        self.priority = priority if named is None else _priority(named)

    def within(self, seconds: float) -> None:
        """Makes the deadline at most so many seconds from now."""
        self.deadline = min(self.deadline, time.monotonic() + seconds)

    @property
    def client(self) -> str:
        """Who takes turns with other clients: the API key as it is sent, which nobody has checked, or the address."""
        for name in _KEY_HEADERS:
            if key := self._headers.get(name):
                return key
        return self._address


def timeout_in(headers: Mapping[str, str]) -> float | None:
    """Seconds that a request's headers allow; None where they do not say.

    Raises:
        InvalidInput: they cannot be read.
    """
    given = headers.get(TIMEOUT_HEADER)
    if given is not None:
        try:
            seconds = float(given)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise InvalidInput(f"the header {TIMEOUT_HEADER} takes seconds above 0, not {given!r}")
        return seconds
    given = headers.get(_GRPC_TIMEOUT_HEADER)
    if given is None:
        return None
    match = _GRPC_TIMEOUT.fullmatch(given)
    if match is None:
        raise InvalidInput(f"the header {_GRPC_TIMEOUT_HEADER} takes a number and one of H M S m u n, not {given!r}")
    return int(match[1]) * _UNITS_S[match[2]]


def _priority(named: str) -> Priority:
    try:
        return Priority(named.strip().lower())
    except ValueError:
        raise InvalidInput(f"the header {PRIORITY_HEADER} takes {', '.join(Priority)}, not {named!r}") from None
