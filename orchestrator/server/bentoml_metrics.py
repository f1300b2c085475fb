"""Our counters once more under BentoML's names, so that dashboards made for it go on. Made from ours when a page is asked for."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.server.model_metrics import ModelCounts

__all__ = ["bentoml_page"]

_PREFIX: Final = "bentoml_service"
_LABELS: Final = ("endpoint", "service_name", "service_version", "runner_name")
_VERSION: Final = "not available"


def bentoml_page(
    ours: Iterable[Metric],
    counts: Mapping[tuple[str, str], ModelCounts],
    *,
    namespace: str,
    routes: Mapping[str, str],
) -> bytes:
    """The page under BentoML's names.

    Args:
        ours: what the front-end counts.
        counts: of Triton's, by model and version.
        namespace: that ours begin with.
        routes: API -> its route, which is BentoML's `endpoint`.
    """

    class Derived(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from _requests({family.name: family for family in ours}, namespace, routes)
            yield _batches(counts)

    registry = CollectorRegistry()
    registry.register(Derived())
    return bytes(generate_latest(registry))


def _requests(ours: Mapping[str, Metric], namespace: str, routes: Mapping[str, str]) -> Iterator[Metric]:
    def labels(sample: Any, *more: str) -> list[str]:
        service, api = sample.labels["service"], sample.labels["api"]
        return [routes.get(api, f"/{api}"), service, _VERSION, service, *more]

    def samples(name: str, suffix: str = "") -> list[Any]:
        family = ours.get(f"{namespace}_{name}")
        return [s for s in family.samples if s.name == f"{namespace}_{name}{suffix}"] if family else []

    total = CounterMetricFamily(f"{_PREFIX}_request", "Requests.", labels=(*_LABELS, "http_response_code"))
    for sample in samples("requests", "_total"):
        total.add_metric(labels(sample, sample.labels["status"]), sample.value)
    yield total
    duration = HistogramMetricFamily(f"{_PREFIX}_request_duration_seconds", "Time of requests.", labels=_LABELS)
    for end in samples("request_duration_seconds", "_sum"):
        key = (end.labels["service"], end.labels["api"])
        buckets = [
            (sample.labels["le"], sample.value)
            for sample in samples("request_duration_seconds", "_bucket")
            if (sample.labels["service"], sample.labels["api"]) == key
        ]
        buckets.sort(key=lambda bucket: float(bucket[0]))
        duration.add_metric(labels(end), buckets, end.value)
    yield duration
    for name, theirs in (
        ("requests_in_progress", "request_in_progress"),
        ("last_request_timestamp_seconds", "last_request_timestamp_seconds"),
    ):
        gauge = GaugeMetricFamily(f"{_PREFIX}_{theirs}", "As its name says.", labels=_LABELS)
        for sample in samples(name):
            gauge.add_metric(labels(sample), sample.value)
        yield gauge


def _batches(counts: Mapping[tuple[str, str], ModelCounts]) -> Metric:
    """Sum and count of the batches' rows, over all versions; Triton keeps no distribution of them."""
    family = HistogramMetricFamily(
        f"{_PREFIX}_adaptive_batch_size", "Rows of a batch.", labels=("service_name", "service_version", "runner_name")
    )
    for model in dict.fromkeys(name for name, _ in counts):
        versions = [each for (name, _), each in counts.items() if name == model]
        batches = sum(each.batches for each in versions)
        family.add_metric([model, _VERSION, model], [("+Inf", batches)], sum(each.rows for each in versions))
    return family
