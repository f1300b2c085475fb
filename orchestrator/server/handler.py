"""The path of one call through the front-end: bytes in, bytes out. No FastAPI in here.

body -> plain arguments (`ArgumentReader`) -> `Invoker` -> plain result -> body. Everything that can fail raises one of our
errors, and becomes a problem in one place.
"""

import logging
from typing import Any, Final

from orchestrator.codec import codec_of
from orchestrator.engine import Invoker
from orchestrator.errors import OrchestratorError
from orchestrator.server.arguments import ArgumentReader
from orchestrator.server.problems import problem, problem_of
from orchestrator.server.reply import Reply
from orchestrator.spec import ApiSpec, ValueKind, ValueSpec

__all__ = ["ApiHandler", "media_type_of"]

_INTERNAL: Final = "the server failed; its log explains it under the request's id"
logger = logging.getLogger("orchestrator.server")


def media_type_of(value: ValueSpec) -> str:
    """What a result is sent as."""
    return "text/plain; charset=utf-8" if value.kind is ValueKind.TEXT else "application/json"


class ApiHandler:
    """Answers the calls of one API."""

    def __init__(self, api: ApiSpec, invoker: Invoker) -> None:
        self._api = api
        self._invoker = invoker
        self._reader = ArgumentReader(api)
        self._media_type = media_type_of(api.result)
        self._codec = codec_of(api.result.kind)

    async def handle(self, body: bytes, content_type: str, request_id: str) -> Reply:
        """Answers one call. Never raises, but for cancellation."""
        try:
            arguments = self._reader.read(body, content_type)
            result = (await self._invoker.call(self._api.name, arguments, request_id=request_id)).value
            return Reply(200, self._body(result), self._media_type)
        except OrchestratorError as error:
            reply = problem_of(error, request_id)
            if reply.status >= 500:
                logger.warning("request %s to %s: %s: %s", request_id, self._api.route, type(error).__name__, error)
            return reply
        except Exception:
            logger.exception("request %s to %s failed", request_id, self._api.route)
            return problem(500, "internal", _INTERNAL, request_id)

    def _body(self, result: Any) -> bytes:
        if self._api.result.kind is ValueKind.TEXT:
            return str(result).encode()
        return self._codec.to_json(self._api.result, result)
