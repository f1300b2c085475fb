"""Log lines as JSON, where `ORCHESTRATOR_LOG_FORMAT=json` asks for them. docs/logging.md has the fields.

Text is the default and is nobody's here: each process writes it as it always has.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

import orjson

__all__ = ["FORMAT_VARIABLE", "JsonFormatter", "is_json", "json_line", "log_as_json", "logged_request"]

FORMAT_VARIABLE: Final = "ORCHESTRATOR_LOG_FORMAT"
"""The format of a process and of those that it starts."""
_LONGEST_CHARS: Final = 16_000
"""Of a message, and of a traceback, whose end says most. Triton's output is read by lines of twice that."""
_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
_FIELDS: Final = "fields"
"""Attribute of a record that has all of its own fields, so that they need not be looked for."""
_STDLIB: Final = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "asctime", "message", "taskName", _FIELDS,
}  # fmt: skip
Call = Callable[[], tuple[str, str]]
"""Request id and trace id of the call that the code runs for; "" for what there is not."""

logged_request: ContextVar[tuple[str, str]] = ContextVar("orchestrator_logged_request", default=("", ""))
"""Request id and trace id of the request that the front-end answers."""


def is_json() -> bool:
    """Whether this process writes JSON."""
    return os.environ.get(FORMAT_VARIABLE, "").lower() == "json"


class JsonFormatter(logging.Formatter):
    """One object a line. What a record was given as `extra` is in it, too.

    Args:
        service: that the process runs; "" for none.
        process: what it is: `front-end`, `worker 1`, `command`.
        call: that a line belongs to.
    """

    def __init__(self, *, service: str, process: str, call: Call = logged_request.get) -> None:
        super().__init__()
        self._service = service
        self._process = process
        self._call = call

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        request_id, trace_id = self._call()
        more = record.__dict__.get(_FIELDS)
        if more is None:
            more = {name: value for name, value in record.__dict__.items() if name not in _STDLIB}
        exception = ""
        if record.exc_info and record.exc_info[1] is not None:
            exception = "".join(traceback.format_exception(record.exc_info[1]))
        elif record.stack_info:
            exception = record.stack_info
        return json_line(
            record.levelname.lower(),
            record.name,
            _message(record),
            at_s=record.created,
            more={
                "service": self._service,
                "process": self._process,
                "pid": record.process or 0,
                "request_id": request_id,
                "trace_id": trace_id,
                **more,
                "exception": exception[-_LONGEST_CHARS:],
            },
        )


def json_line(
    level: str, logger: str, message: str, *, at_s: float | None = None, more: Mapping[str, Any] | None = None
) -> str:
    """A line, without its end.

    Args:
        at_s: seconds since 1970; None for now.
        more: fields; one that is "" is left out.
    """
    fields: dict[str, Any] = {
        "time": datetime.now(UTC) if at_s is None else datetime.fromtimestamp(at_s, UTC),
        "level": level,
        "logger": logger,
        "message": message[:_LONGEST_CHARS],
    }
    for name, value in (more or {}).items():
        if value is not None and value != "":
            fields[name] = value
    try:
        return orjson.dumps(fields, default=str, option=_OPTIONS).decode()
    except (TypeError, ValueError):  # such as half a surrogate pair, or a number beyond 64 bits
        return orjson.dumps({name: _plain(value) for name, value in fields.items()}).decode()


def log_as_json(*, service: str, process: str, call: Call = logged_request.get) -> bool:
    """Has all loggers of this process write JSON on standard error, the user's own included, where that is asked for.

    A `logging.basicConfig()` that comes later changes nothing then. Lines from INFO up are written.

    Args: see `JsonFormatter`.

    Returns:
        Whether it is asked for.
    """
    if not is_json():
        return False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service=service, process=process, call=call))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    return True


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  # the line of a call that fails must not fail it, too
        return f"{record.msg} {record.args}"


def _plain(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()
