"""What is known of a server's health, for whoever answers callers: a small file, replaced as a whole.

`triton/supervisor.py` writes it. Times are nanoseconds of the machine's monotonic clock, which all processes share. Who is
on another machine gets it from a model that runs in the Triton itself (`worker/health_model.py`).
"""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from pydantic import ValidationError

from orchestrator.engine.heartbeat import Beat, was_begun
from orchestrator.spec.frozen import Frozen

__all__ = [
    "HEALTH_FILE",
    "HEALTH_MODEL",
    "KNOWN_S",
    "TRITON",
    "Health",
    "HealthFile",
    "HealthReport",
    "HealthSource",
    "Loss",
    "ModelHealth",
    "State",
    "joint_health",
]

HEALTH_FILE: Final = "health.json"
"""Name inside the server's run directory."""
HEALTH_MODEL: Final = "orchestrator_health"
"""Name of the Triton model that tells it to other machines: the text input `seen` has the digest of what the caller knows,
the text output `report` comes as soon as there is something else, or after some seconds."""
KNOWN_S: Final = 25.0
"""How long ago a worker may have died to be the one that a call met: its page is there for longer."""
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


def joint_health(servers: Sequence[Health]) -> Health:
    """That of several servers which serve the same: what one of them can do can be done. It tells of no losses."""
    names = {name: None for health in servers for name in health.models}
    models = {name: _joint([health.of(name) for health in servers]) for name in names}
    deaths, heals = Counter[str](), Counter[str]()
    for health in servers:
        deaths.update(health.deaths)
        heals.update(health.heals)
    return Health(whole=_joint([health.whole for health in servers]), models=models, deaths=deaths, heals=heals)


def _joint(found: Sequence[ModelHealth]) -> ModelHealth:
    bad = [health for health in found if health.state is not State.SERVING]
    if not bad:
        return _WELL
    worst = min(bad, key=lambda health: _WORST_FIRST.index(health.state))
    state = State.DEGRADED if any(health.answers for health in found) else worst.state
    return worst.model_copy(update={"state": state, "reason": "; ".join(dict.fromkeys(each.reason for each in bad))})


class HealthReport(Frozen):
    """A server's health for another machine.

    Attributes:
        now_ns: when it was made, by the server's clock.
        marks: process id of a worker that has died lately -> marks of the calls that it had begun, see `Beat`.
    """

    health: Health
    now_ns: int
    marks: Mapping[int, tuple[int, ...] | None] = {}

    @classmethod
    def of(cls, health: Health) -> "HealthReport":
        """As it is now, on the server's machine."""
        now_ns = time.monotonic_ns()
        dead = [loss.pid for loss in health.losses if now_ns - loss.at_ns < KNOWN_S * 1e9]
        beats = {pid: beat for pid in dead if (beat := Beat.read(health.server_id, pid)) is not None}
        marks = {pid: None if beat.marks is None else tuple(sorted(beat.marks)) for pid, beat in beats.items()}
        return cls(health=health, now_ns=now_ns, marks=marks)

    def here(self) -> Health:
        """With the times of this machine's clock, as if it had been made at this moment."""
        shift_ns = time.monotonic_ns() - self.now_ns
        losses = tuple(each.model_copy(update={"at_ns": each.at_ns + shift_ns}) for each in self.health.losses)
        return self.health.model_copy(update={"losses": losses})

    def beats(self) -> dict[int, Beat]:
        """Process id -> what a worker that has died had last said."""
        return {
            pid: Beat(turn_ns=0, since_ns=0, calls=0, marks=None if marks is None else frozenset(marks))
            for pid, marks in self.marks.items()
        }


class HealthSource(Protocol):
    """Where a front-end learns how a server is."""

    @property
    def known(self) -> bool:
        """Whether anybody watches the server, and tells."""
        ...

    @property
    def late_s(self) -> float:
        """How long after a death it may not know which calls the worker had begun."""
        ...

    def read(self) -> Health:
        """What was last said; a server that nobody watches is well."""
        ...

    def beat(self, pid: int) -> Beat | None:
        """What a worker that has died had last said; None where nobody knows."""
        ...

    def was_begun(self, request_id: str) -> bool:
        """Whether any worker that is known of may have begun a call."""
        ...


class HealthFile:
    """Reads the file, again only where it has changed (implements `HealthSource`).

    Args:
        folder: the server's run directory.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / HEALTH_FILE
        self._seen: tuple[int, int] | None = None
        self._health = Health()

    @property
    def known(self) -> bool:
        return True

    @property
    def late_s(self) -> float:
        return 0.0  # the pages are here

    def beat(self, pid: int) -> Beat | None:
        return Beat.read(self._health.server_id, pid)

    def was_begun(self, request_id: str) -> bool:
        return was_begun(self._health.server_id, request_id)

    def read(self) -> Health:
        """What the supervisor last said; a server without a supervisor is well."""
        with contextlib.suppress(OSError, ValidationError):
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino)
            if seen != self._seen:
                self._health = Health.parse(self._path.read_bytes())
                self._seen = seen
        return self._health
