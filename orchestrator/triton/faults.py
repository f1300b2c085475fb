"""gRPC statuses as our errors, by the table in `engine/faults.py`; what the status itself says is kept for the log."""

from collections.abc import Mapping
from typing import Any

import grpc

from orchestrator.engine.faults import TAIL_MARK, error_of_status, worker_details
from orchestrator.errors import BackendUnavailable, CallError

__all__ = ["TAIL_MARK", "NotBegun", "StatusCause", "from_status"]


class NotBegun(BackendUnavailable):
    """Nothing has begun the call: it may be sent again, to any server.

    Args:
        soon: what runs it here is being put right at this moment.
    """

    def __init__(self, message: str, *, soon: bool, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.soon = soon


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


def from_status(code: grpc.StatusCode, text: str) -> CallError:
    """The error that a status stands for.

    Args:
        code: gRPC's.
        text: the status message, complete.

    Returns:
        An error to raise, its `__cause__` a `StatusCause`.
    """
    error = error_of_status(code.name, text)
    error.__cause__ = StatusCause(code, text, worker_details(text) or {})
    return error
