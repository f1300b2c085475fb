"""The one table from gRPC statuses to our errors, for whoever hears from Triton: over the network, or from inside of it.

Two sorts of status arrive. Those of our own worker carry the error that it raised, as JSON behind the sentence for a
person (`<sentence>\\n\\x1e<json>`), and become that error again. All others are Triton's or gRPC's own and go by code
and text; what they say of their insides is not shown to callers.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

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

__all__ = ["TAIL_MARK", "WORKER_DIED", "error_of_status", "worker_details"]

TAIL_MARK: Final = "\n\x1e"
"""Between the sentence and the JSON of a worker's error."""

WORKER_DIED: Final = re.compile(r"Stub process '.*' is not healthy")
"""What Triton says of a call that met a dead worker: one that was inside it, and any that it gave to it afterwards."""

_REQUEST_ID = re.compile(r"^\[request id: .*?\] ")


@dataclass(frozen=True, slots=True)
class _Rule:
    """What becomes of a foreign status.

    Attributes:
        codes: names of gRPC's codes that it is for; empty for any.
        text: pattern to find in the message; empty for any.
        error: our class.
        message: what the caller reads; None shows Triton's own text, which names only the caller's own doing.
    """

    codes: frozenset[str]
    text: str
    error: type[CallError]
    message: str | None


def _rule(codes: str | tuple[str, ...], text: str, error: type[CallError], message: str | None) -> _Rule:
    return _Rule(frozenset(codes if isinstance(codes, tuple) else (codes,)), text, error, message)


# First match wins: texts before codes, as Triton uses one code for different things. UNKNOWN: a stream's bare text.
_RULES = (
    _rule(("NOT_FOUND", "UNAVAILABLE", "UNKNOWN"), r"unknown model: '.*' is not found",
          EndpointNotFound, "there is no such model"),
    _rule(("INTERNAL", "UNKNOWN"), WORKER_DIED.pattern,
          BackendUnavailable, "the model's worker process has died"),
    _rule(("INTERNAL", "UNKNOWN"), r"Failed to increase the shared memory pool size",
          BackendUnavailable, "the server's shared memory (/dev/shm) has no room for these tensors"),
    _rule("INTERNAL", r"Failed for execute the inference request\. Model '.*' is not ready",  # from inside of Triton
          BackendUnavailable, "the model is not loaded"),
    _rule(("UNAVAILABLE", "UNKNOWN"), r"[Ee]xceeds maximum queue size", Overloaded, "the model's queue is full"),
    _rule("UNKNOWN", r"unknown model: '.*' has no available versions",
          BackendUnavailable, "the model is not loaded"),
    _rule("UNKNOWN", r"^(\[request id: .*?\] )?(unexpected|expected|inference input) .* model '",
          InvalidInput, None),
    _rule("RESOURCE_EXHAUSTED", r"metadata size exceeds", ServiceFault, "the service failed"),
    _rule("RESOURCE_EXHAUSTED", r"message larger than max|message size",
          PayloadTooLarge, "the tensors are larger than Triton takes"),
    _rule("RESOURCE_EXHAUSTED", "", Overloaded, "Triton is out of resources"),
    _rule("UNAVAILABLE", "", BackendUnavailable, "Triton cannot be reached"),
    _rule("NOT_FOUND", "", BackendUnavailable, "the model is not loaded"),
    _rule("DEADLINE_EXCEEDED", "", DeadlineExceeded, "the model did not answer in time"),
    _rule("INVALID_ARGUMENT", "", InvalidInput, None),
    _rule("CANCELLED", "", CallCancelled, "the call was cancelled"),
    _rule("UNIMPLEMENTED", r"decoupled", ServiceFault, "the model streams its answers: call it as a stream"),
    _rule((), "", ServiceFault, "the service failed"),
)  # fmt: skip


def error_of_status(code: str, text: str) -> CallError:
    """The error that a status stands for.

    Args:
        code: name of gRPC's code, such as `NOT_FOUND`.
        text: the status message, complete.
    """
    details = worker_details(text)
    return _foreign(code, text) if details is None else _rebuild(details)


def _foreign(code: str, text: str) -> CallError:
    rule = next(rule for rule in _RULES if (not rule.codes or code in rule.codes) and re.search(rule.text, text))
    return rule.error(_REQUEST_ID.sub("", text).strip() if rule.message is None else rule.message)


def worker_details(text: str) -> dict[str, Any] | None:
    """What our own worker sent along (`code`, `message`, `status`, `name` ...); None for a foreign status."""
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
        failed = RequestFailed(message, status=details.get("status"), name=details.get("name"))
        failed.origin = str(details.get("origin") or "")
        return failed
    return kind(message)


def _call_errors() -> Iterator[type[CallError]]:
    """The whole tree, a class before its subclasses: a user's own subclass may want other arguments."""
    classes: list[type[CallError]] = [CallError]
    for each in classes:
        yield each
        classes.extend(each.__subclasses__())
