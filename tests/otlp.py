"""A receiver of OpenTelemetry traces, as a collector is one: OTLP by HTTP."""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["ENVIRONMENT", "Receiver", "Seen", "receiver"]

ENVIRONMENT = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_SDK_DISABLED": "", "OTEL_TRACES_EXPORTER": "otlp"}
_ERROR = 2


@dataclass(frozen=True)
class Seen:
    """A span that has come.

    Attributes:
        service, process: of its resource: `service.name` and `service.instance.id`.
        kind: 1 internal, 2 server, 3 client.
        start_s, end_s: seconds since 1970.
    """

    name: str
    trace: str
    id: str
    parent: str
    service: str
    process: str
    kind: int
    failed: bool
    start_s: float
    end_s: float
    attributes: dict[str, Any]


class Receiver:
    """What has come so far.

    Attributes:
        url: of the endpoint.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[Seen] = []

    @property
    def environment(self) -> dict[str, str]:
        """Variables that have a process send its traces here."""
        return {**ENVIRONMENT, "OTEL_EXPORTER_OTLP_ENDPOINT": self.url}

    def trace(self, trace: str, count: int, within_s: float = 15) -> "Trace":
        """A trace, once it has so many spans.

        Raises:
            AssertionError: it does not get them in time, or gets more.
        """
        end = time.monotonic() + within_s
        while len(found := [span for span in self.spans if span.trace == trace]) < count and time.monotonic() < end:
            time.sleep(0.05)
        names = sorted(span.name for span in found)
        assert len(found) == count, names
        return Trace(found)

    def add(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            of = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.spans += [
                Seen(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    of["service.name"],
                    of["service.instance.id"],
                    span.kind,
                    span.status.code == _ERROR,
                    span.start_time_unix_nano / 1e9,
                    span.end_time_unix_nano / 1e9,
                    {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes},
                )
                for scope in resource.scope_spans
                for span in scope.spans
            ]


class Trace(list[Seen]):
    """The spans of a trace."""

    def named(self, name: str) -> Seen:
        """The one span of a name."""
        (found,) = [span for span in self if span.name == name]
        return found

    def path(self, name: str) -> list[str]:
        """Names from a span up to the first whose parent is in no process of ours."""
        by_id = {span.id: span for span in self}
        span: Seen | None = self.named(name)
        names = []
        while span is not None:
            names.append(span.name)
            span = by_id.get(span.parent)
        return names

    @property
    def parents(self) -> set[tuple[str, str]]:
        """Each span's name, and that of the span it is a part of."""
        names = {span.id: span.name for span in self}
        return {(span.name, names.get(span.parent, "")) for span in self}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    receiver: Receiver


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.receiver.add(body)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Takes traces until it is left."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.receiver
        finally:
            server.shutdown()
            thread.join()
