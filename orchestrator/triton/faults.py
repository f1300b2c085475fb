"""The one table from gRPC statuses to our errors.

Two sorts of status arrive. Those of our own worker carry the error that it raised, as JSON behind the sentence for a
person (`<sentence>\\n\\x1e<json>`), and become that error again. All others are Triton's or gRPC's own and go by code
and text; what they say of their insides is kept for the log (`StatusCause`) and not shown to callers.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from orchestrator.errors import (
    BackendUnavailable,
    CallCancelled,
    CallError,
    DeadlineExceeded,
    EndpointNotFound,
    InvalidInput,
    Overloaded,
    PayloadTooLarge,
    RequestFailed,
    ServiceFault,
)

__all__ = ["TAIL_MARK", "StatusCause", "from_status"]

TAIL_MARK = "\n\x1e"
"""Between the sentence and the JSON of a worker's error."""

_REQUEST_ID = re.compile(r"^\[request id: .*?\] ")
Code = grpc.StatusCode


class StatusCause(Exception):
    """The status behind an error: its `__cause__`, for the log.

    Attributes:
        status: gRPC's code.
        text: the message as it came.
        details: what the worker sent along (`code`, `message`, `status`, `name`, ...), empty for foreign statuses.
    """

    def __init__(self, status: grpc.StatusCode, text: str, details: Mapping[str, Any]) -> None:
        super().__init__(f"{status.name}: {text}")
        self.status = status
        self.text = text
        self.details = details


@dataclass(frozen=True, slots=True)
class _Rule:
    """What becomes of a foreign status.

    Attributes:
        codes: those it is for; empty for any.
        text: pattern to find in the message; empty for any.
        error: our class.
        message: what the caller reads; None shows Triton's own text, which names only the caller's own doing.
    """

    codes: frozenset[Any]
    text: str
    error: type[CallError]
    message: str | None


def _rule(codes: Any, text: str, error: type[CallError], message: str | None) -> _Rule:
    return _Rule(frozenset(codes if isinstance(codes, tuple) else (codes,)), text, error, message)


# First match wins: texts before codes, as Triton uses one code for different things. UNKNOWN: a stream's bare text.
_RULES = (
    _rule((Code.NOT_FOUND, Code.UNAVAILABLE, Code.UNKNOWN), r"unknown model: '.*' is not found",
          EndpointNotFound, "there is no such model"),
    _rule((Code.INTERNAL, Code.UNKNOWN), r"Stub process '.*' is not healthy",
          BackendUnavailable, "the model's worker process has died"),
    _rule((Code.UNAVAILABLE, Code.UNKNOWN), r"[Ee]xceeds maximum queue size", Overloaded, "the model's queue is full"),
    _rule(Code.UNKNOWN, r"unknown model: '.*' has no available versions",
          BackendUnavailable, "the model is not loaded"),
    _rule(Code.UNKNOWN, r"^(\[request id: .*?\] )?(unexpected|expected|inference input) .* model '",
          InvalidInput, None),
    _rule(Code.RESOURCE_EXHAUSTED, r"metadata size exceeds", ServiceFault, "the service failed"),
    _rule(Code.RESOURCE_EXHAUSTED, r"message larger than max|message size",
          PayloadTooLarge, "the tensors are larger than Triton takes"),
    _rule(Code.RESOURCE_EXHAUSTED, "", Overloaded, "Triton is out of resources"),
    _rule(Code.UNAVAILABLE, "", BackendUnavailable, "Triton cannot be reached"),
    _rule(Code.NOT_FOUND, "", BackendUnavailable, "the model is not loaded"),
    _rule(Code.DEADLINE_EXCEEDED, "", DeadlineExceeded, "the model did not answer in time"),
    _rule(Code.INVALID_ARGUMENT, "", InvalidInput, None),
    _rule(Code.CANCELLED, "", CallCancelled, "the call was cancelled"),
    _rule(Code.UNIMPLEMENTED, r"decoupled", ServiceFault, "the model streams its answers: call it as a stream"),
    _rule((), "", ServiceFault, "the service failed"),
)  # fmt: skip


def from_status(code: grpc.StatusCode, text: str) -> CallError:
    """The error that a status stands for.

    Args:
        code: gRPC's.
        text: the status message, complete.

    Returns:
        An error to raise, its `__cause__` a `StatusCause`.
    """
    details = _worker_details(text)
    error = _foreign(code, text) if details is None else _rebuild(details)
    error.__cause__ = StatusCause(code, text, details or {})
    return error


def _foreign(code: grpc.StatusCode, text: str) -> CallError:
    rule = next(rule for rule in _RULES if (not rule.codes or code in rule.codes) and re.search(rule.text, text))
    return rule.error(_REQUEST_ID.sub("", text).strip() if rule.message is None else rule.message)


def _worker_details(text: str) -> dict[str, Any] | None:
    _, mark, tail = text.rpartition(TAIL_MARK)
    if not mark:
        return None
    try:
        # Triton may put words of its own behind (an ensemble does), so only the JSON value counts.
        details, _ = json.JSONDecoder().raw_decode(tail.strip())
    except ValueError:
        return None
    return details if isinstance(details, dict) and isinstance(details.get("message"), str) else None


def _rebuild(details: Mapping[str, Any]) -> CallError:
    message = details["message"]
    kind = next((each for each in _call_errors() if each.code == details.get("code")), ServiceFault)
    if issubclass(kind, InvalidInput):
        problems = details.get("problems")
        return kind(message, problems=problems if isinstance(problems, list) else ())
    if issubclass(kind, RequestFailed):
        return RequestFailed(message, status=details.get("status"), name=details.get("name"))
    return kind(message)


def _call_errors() -> Iterator[type[CallError]]:
    """The whole tree, a class before its subclasses: a user's own subclass may want other arguments."""
    classes: list[type[CallError]] = [CallError]
    for each in classes:
        yield each
        classes.extend(each.__subclasses__())
