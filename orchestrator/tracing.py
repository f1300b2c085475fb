"""OpenTelemetry traces, where the standard variables name an OTLP endpoint; nothing else, and no cost, where they do not.

A process calls `start_tracing` once. Whatever makes a span asks `tracing()` for the means, which is None while traces are
off. OpenTelemetry itself is imported only where they are on: 30 ms, and a thread that sends.
"""

import logging
import os
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
logger = logging.getLogger("orchestrator.tracing")


class Span:
    """One step of a trace. To be ended exactly once."""

    __slots__ = ("_span", "trace")

    def __init__(self, span: Any, trace: Trace) -> None:
        self._span = span
        self.trace: Final = trace

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits, under which the trace is found."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def put(self, name: str, value: str | int | float | bool) -> None:
        """Sets an attribute."""
        self._span.set_attribute(name, value)

    def fail(self, error: BaseException | str) -> None:
        """Says that it failed. What the error says may be a secret of the caller's: its class is what is kept."""
        from opentelemetry.trace import Status, StatusCode

        said = error if isinstance(error, str) else type(error).__name__
        self._span.set_status(Status(StatusCode.ERROR, said))
        self._span.set_attribute("error.type", said)

    def end(self) -> None:
        """It is over."""
        self._span.end()


class Tracing:
    """Makes spans."""

    def __init__(self, tracer: "Tracer", provider: "TracerProvider") -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = tracer
        self._provider = provider
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
    named = {"service.name": service} if not os.environ.get("OTEL_SERVICE_NAME") else {}
    resource = Resource.create({**named, "service.instance.id": f"{instance} {os.getpid()}"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _now = Tracing(provider.get_tracer("orchestrator"), provider)


def stop_tracing() -> None:
    """Sends what has not been sent; from now on traces are off in this process."""
    global _now
    if _now is not None:
        ending, _now = _now, None
        ending.stop()
