"""OpenTelemetry traces, where the standard variables name an OTLP endpoint; nothing else, and no cost, where they do not.

A process calls `start_tracing` once. Whatever makes a span asks `tracing()` for the means, which is None while traces are
off. OpenTelemetry itself is imported only where they are on: 30 ms, and a thread that sends.
"""

import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

__all__ = ["Span", "Trace", "Tracing", "is_wanted", "start_tracing", "stop_tracing", "tracing"]

Trace = tuple[tuple[str, str], ...]
"""The W3C trace context, as headers."""
Kind = Literal["server", "client", "internal"]
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SERVED: Final = "http/protobuf"
_FLUSH_MS: Final = 2000
_PARENT: Final = "traceparent"
_IGNORED: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][02468ace](-|$)")
"""W3C Trace Context: the last bit of the flags says that it is recorded."""
_SAMPLER: Final = "OTEL_TRACES_SAMPLER"
_OF_CALLERS: Final = "parentbased_"
logger = logging.getLogger("orchestrator.tracing")


class Span:
    """One step of a trace. To be ended exactly once.

    Attributes:
        trace: for what is caused by it.
        is_recorded: somebody will be able to look at it.
    """

    __slots__ = ("_span", "is_recorded", "trace")

    def __init__(self, span: Any, trace: Trace) -> None:
        self.trace: Final = trace
        self.is_recorded: Final[bool] = span is not None and span.is_recording()
        self._span = span if self.is_recorded else None

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits, under which the trace is found."""
        return dict(self.trace)[_PARENT].split("-")[1]

    def put(self, name: str, value: str | int | float | bool) -> None:
        """Sets an attribute."""
        if self._span is not None:
            self._span.set_attribute(name, value)

    def fail(self, error: BaseException | str) -> None:
        """Says that it failed. What the error says may be a secret of the caller's: its class is what is kept."""
        if self._span is None:
            return
        from opentelemetry.trace import Status, StatusCode

        said = error if isinstance(error, str) else type(error).__name__
        self._span.set_status(Status(StatusCode.ERROR, said))
        self._span.set_attribute("error.type", said)

    def end(self) -> None:
        """It is over."""
        if self._span is not None:
            self._span.end()


class Tracing:
    """Makes spans."""

    def __init__(self, tracer: "Tracer", provider: "TracerProvider") -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = tracer
        self._provider = provider
        # Then a call whose caller does not record it needs no step at all: it costs a hundredth of one.
        self._callers_decide = os.environ.get(_SAMPLER, _OF_CALLERS).startswith(_OF_CALLERS)
        self._propagator = TraceContextTextMapPropagator()
        self._kinds = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}

    def start(
        self, name: str, parent: Trace = (), kind: Kind = "internal", attributes: Mapping[str, Any] | None = None
    ) -> Span:
        """Begins a span.

        Args:
            name: with few different values, such as `POST /predict`.
            parent: the trace that it belongs to; empty begins a new one.
        """
        if self._callers_decide and _is_ignored(parent):
            return Span(None, parent)
        from opentelemetry.context import Context
        from opentelemetry.trace import set_span_in_context

        context = self._propagator.extract(dict(parent), context=Context())
        span = self._tracer.start_span(name, context=context, kind=self._kinds[kind], attributes=attributes)
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, context=set_span_in_context(span, Context()))
        return Span(span, tuple(carrier.items()))

    def stop(self) -> None:
        """Sends what has not been sent, and ends the thread."""
        self._provider.force_flush(_FLUSH_MS)
        self._provider.shutdown()


def _is_ignored(parent: Trace) -> bool:
    """Whether a caller has a trace that is not recorded."""
    return bool(parent) and parent[0][0] == _PARENT and _IGNORED.match(parent[0][1]) is not None


_now: Tracing | None = None


def tracing() -> Tracing | None:
    """What makes spans in this process; None while traces are off."""
    return _now


def is_wanted(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the standard variables ask for traces."""
    env = os.environ if environment is None else environment
    off = env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER", "otlp") == "none"
    return not off and any(env.get(name) for name in _ENDPOINTS)


def start_tracing(service: str, *, instance: str) -> None:
    """Turns traces on in this process, where they are wanted.

    `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, the headers, certificates and timeouts of
    `OTEL_EXPORTER_OTLP_*` and the limits of `OTEL_BSP_*` mean what OpenTelemetry says.

    Args:
        service: name that traces have it by, where the variables give none.
        instance: what this process is, such as `front-end` or `worker 1`.
    """
    global _now
    if _now is not None or not is_wanted():
        return
    protocol = next((os.environ[name] for name in _PROTOCOLS if os.environ.get(name)), _SERVED)
    if protocol != _SERVED:
        logger.warning("traces are sent by %s, and not by %s: point the endpoint there", _SERVED, protocol)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        logger.warning("no traces: %s", error)
        return
    try:
        processor = BatchSpanProcessor(OTLPSpanExporter())
    except ValueError as error:  # one of its variables
        logger.warning("no traces: %s", error)
        return
    named = {"service.name": service} if not os.environ.get("OTEL_SERVICE_NAME") else {}
    resource = Resource.create({**named, "service.instance.id": f"{instance} {os.getpid()}"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(processor)
    _now = Tracing(provider.get_tracer("orchestrator"), provider)


def stop_tracing() -> None:
    """Sends what has not been sent; from now on traces are off in this process."""
    global _now
    if _now is not None:
        ending, _now = _now, None
        ending.stop()
