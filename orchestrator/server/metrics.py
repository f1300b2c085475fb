"""Our own counters, and one page with Triton's."""

import logging
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from orchestrator.server.bentoml_metrics import bentoml_page
from orchestrator.spec import Metrics

__all__ = ["FrontendMetrics", "MetricsPage"]

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

        self.last_request = Gauge(
            f"{config.namespace}_last_request_timestamp_seconds",
            "When the last call came, in seconds since 1970.",
            ("service", "api"),
            registry=self._registry,
            multiprocess_mode="max",
        )

    def registry(self) -> CollectorRegistry:
        """What the page shows: of all front-end processes, where there are several."""
        if not self._multiprocess:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry


class MetricsPage:
    """One page: ours, the engine's, and ours again under BentoML's names.

    Args:
        frontend: ours.
        namespace: that ours begin with.
        routes: API -> its route.
        engine: reads the engine's page; may fail, and is then left out with a comment that says so.
    """

    def __init__(
        self,
        frontend: FrontendMetrics,
        engine: Callable[[], Awaitable[bytes]] | None,
        *,
        namespace: str,
        routes: Mapping[str, str],
    ) -> None:
        self._frontend = frontend
        self._namespace = namespace
        self._routes = routes
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
        again = bentoml_page(registry.collect(), engine, namespace=self._namespace, routes=self._routes)
        return page + again + engine
