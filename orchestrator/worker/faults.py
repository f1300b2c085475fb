"""Errors on their way out of a worker: what a caller may see, in a text that Triton carries.

Triton carries one text and one code an error. The text is a sentence for a person; after a separator follows what our
own front-end needs to build the same error again (`engine/faults.py` reads it).
"""

import json
import logging
from types import TracebackType
from typing import Any, Final

from orchestrator.errors import CallError, InvalidInput, RequestFailed, ServiceFault

__all__ = ["error_text", "fault_of"]

SEPARATOR: Final = "\n\x1e"
_MOST_BYTES: Final = 4000
"""Texts over about 16 kB become RESOURCE_EXHAUSTED in gRPC, and a header has little more room."""
_MOST_SENTENCE: Final = 1000
_MOST_PROBLEMS: Final = 20

logger = logging.getLogger("orchestrator.worker")


def fault_of(error: Exception, where: str, request_ids: list[str]) -> CallError:
    """The error that a caller sees for an exception of the user's code; the traceback goes to the log.

    Args:
        error: what the code raised.
        where: `Service.api`.
        request_ids: of the calls that it was working on.
    """
    if isinstance(error, CallError) and not _is_private(error):
        return error
    ids = ", ".join(request_ids) or "-"
    logger.error(
        "%s failed on request %s: %s: %s", where, ids, type(error).__name__, error,
        exc_info=(type(error), error, _below_ours(error.__traceback__)),
    )  # fmt: skip
    sentence = f"{where} failed with {type(error).__name__}; the server's log explains it under the request's id"
    if isinstance(error, RequestFailed):
        hidden = RequestFailed(sentence, status=error.status, name=error.name)
        hidden.origin = error.origin or _origin(error)
        return hidden
    return ServiceFault(sentence)


def _is_private(error: CallError) -> bool:
    return isinstance(error, RequestFailed) and not error.is_public


def error_text(error: CallError) -> str:
    """The text for Triton, at most 4000 bytes."""
    sentence = _cut(str(error), _MOST_SENTENCE)
    tail: dict[str, Any] = {
        "code": error.code,
        "message": _cut(error.message or str(error), _MOST_SENTENCE),
        "name": type(error).__name__,
    }
    if isinstance(error, RequestFailed):
        tail |= {"status": error.status, "name": error.name or type(error).__name__}
        tail["origin"] = error.origin or _origin(error)
    if isinstance(error, InvalidInput):
        tail["problems"] = [_shortened(problem) for problem in error.problems[:_MOST_PROBLEMS]]
    while True:
        text = f"{sentence}{SEPARATOR}{json.dumps(tail)}"
        if len(text.encode()) <= _MOST_BYTES:
            return text
        if tail.get("problems"):
            tail["problems"].pop()
        else:
            sentence, tail["message"] = (
                _cut(sentence, len(sentence) // 2),
                _cut(tail["message"], len(tail["message"]) // 2),
            )


def _origin(error: RequestFailed) -> str:
    return _cut(f"{type(error).__module__}:{type(error).__qualname__}", 200)


def _shortened(problem: Any) -> dict[str, Any]:
    return {"type": problem.get("type"), "loc": list(problem.get("loc", ())), "msg": _cut(str(problem.get("msg")), 300)}


def _cut(text: str, most: int) -> str:
    # Surrogates would break the text's way through gRPC.
    text = text.encode(errors="replace").decode()
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"


def _below_ours(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback from the user's first frame on."""
    while (
        traceback is not None and "/orchestrator/worker/" in traceback.tb_frame.f_code.co_filename and traceback.tb_next
    ):
        traceback = traceback.tb_next
    return traceback
