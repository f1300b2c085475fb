"""What health and metrics routes ask of the service itself."""

import asyncio
import logging
from collections.abc import Sequence, Set
from typing import Final, Protocol

from orchestrator.engine import Backend, Invoker
from orchestrator.errors import OrchestratorError
from orchestrator.server.elsewhere import ServedElsewhere
from orchestrator.spec import CalledService, ServiceSpec

__all__ = ["Checks", "Probes"]

_TIMEOUT_S: Final = 5.0
_READY: Final = "__is_ready__"
logger = logging.getLogger("orchestrator.server")


class Probes(Protocol):
    """What answers the health and metrics routes."""

    async def alive(self) -> bool:
        """Whether the service lives."""
        ...

    async def ready(self) -> bool:
        """Whether it can answer now."""
        ...

    @property
    def missing(self) -> str:
        """What it was that could not, when that was last asked; "" for the service itself."""
        ...

    async def metrics(self, page: bytes) -> bytes:
        """The page of metrics, as the service wants it."""
        ...


class Checks:
    """Asks `__is_alive__`, `__is_ready__` and `__metrics__` of a service that has them, and whether all is there that it needs.

    Args:
        invoker: of the service.
        backend: runs it and the others.
        models: names of all models and services that it needs, its own among them.
        others: services that it reaches.
        elsewhere: services that it reaches by their URL.
    """

    def __init__(
        self,
        service: ServiceSpec,
        invoker: Invoker,
        backend: Backend,
        models: Sequence[str] = (),
        others: Sequence[CalledService] = (),
        elsewhere: Sequence[ServedElsewhere] = (),
    ) -> None:
        self._name = service.name
        self._names = {check.name for check in service.checks}
        self._invoker = invoker
        self._backend = backend
        self._models = models
        self._others = {
            other.name: Invoker(other, backend) for other in others if _READY in {check.name for check in other.checks}
        }
        self._elsewhere = elsewhere
        self.missing = ""

    async def alive(self) -> bool:
        """Whether the service says that it lives; a service that does not say lives."""
        return await self._asked(self._invoker, "__is_alive__", self._names)

    async def ready(self) -> bool:
        """Whether all models are there that are needed, and all services say that they are ready."""
        there = await asyncio.gather(*(self._backend.ready(model) for model in self._models))
        missing = [model for model, is_there in zip(self._models, there, strict=True) if not is_there]
        if not missing and not await self._asked(self._invoker, _READY, self._names):
            missing = [self._name]
        if not missing:
            said = await asyncio.gather(
                *(self._asked(invoker, _READY, {_READY}) for invoker in self._others.values()),
                *(each.ready() for each in self._elsewhere),
            )
            names = [*self._others, *(each.name for each in self._elsewhere)]
            missing = [name for name, is_ready in zip(names, said, strict=True) if not is_ready]
        self.missing = ", ".join(name for name in missing if name != self._name)
        return not missing

    async def metrics(self, page: bytes) -> bytes:
        """The page as the service wants it; as it was where that fails."""
        if "__metrics__" not in self._names:
            return page
        try:
            outcome = await self._invoker.call("__metrics__", {"text": page.decode()}, timeout_s=_TIMEOUT_S)
            return str(outcome.value).encode()
        except OrchestratorError as error:
            logger.warning("__metrics__ failed: %s", error)
            return page

    async def _asked(self, invoker: Invoker, name: str, names: Set[str]) -> bool:
        if name not in names:
            return True
        try:
            return bool((await invoker.call(name, {}, timeout_s=_TIMEOUT_S)).value)
        except OrchestratorError as error:
            logger.warning("%s failed: %s", name, error)
            return False
