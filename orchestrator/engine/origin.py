"""What a call inherits from the call that it is made for: as parameters of its request, and back again."""

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.engine.backend import RunsOn
from orchestrator.engine.lifetime import CALL_PARAMETER, CALLERS_PARAMETER, Lifetime, callers_of
from orchestrator.sdk.context import RunningCall
from orchestrator.spec import TRACE_HEADERS

__all__ = ["REQUEST_PARAMETER", "inherited", "request_id_of", "running_call_of", "trace_of"]

REQUEST_PARAMETER: Final = "request"
"""Request parameter: the id of the request that it all began with. Triton's own request id is another for each call, so
that it can be told which of them a worker had begun when it died."""
Trace = tuple[tuple[str, str], ...]


def inherited(running: RunningCall | None) -> dict[str, str]:
    """The parameters of a call that is made for another one."""
    if running is None:
        return {}
    parameters = dict(running.trace)
    if running.request_id:
        parameters[REQUEST_PARAMETER] = running.request_id
    if running.numbers:
        parameters[CALLERS_PARAMETER] = ",".join(map(str, running.numbers))
    return parameters


def trace_of(parameters: Mapping[str, Any]) -> Trace:
    """The W3C trace context of a call, which travels as parameters under its headers' names."""
    return tuple((name, str(parameters[name])) for name in TRACE_HEADERS if parameters.get(name))


def request_id_of(parameters: Mapping[str, Any], request_id: str) -> str:
    """The id that people know a call by.

    Args:
        request_id: Triton's own.
    """
    return str(parameters.get(REQUEST_PARAMETER) or request_id)


def running_call_of(
    parameters: Mapping[str, Any],
    request_id: str,
    lifetime: Lifetime,
    workspace: Any = None,
    runs_on: RunsOn | None = None,
) -> RunningCall:
    """What calls inherit that are made for this one.

    Args:
        parameters: of its request.
        request_id: that people know it by.
    """
    own = parameters.get(CALL_PARAMETER)
    numbers = (*callers_of(parameters), int(own)) if own else callers_of(parameters)
    return RunningCall(request_id, lifetime.deadline, numbers, trace_of(parameters), workspace, lifetime.end, runs_on)
