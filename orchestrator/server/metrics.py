"""Our own counters, and one page with Triton's."""

import logging
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

__all__ = ["FrontendMetrics", "MetricsPage"]

logger = logging.getLogger("orchestrator.server")
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class FrontendMetrics:
    """Counters of the front-end.

    Args:
        multiprocess: several front-end processes share them through files (`PROMETHEUS_MULTIPROC_DIR` names the folder);
            any of them then shows the sum of all.
    """

    def __init__(self, *, multiprocess: bool = False) -> None:
        self._registry = CollectorRegistry()
        self._multiprocess = multiprocess
        self.requests = Counter(
            "orchestrator_requests", "Calls answered.", ("service", "api", "status"), registry=self._registry
        )
        self.duration = Histogram(
            "orchestrator_request_duration_seconds",
            "From the end of the request's body to the answer.",
            ("service", "api"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.in_progress = Gauge(
            "orchestrator_requests_in_progress",
            "Calls in flight.",
            ("service", "api"),
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def text(self) -> bytes:
        """The page in Prometheus' text form."""
        if not self._multiprocess:
            return bytes(generate_latest(self._registry))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return bytes(generate_latest(registry))


class MetricsPage:
    """One page: ours, then the engine's.

    Args:
        frontend: ours.
        engine: reads the engine's page; may fail, and is then left out with a comment that says so.
    """

    def __init__(self, frontend: FrontendMetrics, engine: Callable[[], Awaitable[bytes]] | None) -> None:
        self._frontend = frontend
        self._engine = engine

    async def text(self) -> bytes:
        """The whole page."""
        page = self._frontend.text()
        if self._engine is None:
            return page
        try:
            return page + await self._engine()
        except OSError as error:
            logger.warning("Triton's metrics cannot be read: %s", error)
            return page + b"# Triton's metrics cannot be read at the moment\n"
