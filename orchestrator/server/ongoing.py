"""A call from its beginning to its end, as the counters and the trace see it."""

import time
from typing import Final

from orchestrator.server.metrics import FrontendMetrics
from orchestrator.server.reply import Reply, StreamReply
from orchestrator.tracing import Span

__all__ = ["ApiCounters", "Ongoing"]

_SERVER_ERROR: Final = 500


class ApiCounters:
    """The counters of one API."""

    def __init__(self, metrics: FrontendMetrics, service: str, api: str) -> None:
        self._requests = metrics.requests
        self._names = (service, api)
        self.duration = metrics.duration.labels(service, api)
        self.in_progress = metrics.in_progress.labels(service, api)
        self.last_request = metrics.last_request.labels(service, api)
        self.streams = metrics.streams.labels(service, api)
        self.streams_failed = metrics.streams_failed.labels(service, api)

    def answered(self, status: int) -> None:
        """A request has its status."""
        self._requests.labels(*self._names, str(status)).inc()


class Ongoing:
    """A call that runs. It begins when this is made.

    Args:
        counters: of its API.
        span: of the call; None where it is not traced.

    Attributes:
        trace_id: of the trace that it is part of; "" where it is not traced.
        is_recorded: it can be found by that.
    """

    __slots__ = ("_counters", "_is_stream", "_span", "_started", "is_recorded", "trace_id")

    def __init__(self, counters: ApiCounters, span: Span | None) -> None:
        self.trace_id = "" if span is None else span.trace_id
        self.is_recorded = span is not None and span.is_recorded
        self._span = span
        self._counters = counters
        self._is_stream = False
        self._started = time.perf_counter()
        counters.in_progress.inc()
        counters.last_request.set_to_current_time()

    def answered(self, reply: Reply | StreamReply) -> None:
        """It has its answer, which is all of it unless it is a stream: that goes on until `end`."""
        if self._span is not None:
            self._span.put("http.response.status_code", reply.status)
            if reply.status >= _SERVER_ERROR:
                self._span.fail(str(reply.status))
        if isinstance(reply, Reply):
            self.end()
        else:
            self._is_stream = True
            self._counters.streams.inc()

    def broken(self, error: Exception) -> None:
        """A stream has failed after its first chunk."""
        self._counters.streams_failed.inc()
        if self._span is not None:
            self._span.fail(error)

    def end(self) -> None:
        """It is over."""
        if self._is_stream:
            self._counters.streams.dec()
        self._counters.in_progress.dec()
        self._counters.duration.observe(time.perf_counter() - self._started)
        if self._span is not None:
            self._span.end()
