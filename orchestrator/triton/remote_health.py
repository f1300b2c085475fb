"""How a Triton on another machine is, as the supervisor beside it knows: asked of a model that runs in it."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import numpy as np
from pydantic import ValidationError

from orchestrator.engine.backend import Backend, InferRequest
from orchestrator.engine.health import HEALTH_MODEL, Health, HealthReport, joint_health
from orchestrator.engine.heartbeat import Beat
from orchestrator.errors import CallError, EndpointNotFound

__all__ = ["FleetHealth", "RemoteHealth"]

_ANSWER_S: Final = 8.0
"""The model answers after 5 s at the latest, unless its worker has died."""
_AGAIN_S: Final = 0.5
_LATE_S: Final = 1.5
"""A supervisor misses a worker within a second, also one that it has never seen."""
_NOBODY_S: Final = 10.0
"""Until a Triton without such a model is asked again: it may have been started anew, with one."""


class RemoteHealth:
    """One server's (implements `HealthSource`). It is asked as long as anybody has it open; each question waits there for news.

    Args:
        connect: makes a connection to the server.
    """

    def __init__(self, connect: Callable[[], Backend]) -> None:
        self._connect = connect
        self._users = 0
        self._asking: asyncio.Task[None] | None = None
        self._forget()

    @property
    def known(self) -> bool:
        return bool(self._digest)

    @property
    def late_s(self) -> float:
        return _LATE_S

    @property
    def is_open(self) -> bool:
        return self._users > 0

    async def open(self) -> None:
        """Each one is followed by one `close`."""
        self._users += 1
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())

    async def close(self) -> None:
        self._users -= 1
        if not self._users and self._asking is not None:
            asking, self._asking = self._asking, None
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def read(self) -> Health:
        return self._health

    def beat(self, pid: int) -> Beat | None:
        return self._beats.get(pid)

    def was_begun(self, request_id: str) -> bool:
        return any(beat.has_begun(request_id) for beat in self._beats.values())

    def _forget(self) -> None:
        self._digest = b""
        self._health = Health()
        self._beats: dict[int, Beat] = {}

    async def _ask(self) -> None:
        backend = self._connect()
        try:
            while True:
                await asyncio.sleep(await self._asked_once(backend))
        finally:
            await backend.close()

    async def _asked_once(self, backend: Backend) -> float:
        """Waits for news.

        Returns:
            Seconds until it is asked again.
        """
        seen = np.array([self._digest], object)
        try:
            answer = await backend.infer(InferRequest(HEALTH_MODEL, {"seen": seen}, timeout_s=_ANSWER_S))
            digest, document = (bytes(answer.outputs[name].item()) for name in ("digest", "report"))
            report = HealthReport.parse(document)
        except EndpointNotFound:
            self._forget()
            return _NOBODY_S
        except CallError:  # who calls it now learns that, too
            self._forget()
            return _AGAIN_S
        except (KeyError, ValueError, ValidationError):  # a model of that name which is not ours, or of another release
            self._forget()
            return _NOBODY_S
        if digest != self._digest:
            self._digest, self._health, self._beats = digest, report.here(), report.beats()
        return 0.0


class FleetHealth:
    """All servers that a front-end process calls.

    Args:
        connect: makes a connection to a server, by its address.
    """

    def __init__(self, connect: Callable[[str], Backend]) -> None:
        self._connect = connect
        self._servers: dict[str, RemoteHealth] = {}

    def of(self, address: str) -> RemoteHealth:
        """One server's; it is asked once, whoever wants to know."""
        with contextlib.suppress(KeyError):
            return self._servers[address]
        self._servers = {name: each for name, each in self._servers.items() if each.is_open}
        self._servers[address] = made = RemoteHealth(lambda: self._connect(address))
        return made

    def read(self) -> Health:
        """Theirs together."""
        return joint_health([each.read() for each in self._servers.values() if each.is_open])
