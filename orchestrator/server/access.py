"""The access log: one line a request, as BentoML's users know it."""

import logging
import time
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.spec import AccessLog

__all__ = ["ACCESS_LOGGER", "AccessLogger"]

ACCESS_LOGGER: Final = "orchestrator.access"
"""Whoever runs the front-end gives it a handler."""
_NO_HEADERS: Final = Headers(raw=[])


class AccessLogger:
    """Writes a line once a request is answered to its end.

    `127.0.0.1:41234 (scheme=http,method=POST,path=/classify,type=application/json,length=17)
    (status=200,type=application/json,length=5) 3.046ms (request=6f2c...)`

    Args:
        app: what is behind.
        options: what a line tells.
        prefix: in front of every route; `skip_paths` are without it.
    """

    def __init__(self, app: ASGIApp, *, options: AccessLog, prefix: str) -> None:
        self._app = app
        self._options = options
        self._skipped = frozenset(prefix + path for path in options.skip_paths)
        self._logger = logging.getLogger(ACCESS_LOGGER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._skipped:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status, headers = 500, _NO_HEADERS

        async def noting(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], Headers(raw=message.get("headers", []))
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._write(scope, status, headers, (time.perf_counter() - started) * 1000)

    def _write(self, scope: Scope, status: int, headers: Headers, took_ms: float) -> None:
        options = self._options
        # Not the decoded path: a line is a line, whatever is asked for.
        path = scope.get("raw_path", scope["path"].encode()).decode("ascii", "backslashreplace")
        request = [f"scheme={scope['scheme']}", f"method={scope['method']}", f"path={path}"]
        request += _described(Headers(scope=scope), options.request_content_type, options.request_content_length)
        response = [f"status={status}"]
        response += _described(headers, options.response_content_type, options.response_content_length)
        client = ":".join(map(str, scope.get("client") or ("-",)))
        request_id = headers.get("x-request-id", "-")
        words = client, ",".join(request), ",".join(response), took_ms, request_id
        self._logger.info("%s (%s) (%s) %.3fms (request=%s)", *words)


def _described(headers: Headers, content_type: bool, content_length: bool) -> list[str]:
    words = [f"type={headers.get('content-type', '')}"] if content_type else []
    return [*words, f"length={headers.get('content-length', '')}"] if content_length else words
