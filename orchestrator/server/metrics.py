"""Our own counters, and one page with Triton's. docs/metrics.md lists the series."""

import logging
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from orchestrator.engine.health import Health
from orchestrator.server.bentoml_metrics import bentoml_page
from orchestrator.server.health_metrics import health_page
from orchestrator.server.model_metrics import Copies, counts_of, model_page
from orchestrator.server.process_metrics import process_page
from orchestrator.spec import Metrics

__all__ = ["FrontendMetrics", "MetricsPage", "QueueMetrics"]

_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
logger = logging.getLogger("orchestrator.server")


class FrontendMetrics:
    """Counters of the front-end.

    Args:
        config: their namespace, and the buckets of durations.
        multiprocess: several front-end processes share them through files (`PROMETHEUS_MULTIPROC_DIR` names the
            folder); any of them then shows the sum of all.
    """

    def __init__(self, config: Metrics, *, multiprocess: bool = False) -> None:
        self._registry = CollectorRegistry()
        self._multiprocess = multiprocess
        self.requests = Counter(
            f"{config.namespace}_requests", "Calls answered.", ("service", "api", "status"), registry=self._registry
        )
        self.duration = Histogram(
            f"{config.namespace}_request_duration_seconds",
            "From the end of the request's body to the answer.",
            ("service", "api"),
            buckets=config.duration.bounds,
            registry=self._registry,
        )
        self.in_progress = Gauge(
            f"{config.namespace}_requests_in_progress",
            "Calls in flight.",
            ("service", "api"),
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.queue_length = Gauge(
            f"{config.namespace}_queue_length",
            "Calls that wait for others to end.",
            ("service",),
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.queue_wait = Histogram(
            f"{config.namespace}_queue_wait_seconds",
            "How long calls waited that had to and went on.",
            ("service",),
            buckets=config.duration.bounds,
            registry=self._registry,
        )
        self.refused = Counter(
            f"{config.namespace}_requests_refused",
            "Calls that got no place, or lost it: full, wait (it would be too long), timeout (it was), displaced, stopping.",
            ("service", "reason"),
            registry=self._registry,
        )
        self.streams = Gauge(
            f"{config.namespace}_streams_in_progress",
            "Streams that have begun and not ended.",
            ("service", "api"),
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.streams_failed = Counter(
            f"{config.namespace}_streams_failed",
            "Streams that broke off after their first chunk: their status had gone out as a success.",
            ("service", "api"),
            registry=self._registry,
        )
        self.dependency_calls = Counter(
            f"{config.namespace}_dependency_calls",
            "Calls that services on the front-end made of services and models. outcome: ok, left, or the error's code.",
            ("service", "api", "outcome"),
            registry=self._registry,
        )
        self.dependency_duration = Histogram(
            f"{config.namespace}_dependency_call_duration_seconds",
            "From such a call to its answer, or to the end of its stream.",
            ("service", "api"),
            buckets=config.duration.bounds,
            registry=self._registry,
        )
        self.last_request = Gauge(
            f"{config.namespace}_last_request_timestamp_seconds",
            "When the last call came, in seconds since 1970.",
            ("service", "api"),
            registry=self._registry,
            multiprocess_mode="max",
        )

    @property
    def folder(self) -> str | None:
        """Where several processes share them; None for one process."""
        return os.environ.get(_FOLDER_VARIABLE) if self._multiprocess else None

    def called(self, target: str, api: str, outcome: str, seconds: float) -> None:
        """A call of a dependency has ended (implements `sdk.outgoing.CallObserver`)."""
        self.dependency_calls.labels(target, api, outcome).inc()
        self.dependency_duration.labels(target, api).observe(seconds)

    def registry(self) -> CollectorRegistry:
        """What the page shows: of all front-end processes, where there are several."""
        if not self._multiprocess:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry


class QueueMetrics:
    """Counts what happens in the queue of one service (implements `admission.Observer`)."""

    def __init__(self, metrics: FrontendMetrics, service: str) -> None:
        self._length = metrics.queue_length.labels(service)
        self._wait = metrics.queue_wait.labels(service)
        self._refused = metrics.refused
        self._service = service

    def length(self, calls: int) -> None:
        self._length.set(calls)

    def waited(self, seconds: float) -> None:
        self._wait.observe(seconds)

    def refused(self, reason: str) -> None:
        self._refused.labels(self._service, reason).inc()


class MetricsPage:
    """One page: ours, what we make of the engine's, ours again under BentoML's names, and the engine's.

    Args:
        frontend: ours.
        service: that is served.
        namespace: that ours begin with.
        routes: API -> its route.
        models: names of the service's Triton models, without its facades.
        copies: of each service and model.
        engine: reads the engine's page; may fail, and is then left out with a comment that says so.
        health: of the server that runs the models; None where none does.
    """

    def __init__(
        self,
        frontend: FrontendMetrics,
        engine: Callable[[], Awaitable[bytes]] | None,
        *,
        service: str,
        namespace: str,
        routes: Mapping[str, str],
        models: Collection[str] = (),
        copies: Copies | None = None,
        health: Callable[[], Health] | None = None,
    ) -> None:
        self._frontend = frontend
        self._service = service
        self._namespace = namespace
        self._routes = routes
        self._models = frozenset(models)
        self._copies = copies or {}
        self._health = health
        self._engine = engine

    async def text(self) -> bytes:
        """The whole page."""
        registry = self._frontend.registry()
        page = bytes(generate_latest(registry))
        engine = b""
        if self._engine is not None:
            try:
                engine = await self._engine()
            except OSError as error:
                logger.warning("Triton's metrics cannot be read: %s", error)
                engine = b"# Triton's metrics cannot be read at the moment\n"
        counts = counts_of(engine, self._models)
        ours = registry.collect()
        again = bentoml_page(ours, counts, namespace=self._namespace, routes=self._routes)
        if self._health is not None:
            page += health_page(self._health(), sorted(self._models), namespace=self._namespace)
        page += process_page(self._service, namespace=self._namespace, folder=self._frontend.folder)
        return page + model_page(counts, self._copies, namespace=self._namespace) + again + engine
