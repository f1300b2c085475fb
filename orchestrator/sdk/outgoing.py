"""A call that code makes while it runs for another one: a step of that one's trace, and counted where somebody counts."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from orchestrator.errors import OrchestratorError
from orchestrator.sdk.context import RunningCall
from orchestrator.tracing import Span, tracing

__all__ = ["CallObserver", "count_calls", "outgoing"]


class CallObserver(Protocol):
    """Counts the calls that this process makes."""

    def called(self, target: str, api: str, outcome: str, seconds: float) -> None:
        """A call has ended.

        Args:
            target: service, model or address that was called.
            api: of the service; "" for a model.
            outcome: `ok`, `left` (whoever made the call went on without its answer), or the code of an error.
        """
        ...


_observer: CallObserver | None = None


def count_calls(observer: CallObserver | None) -> None:
    """Says who counts the calls of this process; None for nobody."""
    global _observer
    _observer = observer


@contextmanager
def outgoing(target: str, api: str, running: RunningCall | None) -> Iterator[RunningCall | None]:
    """Around a call.

    Args:
        target: service, model or address that is called.
        api: of the service; "" for a model.
        running: the call that it is made for.

    Yields:
        What the call inherits.
    """
    means, observer = tracing(), _observer
    if means is None and observer is None:
        yield running
        return
    span: Span | None = None
    step = running
    if means is not None and running is not None:
        name = f"call {target}.{api}" if api else f"model {target}"
        span = means.start(name, running.trace, "client")
        step = replace(running, trace=span.trace)
    began = time.perf_counter()
    outcome = "ok"
    try:
        yield step
    except (asyncio.CancelledError, GeneratorExit):
        outcome = "left"
        raise
    except BaseException as error:
        outcome = error.code if isinstance(error, OrchestratorError) else "error"
        if span is not None:
            span.fail(error)
        raise
    finally:
        if span is not None:
            span.end()
        if observer is not None:
            observer.called(target, api, outcome, time.perf_counter() - began)
