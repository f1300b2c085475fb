"""The page `/metrics` of a server, read; and what happened in each model between two of them."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["MetricsPage", "ModelRates", "rates_between"]

_BUILD: Final = "_build_info"
_MODEL_US: Final = "nv_inference_request_summary_us"
_US: Final = 1e6
_NO_FAULTS: Final = frozenset({"ok", "left"})
_CALLERS_FAULTS: Final = frozenset(
    {"invalid_input", "endpoint_not_found", "payload_too_large", "unsupported_media", "request_failed", "cancelled"}
)
_SERVER_ERROR: Final = "5"
Sample = tuple[Mapping[str, str], float]


class MetricsPage:
    """One reading.

    Args:
        text: of the page.
        at_s: when it was read, by the monotonic clock; default: now.

    Raises:
        ValueError: it is no page of ours.
    """

    def __init__(self, text: str, at_s: float | None = None) -> None:
        self.at_s: Final = time.monotonic() if at_s is None else at_s
        self._samples: dict[str, list[Sample]] = defaultdict(list)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples[sample.name].append((sample.labels, sample.value))
        builds = [name for name in self._samples if name.endswith(_BUILD) and "service" in self._samples[name][0][0]]
        if not builds:
            raise ValueError("it is not a page of orchestrator's")
        self._namespace = builds[0].removesuffix(_BUILD)
        self.service: Final = self._samples[builds[0]][0][0]["service"]

    def ours(self, name: str) -> Sequence[Sample]:
        """The samples of one of our own series, without the namespace."""
        return self._samples.get(f"{self._namespace}_{name}", ())

    def engines(self, name: str) -> Sequence[Sample]:
        """The samples of one of Triton's; the parser gives its counters the end of their name that Triton leaves out."""
        return self._samples.get(name, ()) or self._samples.get(f"{name}_total", ())


@dataclass(frozen=True, slots=True)
class ModelRates:
    """A service, or a model, over some seconds. None is for what cannot be known: nothing has run, or nobody counts it.

    Attributes:
        where: `triton` or `frontend`.
        instances: copies of it that are meant to run, in one Triton or front-end.
        versions: that are loaded.
        requests_per_s: of it, whoever made them.
        p50_s, p99_s: of the time that a caller waits, as the front-end's histograms have it; of a model that only workers
            call, of the last minute in Triton.
        batch_rows: mean rows of a batch.
        queue_s: mean time that a request waits in Triton for its batch to start.
        in_flight: requests now.
        failures_per_s: that are not the caller's fault.
    """

    name: str
    where: str
    instances: int
    versions: tuple[str, ...]
    requests_per_s: float
    p50_s: float | None
    p99_s: float | None
    batch_rows: float | None
    queue_s: float | None
    in_flight: int
    failures_per_s: float


def rates_between(before: MetricsPage, now: MetricsPage) -> list[ModelRates]:
    """What happened between two readings of a server, in the order in which calls go through the graph."""
    seconds = max(now.at_s - before.at_s, 1e-3)
    return [_Between(before, now, name, where, seconds).rates(int(count)) for name, where, count in _all(now)]


def _all(page: MetricsPage) -> Iterator[tuple[str, str, float]]:
    found = [(labels["name"], labels["where"], value) for labels, value in page.ours("instances")]
    yield from sorted(found, key=lambda each: each[0] != page.service)


class _Between:
    """One model between two readings."""

    def __init__(self, before: MetricsPage, now: MetricsPage, name: str, where: str, seconds: float) -> None:
        self._before, self._now = before, now
        self._name, self._where, self._seconds = name, where, seconds

    def rates(self, instances: int) -> ModelRates:
        in_triton = self._where == "triton"
        batches = self._ours("model_batch_size_count", "model")
        waits = self._ours("model_queue_seconds_count", "model")
        http = self._ours("requests_total", "service")
        called = self._ours("dependency_calls_total", "service")
        counted = self._engine("nv_inference_request_success") + self._engine("nv_inference_request_failure")
        p50_s, p99_s = self._quantiles()
        versions = {labels["version"] for labels, _ in self._of(self._now.ours("model_batch_size_count"), "model")}
        return ModelRates(
            name=self._name,
            where=self._where,
            instances=instances,
            versions=tuple(sorted(versions, key=lambda version: (len(version), version))),
            requests_per_s=(counted if in_triton else http + called) / self._seconds,
            p50_s=p50_s,
            p99_s=p99_s,
            batch_rows=self._ours("model_batch_size_sum", "model") / batches if batches else None,
            queue_s=self._ours("model_queue_seconds_sum", "model") / waits if waits else None,
            in_flight=self._in_flight(),
            failures_per_s=self._failures() / self._seconds,
        )

    def _failures(self) -> float:
        """Ours and Triton's are the same ones, seen from two places; neither sees all."""
        http = self._ours("requests_total", "service", lambda labels: labels["status"].startswith(_SERVER_ERROR))
        harmless = _NO_FAULTS | _CALLERS_FAULTS
        called = sum(
            self._ours(series, "service", lambda labels: labels["outcome"] not in harmless)
            for series in ("dependency_calls_total", "worker_calls_total")
        )
        return max(http + called, self._engine("nv_inference_request_failure"))

    def _in_flight(self) -> int:
        ours = sum(value for _, value in self._of(self._now.ours("requests_in_progress"), "service"))
        pending = sum(value for _, value in self._of(self._now.engines("nv_inference_pending_request_count"), "model"))
        return int(max(ours, pending))

    def _quantiles(self) -> tuple[float | None, float | None]:
        buckets: dict[float, float] = defaultdict(float)
        for series in ("request_duration_seconds_bucket", "dependency_call_duration_seconds_bucket"):
            for labels, grown in self._grown(self._before.ours(series), self._now.ours(series), "service"):
                buckets[float(labels["le"])] += grown
        if buckets.get(math.inf):
            return _quantile(buckets, 0.5), _quantile(buckets, 0.99)
        found = {
            float(labels["quantile"]): value / _US
            for labels, value in self._of(self._now.engines(_MODEL_US), "model")
            if not math.isnan(value)
        }
        return found.get(0.5), found.get(0.99)

    def _ours(self, series: str, label: str, wanted: Callable[[Mapping[str, str]], bool] = lambda _: True) -> float:
        grown = self._grown(self._before.ours(series), self._now.ours(series), label)
        return sum(value for labels, value in grown if wanted(labels))

    def _engine(self, series: str) -> float:
        return sum(value for _, value in self._grown(self._before.engines(series), self._now.engines(series), "model"))

    def _grown(self, before: Sequence[Sample], now: Sequence[Sample], label: str) -> Iterator[Sample]:
        """How much each counter of the model has grown; one that is smaller than before has begun anew."""
        known: dict[Any, float] = {frozenset(labels.items()): value for labels, value in self._of(before, label)}
        for labels, value in self._of(now, label):
            was = known.get(frozenset(labels.items()), 0.0)
            yield labels, value - was if value >= was else value

    def _of(self, samples: Sequence[Sample], label: str) -> Iterator[Sample]:
        return ((labels, value) for labels, value in samples if labels.get(label) == self._name)


def _quantile(buckets: Mapping[float, float], share: float) -> float:
    """As Prometheus reads a histogram: evenly spread inside of a bucket.

    Args:
        buckets: upper bound, infinity among them -> what is up to there.
    """
    wanted = share * buckets[math.inf]
    lower, below = 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= wanted:
            if bound == math.inf:
                return lower
            return lower + (bound - lower) * ((wanted - below) / (count - below) if count > below else 1.0)
        lower, below = bound, count
    return lower
