"""What a method may know of its call: `Context`, and the worker around it: `server_context`."""

import contextvars
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qsl, urlsplit

from orchestrator.spec import CallInfo, Cookie, ResponseEffects

__all__ = [
    "Context",
    "Headers",
    "Request",
    "Response",
    "RunningCall",
    "ServerContext",
    "current_instance",
    "get_current_service",
    "running_call",
    "server_context",
    "set_process_service",
]

current_instance: contextvars.ContextVar[Any] = contextvars.ContextVar("orchestrator_current_instance")
"""The service's instance that the running call belongs to."""


@dataclass(frozen=True, slots=True)
class RunningCall:
    """The call that code runs for: what the calls that it makes itself inherit.

    Attributes:
        request_id: of the request that it all began with.
        deadline: seconds since 1970; None for no limit.
        numbers: of the calls that wait for this one, on the cancel board of this machine.
        trace: the W3C trace context, as headers.
        workspace: where files may be put that are of use until this call ends.
        end: why nobody waits for it any more; None while somebody does.
        runs_on: is told of work that goes on where this call has ended without it; see `engine.InferRequest`.
    """

    request_id: str = ""
    deadline: float | None = None
    numbers: tuple[int, ...] = ()
    trace: tuple[tuple[str, str], ...] = ()
    workspace: "_Folder | None" = None
    end: Callable[[], Exception | None] = lambda: None
    runs_on: Callable[[Any], None] | None = None


running_call: contextvars.ContextVar[RunningCall | None] = contextvars.ContextVar(
    "orchestrator_running_call", default=None
)
"""None outside of calls: in `__init__` and hooks."""


_process_instance: Any = None


def get_current_service() -> Any:
    """The service's instance that the running call belongs to; outside a call, the one that this process runs.

    Raises:
        RuntimeError: there is none (yet).
    """
    instance = current_instance.get(_process_instance)
    if instance is None:
        raise RuntimeError("no service runs here; its instance is there once its __init__ has ended")
    return instance


def set_process_service(instance: Any) -> None:
    """Says which instance this process runs; None for none any more."""
    global _process_instance
    _process_instance = instance


class Headers(MutableMapping[str, str]):
    """HTTP headers: names without case, any of them more than once.

    `headers[name]` is the first value; setting a name replaces all of its values; `append` adds one.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]] | Mapping[str, str] = ()) -> None:
        items = pairs.items() if isinstance(pairs, Mapping) else pairs
        self._pairs = [(name.lower(), str(value)) for name, value in items]

    def __getitem__(self, name: str) -> str:
        for key, value in self._pairs:
            if key == name.lower():
                return value
        raise KeyError(name)

    def __setitem__(self, name: str, value: str) -> None:
        self._pairs = [pair for pair in self._pairs if pair[0] != name.lower()]
        self.append(name, value)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._pairs = [pair for pair in self._pairs if pair[0] != name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(key == name.lower() for key, _ in self._pairs)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key for key, _ in self._pairs))

    def __len__(self) -> int:
        return len({key for key, _ in self._pairs})

    def __repr__(self) -> str:
        return f"Headers({self._pairs!r})"

    def append(self, name: str, value: str) -> None:
        """Adds a value and keeps those that are there.

        Raises:
            ValueError: a line break or another control character, which would start a header of its own.
        """
        text = str(value)
        if any(ord(c) < 32 or ord(c) == 127 for c in name + text) or not name.strip():
            raise ValueError(f"header {name!r}: control characters are not allowed")
        self._pairs.append((name.lower(), text))

    add = append

    def getlist(self, name: str) -> list[str]:
        """All values of a name."""
        return [value for key, value in self._pairs if key == name.lower()]

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """All names and values, in order."""
        return tuple(self._pairs)


class Address(tuple[str, int]):
    """Host and port of a caller."""

    __slots__ = ()

    @property
    def host(self) -> str:
        return self[0]

    @property
    def port(self) -> int:
        return self[1]


class Url(str):
    """An address as text, and its parts."""

    __slots__ = ()

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(str(self))

    @property
    def path(self) -> str:
        return self._parts.path

    @property
    def query(self) -> str:
        return self._parts.query

    @property
    def scheme(self) -> str:
        return self._parts.scheme

    @property
    def hostname(self) -> str | None:
        return self._parts.hostname

    @property
    def port(self) -> int | None:
        return self._parts.port


class Request:
    """The HTTP request behind a call; empty where the caller is a plain Triton client."""

    def __init__(self, info: CallInfo) -> None:
        self._info = info
        self.headers = Headers(info.headers)

    @property
    def method(self) -> str:
        return self._info.method

    @property
    def url(self) -> Url:
        return Url(self._info.url)

    @property
    def request_id(self) -> str:
        return self._info.request_id

    @property
    def metadata(self) -> Headers:
        """The headers, under BentoML's name."""
        return self.headers

    @property
    def query_params(self) -> dict[str, str]:
        return dict(parse_qsl(self.url.query, keep_blank_values=True))

    @property
    def cookies(self) -> dict[str, str]:
        jar = SimpleCookie()
        try:
            jar.load("; ".join(self.headers.getlist("cookie")))
        except CookieError:
            return {}
        return {name: morsel.value for name, morsel in jar.items()}

    @property
    def client(self) -> Address | None:
        return Address(self._info.client) if self._info.client else None


class Response:
    """The HTTP response of a call, as far as the method says.

    Attributes:
        status_code: None leaves 200.
        headers: added to the server's own.
        cookies: set on the caller.
    """

    def __init__(self) -> None:
        self.status_code: int | None = None
        self.headers = Headers()
        self.cookies: list[Cookie] = []

    @property
    def metadata(self) -> Headers:
        """The headers, under BentoML's name."""
        return self.headers

    def set_cookie(self, key: str, value: str = "", **attributes: Any) -> None:
        """Adds a cookie: `max_age`, `expires`, `path`, `domain`, `secure`, `httponly`, `samesite`."""
        self.cookies.append(Cookie(key=key, value=value, **attributes))

    def effects(self, hint: str = "") -> ResponseEffects:
        """What was asked for, as data."""
        return ResponseEffects(
            status=None if self.status_code is None else int(self.status_code),
            headers=self.headers.pairs(),
            cookies=tuple(self.cookies),
            hint=hint,
        )


class _Folder(Protocol):
    def folder(self) -> Path: ...


class _Lifetime(Protocol):
    @property
    def deadline(self) -> float | None: ...

    def end(self) -> Exception | None: ...


@dataclass(slots=True)
class Context:
    """What a method with an argument `ctx` or `context` gets.

    Attributes:
        request: method, url, headers, cookies, client of the HTTP request.
        response: status, headers and cookies of the answer.
        state: one dictionary a worker process, shared by all of its calls.
    """

    request: Request
    response: Response
    state: dict[str, Any]
    _workspace: _Folder = field(repr=False)
    _lifetime: _Lifetime = field(repr=False)

    @property
    def deadline(self) -> float | None:
        """When the caller stops waiting, in seconds since 1970 as `time.time()` counts them; None for never."""
        return self._lifetime.deadline

    @property
    def time_left(self) -> float | None:
        """Seconds until the deadline, 0 once it has passed; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.time())

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more: the caller has gone, or the deadline has passed.

        Async methods need not ask: they are cancelled. A sync method that asks from time to time (1 us) can stop early.
        """
        return self._lifetime.end() is not None

    @property
    def temp_dir(self) -> str:
        """A folder of this call's own: made on the first use, removed after the call."""
        return str(self._workspace.folder())


@dataclass
class ServerContext:
    """The worker that the code runs in.

    Attributes:
        worker_index: counted from 1; 0 outside a worker.
        service_name: "" outside a worker.
    """

    worker_index: int = 0
    service_name: str = ""
    service_type: str = "service"
    bento_name: str = ""
    bento_version: str = "not available"


server_context = ServerContext()
