"""Sans I/O: builds a request, reads a reply. Every transport uses these two functions and nothing else of HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from orchestrator.errors import (
    CallError,
    EndpointNotFound,
    InvalidInput,
    Overloaded,
    RequestFailed,
    ServiceFault,
    UnsupportedMedia,
)

__all__ = ["WireRequest", "build_request", "read_reply"]

_URN: Final = "urn:orchestrator:error:"


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
        body = orjson.dumps(arguments, default=_jsonable, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise InvalidInput(f"an argument of {api} has no JSON form: {error}") from error
    path = api if api.startswith("/") else f"/{api}"
    return WireRequest("POST", path, {"content-type": "application/json"}, body)


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
    raise _error_of(status, headers, body)


def _error_of(status: int, headers: Mapping[str, str], body: bytes) -> CallError:
    try:
        problem = orjson.loads(body)
        message, code = str(problem["detail"]), str(problem.get("type", "")).removeprefix(_URN)
    except (ValueError, KeyError, TypeError):
        return ServiceFault(f"the server answered {status}: {body[:200].decode(errors='replace')}")
    if code == InvalidInput.code:
        return InvalidInput(message, problems=problem.get("errors", ()))
    if code == Overloaded.code:
        return Overloaded(message, retry_after_s=float(headers.get("retry-after", 1)))
    if code == RequestFailed.code:
        return RequestFailed(message, status=status, name=problem.get("name"))
    by_code = {kind.code: kind for kind in CallError.__subclasses__()}
    by_status: dict[int, type[CallError]] = {404: EndpointNotFound, 405: EndpointNotFound, 415: UnsupportedMedia}
    return by_code.get(code, by_status.get(status, ServiceFault))(message)


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()  # text, and layouts that orjson does not read
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"a value of type {type(value).__name__}")
