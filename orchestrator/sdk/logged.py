"""Which call a line of the log belongs to."""

from orchestrator.logs import logged_request
from orchestrator.sdk.context import running_call
from orchestrator.spec import TRACE_HEADERS

__all__ = ["logged_call"]

_PARENT, *_ = TRACE_HEADERS


def logged_call() -> tuple[str, str]:
    """Request id and trace id of the call that runs here; "" for what there is not."""
    running = running_call.get()
    if running is None:
        return logged_request.get()
    parent = dict(running.trace).get(_PARENT, "")
    return running.request_id, parent.split("-")[1] if parent.count("-") >= 3 else ""
