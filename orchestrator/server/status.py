"""What the status page shows, as one JSON document: services, the versions that serve, health, and counters to take rates of."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Generic, TypeVar

import orjson

from orchestrator import __version__
from orchestrator.engine.health import Health, ModelHealth, State
from orchestrator.errors import OrchestratorError
from orchestrator.server.checks import Probes
from orchestrator.server.elsewhere import ServedElsewhere
from orchestrator.server.metrics import FrontendMetrics
from orchestrator.server.model_metrics import counts_of
from orchestrator.spec import Placement, ServiceSpec

__all__ = ["ModelIndex", "ModelVersion", "Status"]

logger = logging.getLogger("orchestrator.server")

_KNOWN_S: Final = 0.8
"""How long a document counts: pages ask once a second, and there may be many of them."""
_WAIT_S: Final = 1.0
"""How long a document waits for each of its parts; one that takes longer is as it was before."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a Triton model.

    Attributes:
        version: "" for a model that was never loaded.
        state: Triton's word: `READY`, `LOADING`, `UNLOADING`, `UNAVAILABLE`, or "".
        reason: Triton's words for why it is not ready.
    """

    model: str
    version: str
    state: str
    reason: str = ""


ModelIndex = Callable[[], Awaitable[Sequence[ModelVersion]]]
"""Lists every version that Triton knows of; may raise `OrchestratorError` or `OSError`."""


class Status:
    """Makes the document, at most about once a second.

    Args:
        graph: the services that are served together, the one that callers reach last.
        checks: asks the service whether it is ready.
        metrics: the front-end's counters.
        health: of the server that runs the models.
        engine_index: lists the versions of all models; None where there is no Triton.
        engine_metrics: reads the engine's Prometheus page; None where there is none.
    """

    def __init__(
        self,
        graph: Sequence[ServiceSpec],
        checks: Probes,
        metrics: FrontendMetrics,
        health: Callable[[], Health],
        *,
        engine_index: ModelIndex | None = None,
        engine_metrics: Callable[[], Awaitable[bytes]] | None = None,
    ) -> None:
        self._service = graph[-1]
        self._services = [_service(each, root=each is graph[-1]) for each in reversed(graph)]
        self._models = _triton_models(graph)
        self._needed = list(dict.fromkeys([each.name for each in graph] + list(self._models)))
        self._checks = checks
        self._metrics = metrics
        self._health = health
        self._index = None if engine_index is None else _Newest(engine_index, ())
        self._engine = None if engine_metrics is None else _Newest(engine_metrics, b"")
        self._ready = _Newest(checks.ready, False)
        self._started = time.monotonic()
        self._document = b""
        self._made = -_KNOWN_S
        self._lock = asyncio.Lock()

    async def document(self) -> bytes:
        """The document as JSON; docs/status-page.md has its fields."""
        async with self._lock:
            if time.monotonic() - self._made >= _KNOWN_S:
                self._document = orjson.dumps(await self._make())
                self._made = time.monotonic()
        return self._document

    async def _make(self) -> dict[str, Any]:
        health = self._health()
        of_service = health.of_all(self._needed)
        # Services are asked only where something can answer: else each of them waits for its time-out.
        ready, index, engine = await asyncio.gather(
            self._ready.get() if of_service.answers else _no(),
            _nothing(()) if self._index is None else self._index.get(),
            _nothing(b"") if self._engine is None or not self._service.metrics.enabled else self._engine.get(),
        )
        return {
            "at_s": time.time(),
            "uptime_s": time.monotonic() - self._started,
            "release": __version__,
            "service": self._service.name,
            "health": self._said(of_service, ready),
            "services": self._services,
            "models": [
                {
                    "name": name,
                    "service": owner,
                    "kind": kind,
                    "health": _health(health.of(name)),
                    "versions": [
                        {"version": each.version, "state": each.state, "reason": each.reason}
                        for each in index
                        if each.model == name and each.version
                    ],
                }
                for name, (kind, owner) in self._models.items()
            ],
            "counters": self._counters(engine) if self._service.metrics.enabled else None,
        }

    def _said(self, health: ModelHealth, ready: bool) -> dict[str, Any]:
        if health.answers and not ready:
            missing = self._checks.missing
            return {
                "state": State.DOWN.value,
                "reason": f"not ready: {missing}" if missing else "the service is not ready",
            }
        return _health(health)

    def _counters(self, engine: bytes) -> dict[str, Any]:
        """What `/metrics` has, as far as the page draws it; all of it only grows, but for the gauges."""
        namespace, service = self._service.metrics.namespace, self._service.name
        apis: dict[str, dict[str, Any]] = {
            api.name: {"statuses": {}, "buckets": [], "seconds": 0.0, "in_progress": 0} for api in self._service.apis
        }
        bounds: list[float | None] = []
        waiting: dict[str, float] = {"calls": 0, "waited": 0, "seconds": 0.0, "refused": 0}
        for name, labels, value in self._samples():
            known = name.removeprefix(f"{namespace}_")
            api = apis.get(labels.get("api", "")) if labels.get("service") == service else None
            match known:
                case "requests_total" if api is not None:
                    api["statuses"][labels["status"]] = value
                case "request_duration_seconds_bucket" if api is not None:
                    api["buckets"].append((float(labels["le"]), value))
                case "request_duration_seconds_sum" if api is not None:
                    api["seconds"] = value
                case "requests_in_progress" if api is not None:
                    api["in_progress"] = value
                case "queue_length":
                    waiting["calls"] += value
                case "queue_wait_seconds_sum":
                    waiting["seconds"] += value
                case "queue_wait_seconds_count":
                    waiting["waited"] += value
                case "requests_refused_total":
                    waiting["refused"] += value
        for counted in apis.values():
            buckets = sorted(counted["buckets"])
            counted["buckets"] = [count for _, count in buckets]
            if buckets:
                bounds = [None if bound == float("inf") else bound for bound, _ in buckets]
        models = [
            {"model": name, "version": number, **asdict(counts)}
            for (name, number), counts in counts_of(engine, self._models.keys()).items()
        ]
        return {"bounds_s": bounds, "apis": apis, "queue": waiting, "models": models}

    def _samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        for family in self._metrics.registry().collect():
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value


class _Newest(Generic[T]):
    """The newest answer to a question that may take long. It is never broken off: Triton does not take that well.

    Args:
        unknown: stands for the answer before there is one, and where asking fails.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], unknown: T) -> None:
        self._ask = ask
        self._unknown = self._value = unknown
        self._asking: asyncio.Task[None] | None = None

    async def get(self) -> T:
        """Asks, unless the last time is still being answered."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._asked())
        await asyncio.wait((self._asking,), timeout=_WAIT_S)
        return self._value

    async def _asked(self) -> None:
        try:
            self._value = await self._ask()
        except (OrchestratorError, OSError) as error:
            logger.debug("the status page lacks something: %s", error)
            self._value = self._unknown
        finally:
            self._asking = None


async def _no() -> bool:
    return False


async def _nothing(value: T) -> T:
    return value


def _triton_models(graph: Sequence[ServiceSpec]) -> dict[str, tuple[str, str]]:
    """Triton model, facades left out -> its kind and the service that it is of; those of the last service first."""
    models: dict[str, tuple[str, str]] = {}
    for service in reversed(graph):
        if service.placement is Placement.TRITON:
            models[service.name] = ("service", service.name)
        for model in service.models:
            models.setdefault(model.name, (model.format.value, service.name))
    return models


def _service(service: ServiceSpec, *, root: bool) -> dict[str, Any]:
    return {
        "name": service.name,
        "doc": service.description or service.doc or "",
        "root": root,
        "placement": service.placement.value,
        "workers": service.workers,
        "apis": [
            {
                "name": api.name,
                "route": api.route,
                "doc": api.doc or "",
                "stream": api.stream,
                "batches": api.batch is not None,
            }
            for api in service.apis
        ],
        "calls": [
            {
                "attribute": each.attribute,
                "service": each.service.name if each.service else None,
                "url": _shown(each.url),
            }
            for each in service.dependencies
        ],
        "models": [{"attribute": model.attribute, "name": model.name} for model in service.models],
    }


def _shown(url: str | None) -> str | None:
    return None if url is None else ServedElsewhere(url).name


def _health(health: ModelHealth) -> dict[str, Any]:
    return {"state": health.state.value, "reason": health.reason}
