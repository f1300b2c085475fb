"""What the status page shows, as one JSON document: services, the versions that serve, health, and counters to take rates of."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final, Generic, TypeVar

import orjson

from orchestrator.engine.health import Health, ModelHealth, State
from orchestrator.errors import OrchestratorError
from orchestrator.server.checks import Probes
from orchestrator.server.elsewhere import ServedElsewhere
from orchestrator.server.metrics import FrontendMetrics
from orchestrator.server.status_counters import counters_of
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
        self._index: _Newest[Sequence[ModelVersion]] = _Newest(engine_index or _no_versions, ())
        self._engine = _Newest(engine_metrics if engine_metrics and self._service.metrics.enabled else _no_page, b"")
        self._ready = _Newest(checks.ready, False)
        self._release = version("triton-orchestrator")
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
            self._index.get(),
            self._engine.get(),
        )
        return {
            "at_s": time.time(),
            "uptime_s": time.monotonic() - self._started,
            "release": self._release,
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
            "counters": counters_of(self._metrics, self._service, engine, self._models.keys())
            if self._service.metrics.enabled
            else None,
        }

    def _said(self, health: ModelHealth, ready: bool) -> dict[str, Any]:
        if health.answers and not ready:
            missing = self._checks.missing
            return {
                "state": State.DOWN.value,
                "reason": f"not ready: {missing}" if missing else "the service is not ready",
            }
        return _health(health)


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


async def _no_versions() -> Sequence[ModelVersion]:
    return ()


async def _no_page() -> bytes:
    return b""


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
