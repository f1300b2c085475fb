"""What every model of ours in Triton's Python backend needs. Only in its stub process: `triton_python_backend_utils` is there."""

import io
import logging
import re
import sys
from typing import Any, Final

import triton_python_backend_utils as pb_utils

from orchestrator.errors import (
    BackendUnavailable,
    CallCancelled,
    CallError,
    EndpointNotFound,
    InvalidInput,
    Overloaded,
)
from orchestrator.logs import log_as_json
from orchestrator.sdk.logged import logged_call
from orchestrator.worker.faults import error_text

__all__ = ["error_response", "instance_index", "log_to_stderr"]

_CODES: Final = (
    (InvalidInput, "INVALID_ARG"),
    (EndpointNotFound, "NOT_FOUND"),
    (Overloaded, "UNAVAILABLE"),
    (BackendUnavailable, "UNAVAILABLE"),
    (CallCancelled, "CANCELLED"),
)
"""Names in `pb_utils.TritonError`, which the stub adds only after it has imported the model."""


def error_response(error: CallError) -> Any:
    """The answer to a request that failed."""
    name = next((name for kind, name in _CODES if isinstance(error, kind)), "INTERNAL")
    code = getattr(pb_utils.TritonError, name)
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(error_text(error), code))


def instance_index(instance_name: str) -> int:
    """Number of an instance in its group, from 1: `Iris_0_1` is the second."""
    match = re.search(r"_(\d+)$", instance_name)
    return int(match[1]) + 1 if match else 1


def log_to_stderr(service: str, instance_name: str) -> None:
    """Our own lines, without touching the user's logging; and the user's prints when they come, not at the exit.

    (Triton's stub ignores PYTHONUNBUFFERED, as all of Python's variables.) Where lines are JSON, the user's are, too.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    if log_as_json(service=service, process=f"worker {instance_index(instance_name)}", call=logged_call):
        return
    logger = logging.getLogger("orchestrator")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s [worker %(process)d] %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
