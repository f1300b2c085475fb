"""What one call carries besides its arguments and its result, as data that crosses processes."""

from enum import StrEnum
from typing import Final

from orchestrator.spec.frozen import Frozen

__all__ = ["PRIORITY_HEADER", "TIMEOUT_HEADER", "TRACE_HEADERS", "CallInfo", "Cookie", "Priority", "ResponseEffects"]

Pairs = tuple[tuple[str, str], ...]
TIMEOUT_HEADER: Final = "x-request-timeout"
"""Header of a request: seconds that its caller waits."""
PRIORITY_HEADER: Final = "x-request-priority"
"""Header of a request: a `Priority`."""
TRACE_HEADERS: Final = ("traceparent", "tracestate")
"""Headers of the W3C trace context."""


class Priority(StrEnum):
    """Who goes first where calls wait; the first one first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class CallInfo(Frozen):
    """The HTTP request behind a call, for methods that take a context.

    Attributes:
        headers: in order, names in lower case.
        client: host and port of the caller, or None.
    """

    method: str = "POST"
    url: str = ""
    headers: Pairs = ()
    client: tuple[str, int] | None = None
    request_id: str = ""


class Cookie(Frozen):
    """A cookie to set; the attributes of RFC 6265, `expires` in seconds from now or as a date text."""

    key: str
    value: str
    max_age: int | None = None
    expires: int | str | None = None
    path: str | None = "/"
    domain: str | None = None
    secure: bool = False
    httponly: bool = False
    samesite: str | None = "lax"


class ResponseEffects(Frozen):
    """What a method asked of its HTTP response.

    Attributes:
        status: None where it said nothing.
        hint: of the result's tensor; see `codec.Packed`.
    """

    status: int | None = None
    headers: Pairs = ()
    cookies: tuple[Cookie, ...] = ()
    hint: str = ""
