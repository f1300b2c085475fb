"""What a supervisor tells: the health file, and the figures in it that only grow."""

import time
from collections import Counter, deque
from pathlib import Path
from typing import Final

from orchestrator.engine.health import Health, Loss, ModelHealth, State

__all__ = ["Report"]

_LOSSES: Final = 32


class Report:
    """A server's health as far as it is known, written to its run directory whenever it changes.

    Args:
        folder: the run directory.
        server_id: of the server.
    """

    def __init__(self, folder: Path, server_id: str) -> None:
        self._folder = folder
        self._health = Health(server_id=server_id)
        self._losses: deque[Loss] = deque(maxlen=_LOSSES)
        self._deaths: Counter[str] = Counter()
        self._heals: Counter[str] = Counter()
        self._serial = 0
        self._health.write(folder)

    @property
    def health(self) -> Health:
        """As last written."""
        return self._health

    def server(self, state: State, reason: str = "", *, retry_s: float = 0.0) -> None:
        """How the server itself is."""
        self._change(whole=ModelHealth(state=state, reason=reason, soon=retry_s == 0, retry_s=retry_s))

    def models(self, models: dict[str, ModelHealth]) -> None:
        """Those that are not as they should be."""
        self._change(models=models)

    def lost(self, model: str, pid: int, *, last: bool) -> None:
        """A worker has died."""
        self._serial += 1
        self._losses.append(Loss(serial=self._serial, model=model, pid=pid, last=last, at_ns=time.monotonic_ns()))
        self._deaths[model] += 1
        self._change(losses=tuple(self._losses), deaths=dict(self._deaths))

    def healed(self, what: str) -> None:
        """Something is whole again."""
        self._heals[what] += 1
        self._change(heals=dict(self._heals))

    def _change(self, **changes: object) -> None:
        health = self._health.model_copy(update=changes)
        if health != self._health:
            self._health = health
            health.write(self._folder)
