"""What `/metrics` has, as far as the status page draws it."""

from collections.abc import Collection, Iterator
from dataclasses import asdict
from typing import Any

from orchestrator.server.metrics import FrontendMetrics
from orchestrator.server.model_metrics import counts_of
from orchestrator.spec import ServiceSpec

__all__ = ["counters_of"]

_INFINITE = float("inf")


def counters_of(
    metrics: FrontendMetrics, service: ServiceSpec, engine: bytes, models: Collection[str]
) -> dict[str, Any]:
    """Counters of each API, of the queue before Triton, and of each version of a model; in seconds, but for `queue_us`.

    All of them only grow, but for `in_progress` and `queue.calls`. Buckets are cumulative, one for each of `bounds_s`, of
    which the last is None: without an end.

    Args:
        engine: Triton's page.
        models: to look for there.
    """
    apis: dict[str, dict[str, Any]] = {
        api.name: {"statuses": {}, "buckets": [], "seconds": 0.0, "in_progress": 0} for api in service.apis
    }
    queue: dict[str, float] = {"calls": 0, "waited": 0, "seconds": 0.0, "refused": 0}
    bounds: list[float | None] = []
    for name, labels, value in _samples(metrics, service.metrics.namespace):
        api = apis.get(labels.get("api", "")) if labels.get("service") == service.name else None
        match name:
            case "requests_total" if api is not None:
                api["statuses"][labels["status"]] = value
            case "request_duration_seconds_bucket" if api is not None:
                api["buckets"].append((float(labels["le"]), value))
            case "request_duration_seconds_sum" if api is not None:
                api["seconds"] = value
            case "requests_in_progress" if api is not None:
                api["in_progress"] = value
            case "queue_length":
                queue["calls"] += value
            case "queue_wait_seconds_count":
                queue["waited"] += value
            case "queue_wait_seconds_sum":
                queue["seconds"] += value
            case "requests_refused_total":
                queue["refused"] += value
    for api in apis.values():
        buckets = sorted(api["buckets"])
        api["buckets"] = [count for _, count in buckets]
        # One that nobody has called yet may have none.
        bounds = [None if bound == _INFINITE else bound for bound, _ in buckets] or bounds
    counted = counts_of(engine, models).items()
    of_models = [{"model": name, "version": version, **asdict(counts)} for (name, version), counts in counted]
    return {"bounds_s": bounds, "apis": apis, "queue": queue, "models": of_models}


def _samples(metrics: FrontendMetrics, namespace: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in metrics.registry().collect():
        for sample in family.samples:
            yield sample.name.removeprefix(f"{namespace}_"), sample.labels, sample.value
