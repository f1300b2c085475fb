"""Sans I/O: builds a request, reads a reply. Every transport uses these functions and nothing else of HTTP.

`build_request` and `read_reply` know nothing of the server; `build_call` goes by its schema, as `results.py` does for replies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from orchestrator.client.bodies import jsonable, request_body
from orchestrator.client.endpoints import Endpoint
from orchestrator.client.results import accepted
from orchestrator.errors import (
    BackendUnavailable,
    CallError,
    DeadlineExceeded,
    EndpointNotFound,
    Forbidden,
    InvalidInput,
    Overloaded,
    PayloadTooLarge,
    RequestFailed,
    ServiceFault,
    Unauthenticated,
    UnsupportedMedia,
)

__all__ = ["WireRequest", "build_call", "build_request", "error_of", "read_reply"]

_URN: Final = "urn:orchestrator:error:"
_LATER: Final = {kind.code: kind for kind in (Overloaded, BackendUnavailable)}
"""Errors that say when to try again."""


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One HTTP request, without an address."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def build_request(api: str, arguments: Mapping[str, Any]) -> WireRequest:
    """A call of an API as a request.

    Args:
        api: its name, or its route where it starts with `/`.
        arguments: by name; numpy arrays and pydantic models are fine.

    Raises:
        InvalidInput: a value has no JSON form.
    """
    try:
        body = orjson.dumps(arguments, default=jsonable, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise InvalidInput(f"an argument of {api} has no JSON form: {error}") from error
    path = api if api.startswith("/") else f"/{api}"
    return WireRequest("POST", path, {"content-type": "application/json"}, body)


def build_call(endpoint: Endpoint, args: Sequence[Any], kwargs: Mapping[str, Any]) -> WireRequest:
    """A call of an API that the server's schema tells of.

    Raises:
        TypeError: not this API's arguments.
        InvalidInput: a value cannot be sent.
    """
    content_type, body = request_body(endpoint, args, kwargs)
    return WireRequest("POST", endpoint.route, {"content-type": content_type, "accept": accepted(endpoint)}, body)


def read_reply(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """The result of a call.

    Args:
        headers: names in lower case.

    Returns:
        Text for `text/plain`, the value for JSON, else the bytes.

    Raises:
        CallError: of the class that the server meant.
    """
    media = headers.get("content-type", "").partition(";")[0]
    if status < 400:
        if media == "text/plain":
            return body.decode()
        return orjson.loads(body) if media == "application/json" else body
    raise error_of(status, headers, body)


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> CallError:
    """The error that a reply stands for.

    Args:
        status: 400 or above.
        headers: names in lower case.
    """
    problem = _problem(body)
    message, code = problem.get("detail"), str(problem.get("type", "")).removeprefix(_URN)
    if not isinstance(message, str) or not message:
        said = f"the server answered {status}: {_said(body)}"
        return InvalidInput(said, problems=message) if isinstance(message, list) else _by_status(status, headers, said)
    if code == InvalidInput.code:
        return InvalidInput(message, problems=problem.get("errors", ()))
    if code in _LATER:
        return _LATER[code](message, retry_after_s=_retry_after_s(headers))
    if code == RequestFailed.code:
        return RequestFailed(message, status=status, name=problem.get("name"))
    by_code = {kind.code: kind for kind in CallError.__subclasses__()}
    return by_code[code](message) if code in by_code else _by_status(status, headers, message)


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """What `Retry-After` says; a second where it says nothing, or a date."""
    said = headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() else 1.0


def _problem(body: bytes) -> Mapping[str, Any]:
    try:
        problem = orjson.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _by_status(status: int, headers: Mapping[str, str], message: str) -> CallError:
    by_status: dict[int, type[CallError]] = {
        400: InvalidInput,
        401: Unauthenticated,
        403: Forbidden,
        404: EndpointNotFound,
        405: EndpointNotFound,
        413: PayloadTooLarge,
        415: UnsupportedMedia,
        504: DeadlineExceeded,
    }
    if status in (429, 503):
        later = Overloaded if status == 429 else BackendUnavailable
        return later(message, retry_after_s=_retry_after_s(headers))
    return by_status.get(status, ServiceFault)(message)


def _said(body: bytes) -> str:
    """What another server than ours says: BentoML's `{"error": ...}`, alone or in a list, or its text."""
    try:
        document = orjson.loads(body)
        first = document[0] if isinstance(document, list) else document
        return str(first["error"])
    except (ValueError, KeyError, TypeError, IndexError):
        return body[:200].decode(errors="replace")
