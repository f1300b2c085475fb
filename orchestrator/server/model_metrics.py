"""What Triton counts of each model, read from its page; and our own series of batch sizes and queue times made from that."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from orchestrator.spec import Placement, ServiceSpec

__all__ = ["Copies", "ModelCounts", "copies_of", "counts_of", "model_page"]

Copies = Mapping[tuple[str, str], int]
"""Service or model, and where it runs (`triton`, `frontend`) -> copies of it that are meant to run."""
_LABELS: Final = ("model", "version")
_US: Final = 1e6
_LINE: Final = re.compile(rb"^(nv_inference_\w+)\{([^}]*)\} (\S+)", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_FIELDS: Final = {
    "nv_inference_count": "rows",
    "nv_inference_exec_count": "batches",
    "nv_inference_request_success": "requests",
    "nv_inference_queue_duration_us": "queue_us",
}


@dataclass(frozen=True, slots=True)
class ModelCounts:
    """One version of a model since it was loaded.

    Attributes:
        rows: that were run; a request without a batch axis is one.
        batches: executions: each took one request, or several together.
        requests: that were answered.
        queue_us: that they waited, all together, in microseconds.
    """

    rows: int = 0
    batches: int = 0
    requests: int = 0
    queue_us: int = 0


def counts_of(engine: bytes, models: Collection[str]) -> dict[tuple[str, str], ModelCounts]:
    """Model and version -> what Triton counts of it.

    Args:
        engine: Triton's page.
        models: the ones to look for. Facades should not be among them: Triton counts each call of one also for the
            model behind it.
    """
    totals: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, labels, value in _LINE.findall(engine):
        field = _FIELDS.get(name.decode())
        found = dict(_LABEL.findall(labels.decode()))
        if field is not None and found.get("model") in models:
            # A model on several GPUs has a line for each.
            totals[found["model"], found.get("version", "")][field] += int(float(value))
    return {key: ModelCounts(**fields) for key, fields in sorted(totals.items())}


def copies_of(graph: Iterable[ServiceSpec], processes: int) -> Copies:
    """The copies of all services that are served together, and of their models.

    Args:
        processes: of the front-end.
    """
    copies: dict[tuple[str, str], int] = {}
    for service in graph:
        if service.placement is Placement.FRONTEND:
            copies[service.name, "frontend"] = processes
        else:
            copies[service.name, "triton"] = service.workers
        for model in service.models:
            copies[model.name, "triton"] = model.options.instances * max(1, len(model.options.gpus))
    return copies


def model_page(
    counts: Mapping[tuple[str, str], ModelCounts], copies: Copies = MappingProxyType({}), *, namespace: str
) -> bytes:
    """The series, as a page: sums and counts for Prometheus to take rates of, and the means since the version was loaded.

    Args:
        copies: of each service and model.
        namespace: that their names begin with.
    """

    class Derived(Collector):
        def collect(self) -> Iterator[Metric]:
            batch = f"{namespace}_model_batch_size"
            queue = f"{namespace}_model_queue_seconds"
            sizes = SummaryMetricFamily(batch, "Rows of a batch that Triton ran.", labels=_LABELS)
            waits = SummaryMetricFamily(queue, "Time that a request waited for its batch to start.", labels=_LABELS)
            size = GaugeMetricFamily(f"{batch}_mean", "Rows of a batch, since the version was loaded.", labels=_LABELS)
            wait = GaugeMetricFamily(f"{queue}_mean", "Seconds of waiting, since it was loaded.", labels=_LABELS)
            for key, each in counts.items():
                sizes.add_metric(key, each.batches, each.rows)
                waits.add_metric(key, each.requests, each.queue_us / _US)
                # Before the first there is no mean, and a zero would pull down an average over models.
                if each.batches:
                    size.add_metric(key, each.rows / each.batches)
                if each.requests:
                    wait.add_metric(key, each.queue_us / _US / each.requests)
            yield from (sizes, size, waits, wait)
            meant = GaugeMetricFamily(
                f"{namespace}_instances",
                "Copies that are meant to run: workers in one Triton, processes of one front-end.",
                labels=("name", "where"),
            )
            for name_and_place, number in copies.items():
                meant.add_metric(name_and_place, number)
            if copies:
                yield meant

    registry = CollectorRegistry()
    registry.register(Derived())
    return bytes(generate_latest(registry))
