"""What health and metrics routes ask of the service itself."""

import logging
from typing import Final, Protocol

from orchestrator.engine import Invoker
from orchestrator.errors import OrchestratorError
from orchestrator.spec import ServiceSpec

__all__ = ["Checks", "Probes"]

_TIMEOUT_S: Final = 5.0
logger = logging.getLogger("orchestrator.server")


class Probes(Protocol):
    """What answers the health and metrics routes."""

    async def alive(self) -> bool:
        """Whether the service lives."""
        ...

    async def ready(self) -> bool:
        """Whether it can answer now."""
        ...

    async def metrics(self, page: bytes) -> bytes:
        """The page of metrics, as the service wants it."""
        ...


class Checks:
    """Asks `__is_alive__`, `__is_ready__` and `__metrics__` of a service that has them."""

    def __init__(self, service: ServiceSpec, invoker: Invoker) -> None:
        self._names = {check.name for check in service.checks}
        self._invoker = invoker

    async def alive(self) -> bool:
        """Whether the service says that it lives; a service that does not say lives."""
        return await self._asked("__is_alive__")

    async def ready(self) -> bool:
        """Whether the service's model is there, and the service says that it is ready."""
        return await self._invoker.ready() and await self._asked("__is_ready__")

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

    async def _asked(self, name: str) -> bool:
        if name not in self._names:
            return True
        try:
            return bool((await self._invoker.call(name, {}, timeout_s=_TIMEOUT_S)).value)
        except OrchestratorError as error:
            logger.warning("%s failed: %s", name, error)
            return False
