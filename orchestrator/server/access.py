"""The access log: one line a request, as BentoML's users know it."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.logs import is_json
from orchestrator.server.auth_client import CHECKED_CLIENT
from orchestrator.spec import AccessLog

__all__ = ["ACCESS_LOGGER", "AccessFormatter", "AccessLogger"]

ACCESS_LOGGER: Final = "orchestrator.access"
"""Whoever runs the front-end gives it a handler."""
_TYPE, _LENGTH = b"content-type", b"content-length"
_TOLD: Final = frozenset({_TYPE, _LENGTH, b"x-request-id", b"x-trace-id"})
RawHeaders = Iterable[tuple[bytes, bytes]]
_NO_HEADERS: Final[RawHeaders] = ()
_LATER_S: Final = 0.1
_MOST_WAITING: Final = 500


@dataclass(frozen=True, slots=True)
class _Answered:
    """What is known at the end of an answer; the rest of a line is made of it later."""

    scope: Scope
    status: int
    headers: RawHeaders
    at_s: float
    took_ms: float
    caller: str


class AccessLogger:
    """Writes a line for each request that was answered to its end; where lines are JSON, with a field for each of its words.

    `127.0.0.1:41234 (scheme=http,method=POST,path=/classify,type=application/json,length=17)
    (status=200,type=application/json,length=5) 3.046ms (request=6f2c...)`

    Lines are made and written together, a moment later and at the end of the application: one at a time each costs four
    times as much, in the middle of what else the processor has in its caches.

    Args:
        app: what is behind.
        options: what a line tells.
        prefix: in front of every route; `skip_paths` are without it.
    """

    def __init__(self, app: ASGIApp, *, options: AccessLog, prefix: str) -> None:
        self._app = app
        self._options = options
        self._skipped = frozenset(prefix + path for path in options.skip_paths)
        self._as_json = is_json()
        self._logger = logging.getLogger(ACCESS_LOGGER)
        self._always = vars(logging.LogRecord(ACCESS_LOGGER, logging.INFO, __file__, 0, "", None, None))
        self._waiting: list[_Answered] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                await self._app(scope, receive, send)
            finally:
                self.flush()
            return
        if scope["type"] != "http" or scope["path"] in self._skipped:
            await self._app(scope, receive, send)
            return
        CHECKED_CLIENT.set("")
        started = time.perf_counter()
        status, headers = 500, _NO_HEADERS

        async def noting(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], message.get("headers", _NO_HEADERS)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            took_ms = (time.perf_counter() - started) * 1000
            self._waiting.append(_Answered(scope, status, headers, time.time(), took_ms, CHECKED_CLIENT.get()))
            if len(self._waiting) == 1:
                asyncio.get_running_loop().call_later(_LATER_S, self.flush)
            elif len(self._waiting) >= _MOST_WAITING:
                self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        waiting, self._waiting = self._waiting, []
        for answered in waiting:
            self._write(answered)

    def _write(self, answered: _Answered) -> None:
        scope, status, caller, took_ms = answered.scope, answered.status, answered.caller, answered.took_ms
        # Not the decoded path: a line is a line, whatever is asked for.
        path = scope.get("raw_path", scope["path"].encode()).decode("ascii", "backslashreplace")
        options = self._options
        asked, said = _picked(scope["headers"]), _picked(answered.headers)
        client = ":".join(map(str, scope.get("client") or ("-",)))
        request_id, trace_id = said.get(b"x-request-id", "-"), said.get(b"x-trace-id", "")
        if self._as_json:
            fields = {
                "client": client,
                "caller": caller,
                "scheme": scope["scheme"],
                "method": scope["method"],
                "path": path,
                "status": status,
                "duration_ms": round(took_ms, 3),
                "request_type": asked.get(_TYPE) if options.request_content_type else None,
                "request_length": asked.get(_LENGTH) if options.request_content_length else None,
                "response_type": said.get(_TYPE) if options.response_content_type else None,
                "response_length": said.get(_LENGTH) if options.response_content_length else None,
                "request_id": request_id,
                "trace_id": trace_id,
            }
            self._log(answered.at_s, f"{scope['method']} {path} {status}", fields)
            return
        request = _described(asked, options.request_content_type, options.request_content_length)
        response = _described(said, options.response_content_type, options.response_content_length)
        request += f",caller={caller}" if caller else ""
        trace = f",trace={trace_id}" if trace_id else ""
        self._log(
            answered.at_s,
            f"{client} (scheme={scope['scheme']},method={scope['method']},path={path}{request}) (status={status}{response}) "
            f"{took_ms:.3f}ms (request={request_id}{trace})",
        )

    def _log(self, at_s: float, line: str, fields: Mapping[str, Any] | None = None) -> None:
        """As `Logger.info` at that moment, but thread, process and line of code, which are always the same, are not looked up."""
        if self._logger.isEnabledFor(logging.INFO):
            record = logging.LogRecord.__new__(logging.LogRecord)
            record.__dict__.update(self._always, msg=line, created=at_s, msecs=at_s % 1 * 1000, fields=fields)
            self._logger.handle(record)


class AccessFormatter(logging.Formatter):
    """Local time and the line. Time is formatted once a second, which is half of what the standard library's takes."""

    def __init__(self) -> None:
        super().__init__()
        self._second, self._text = -1, ""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        second = int(record.created)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._text},{int(record.msecs):03d} {record.getMessage()}"


def _picked(headers: RawHeaders) -> dict[bytes, str]:
    """The headers that a line tells of; the first of each name."""
    picked: dict[bytes, str] = {}
    for name, value in headers:
        if name in _TOLD:
            picked.setdefault(name, value.decode("latin-1"))
    return picked


def _described(headers: Mapping[bytes, str], content_type: bool, content_length: bool) -> str:
    described = f",type={headers.get(_TYPE, '')}" if content_type else ""
    return f"{described},length={headers.get(_LENGTH, '')}" if content_length else described
