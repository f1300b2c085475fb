"""Our errors as HTTP: the one table of statuses, and the body that every failed request gets."""

import json
import math
from http import HTTPStatus
from typing import Any, Final

from orchestrator.errors import (
    BackendUnavailable,
    CallCancelled,
    DeadlineExceeded,
    DeploymentError,
    EndpointNotFound,
    Forbidden,
    InvalidInput,
    OrchestratorError,
    OutputMismatch,
    Overloaded,
    PayloadTooLarge,
    RequestFailed,
    ServiceFault,
    Unauthenticated,
    UnsupportedMedia,
)
from orchestrator.server.reply import Reply

__all__ = ["PROBLEM_SCHEMA", "STATUSES", "problem", "problem_of"]

STATUSES: Final[dict[type[OrchestratorError], int]] = {
    InvalidInput: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    EndpointNotFound: 404,
    DeploymentError: 409,
    PayloadTooLarge: 413,
    UnsupportedMedia: 415,
    Overloaded: 429,
    CallCancelled: 499,
    ServiceFault: 500,
    OutputMismatch: 500,
    BackendUnavailable: 503,
    DeadlineExceeded: 504,
    OrchestratorError: 500,
}
PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457, problem details).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "error", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "kind of error: `urn:orchestrator:error:<code>`"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "one sentence"},
        "error": {"type": "string", "description": "the same sentence, under the key that BentoML's clients know"},
        "request_id": {"type": "string", "description": "what the server's log names this request"},
        "name": {"type": "string", "description": "of an error of the service's own: its class"},
        "errors": {
            "type": "array",
            "description": "one item a field that is wrong",
            "items": {
                "type": "object",
                "required": ["loc", "msg", "type"],
                "properties": {
                    "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
                    "msg": {"type": "string"},
                    "type": {"type": "string"},
                },
            },
        },
    },
}


def problem(
    status: int,
    code: str,
    detail: str,
    request_id: str,
    *,
    errors: Any = None,
    name: str | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """A failed request's answer."""
    body: dict[str, Any] = {
        "type": f"urn:orchestrator:error:{code}",
        "title": _title(status),
        "status": status,
        "detail": detail,
        "error": detail,
        "request_id": request_id,
    }
    if errors is not None:
        body["errors"] = errors
    if name is not None:
        body["name"] = name
    # Not orjson: an error's text may hold half a surrogate pair, and its answer must not fail.
    text = json.dumps(body, default=str, ensure_ascii=False, separators=(",", ":"))
    return Reply(status, text.encode(errors="replace"), "application/problem+json", headers or {})


def problem_of(error: OrchestratorError, request_id: str) -> Reply:
    """The answer to a request that failed with one of our errors."""
    if isinstance(error, RequestFailed):
        status = error.status if 400 <= error.status <= 599 else 500
        return problem(status, error.code, str(error) or _title(status), request_id, name=error.name)
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    headers = {}
    if isinstance(error, (Overloaded, BackendUnavailable)):
        headers = {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    errors = [dict(p) for p in error.problems] if isinstance(error, InvalidInput) else None
    return problem(status, error.code, str(error), request_id, errors=errors, headers=headers)


def _title(status: int) -> str:
    if status in HTTPStatus._value2member_map_:
        return HTTPStatus(status).phrase
    return "Client Closed Request" if status == STATUSES[CallCancelled] else "Error"
