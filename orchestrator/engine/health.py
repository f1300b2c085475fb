"""What is known of a server's health, for whoever answers callers: a small file, replaced as a whole.

`triton/supervisor.py` writes it. Times are nanoseconds of the machine's monotonic clock, which all processes share.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from orchestrator.spec.frozen import Frozen

__all__ = ["HEALTH_FILE", "TRITON", "Health", "HealthFile", "Loss", "ModelHealth", "State"]

HEALTH_FILE: Final = "health.json"
"""Name inside the server's run directory."""
TRITON: Final = "triton"
"""Stands in a model's place where it is about the whole server; no model of ours has this name."""


class State(StrEnum):
    """How well something can answer: not yet, yes, with fewer workers than it should have, not now."""

    STARTING = "starting"
    SERVING = "serving"
    DEGRADED = "degraded"
    DOWN = "down"


_WORST_FIRST: Final = (State.DOWN, State.STARTING, State.DEGRADED, State.SERVING)


class ModelHealth(Frozen):
    """One model, or the whole.

    Attributes:
        reason: for a person; empty while all is well.
        soon: it is being put right at this moment; false where that has failed and is tried again later.
        retry_s: seconds until then.
    """

    state: State = State.SERVING
    reason: str = ""
    soon: bool = True
    retry_s: float = 0.0

    @property
    def answers(self) -> bool:
        """Whether a call can be answered now."""
        return self.state in (State.SERVING, State.DEGRADED)


class Loss(Frozen):
    """A worker process that has died.

    Attributes:
        serial: number of this loss, from 1.
        pid: of the worker.
        last: it was the last one of its model: calls that it had not begun will never begin.
        at_ns: when it was noticed; what its model loads afterwards knows nothing of it.
    """

    serial: int
    model: str
    pid: int
    last: bool
    at_ns: int


class Health(Frozen):
    """A server.

    Attributes:
        server_id: of the server; the names of its shared memory begin with it.
        whole: the server itself; where it does not answer no model does.
        models: those that are not as they should be.
        losses: the last of them, in their order.
        deaths: model -> how many of its workers have died.
        heals: what -> how often it was put right.
    """

    server_id: str = ""
    whole: ModelHealth = ModelHealth()
    models: Mapping[str, ModelHealth] = {}
    losses: tuple[Loss, ...] = ()
    deaths: Mapping[str, int] = {}
    heals: Mapping[str, int] = {}

    def of(self, model: str) -> ModelHealth:
        """How one model is."""
        if not self.whole.answers:
            return self.whole
        return self.models.get(model, _WELL)

    def of_all(self, models: Iterable[str]) -> ModelHealth:
        """How something is that needs several models: as the worst of them."""
        found = [health for name in models if (health := self.of(name)).state is not State.SERVING]
        if not found:
            return _WELL
        worst = min(found, key=lambda health: _WORST_FIRST.index(health.state))
        reasons = "; ".join(dict.fromkeys(health.reason for health in found))
        return worst.model_copy(update={"reason": reasons})

    def write(self, folder: Path) -> None:
        """Replaces the file in a run directory; does nothing where that has gone."""
        fresh = folder / f".{HEALTH_FILE}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            fresh.write_bytes(self.document())
            fresh.replace(folder / HEALTH_FILE)


_WELL: Final = ModelHealth()


class HealthFile:
    """Reads the file, again only where it has changed.

    Args:
        folder: the server's run directory.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / HEALTH_FILE
        self._seen: tuple[int, int] | None = None
        self._health = Health()

    def read(self) -> Health:
        """What the supervisor last said; a server without a supervisor is well."""
        with contextlib.suppress(OSError, ValidationError):
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino)
            if seen != self._seen:
                self._health = Health.parse(self._path.read_bytes())
                self._seen = seen
        return self._health
