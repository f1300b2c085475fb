"""The health of the server beneath, as series: what `/readyz` says, how often something was put right, what was lost."""

from collections.abc import Collection, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric, StateSetMetricFamily
from prometheus_client.registry import Collector

from orchestrator.engine.health import TRITON, Health, State

__all__ = ["health_page"]

_LABELS: Final = ("what",)


def health_page(health: Health, models: Collection[str], *, namespace: str) -> bytes:
    """The series, as a page.

    Args:
        models: that are needed to answer.
        namespace: that the series' names begin with.
    """
    now = health.of_all(models).state

    class Known(Collector):
        def collect(self) -> Iterator[Metric]:
            states = {state.value: state is now for state in State}
            yield StateSetMetricFamily(f"{namespace}_health", "State of the service with all of its models.", states)
            heals = CounterMetricFamily(f"{namespace}_heals", "Times that it was made whole again.", labels=_LABELS)
            deaths = CounterMetricFamily(f"{namespace}_worker_deaths", "Worker processes that died.", labels=_LABELS)
            for what in (*models, TRITON):
                heals.add_metric((what,), health.heals.get(what, 0))
            for model in models:
                deaths.add_metric((model,), health.deaths.get(model, 0))
            yield from (heals, deaths)

    registry = CollectorRegistry()
    registry.register(Known())
    return bytes(generate_latest(registry))
