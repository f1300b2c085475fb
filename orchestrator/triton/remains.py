"""What workers leave behind: their shared memory, and the surviving workers of a copy that is broken."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from orchestrator.engine.heartbeat import Beat, beat_path
from orchestrator.triton.workers import WorkerProcess

__all__ = ["Remains"]

_KEPT_S: Final = 30.0
"""How long a dead worker's page stays: front-ends read there which calls it had begun."""
_LOOK_S: Final = 0.1
_IDLE_S: Final = 0.5
_SHM: Final = Path("/dev/shm")  # noqa: S108


class Remains:
    """Of one server.

    Args:
        server_id: of the server.
        kill: kills a process that is watched.
        drain_s: how long the survivors of a broken copy may go on with their calls.
    """

    def __init__(self, server_id: str, *, kill: Callable[[int], None], drain_s: float) -> None:
        self._server_id = server_id
        self._kill = kill
        self._drain_s = drain_s
        self._dead: dict[WorkerProcess, float] = {}

    def died(self, workers: Iterable[WorkerProcess]) -> None:
        """Removes the tensors of workers that have ended; Triton would keep them until its own end."""
        now = asyncio.get_running_loop().time()
        for worker in workers:
            self._dead[worker] = now
            with contextlib.suppress(OSError):
                (_SHM / worker.segment).unlink()

    def has(self, pid: int) -> bool:
        """Whether a dead worker of that process id is known."""
        return any(worker.pid == pid for worker in self._dead)

    def sweep(self, alive: Collection[WorkerProcess]) -> None:
        """Removes the pages of those that died a while ago.

        Args:
            alive: workers that are there.
        """
        now, pids = asyncio.get_running_loop().time(), {worker.pid for worker in alive}
        for worker in [worker for worker, died in self._dead.items() if now - died > _KEPT_S]:
            del self._dead[worker]
            if worker.pid not in pids:
                beat_path(self._server_id, worker.pid).unlink(missing_ok=True)

    async def end_when_idle(
        self, workers: Sequence[WorkerProcess], alive: Callable[[], Collection[WorkerProcess]]
    ) -> None:
        """Ends the survivors of a broken copy, each as soon as it has had no call for a moment."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._drain_s
        idle: dict[WorkerProcess, float] = {}
        left = list(workers)
        while left:
            await asyncio.sleep(_LOOK_S)
            now = loop.time()
            left = [worker for worker in left if worker in alive()]
            for worker in list(left):
                beat = Beat.read(self._server_id, worker.pid)
                if beat is None or beat.calls:
                    idle.pop(worker, None)
                if now > end or now - idle.setdefault(worker, now) > _IDLE_S:
                    self._kill(worker.pid)
                    self.died([worker])
                    left.remove(worker)
