"""Which models have fewer workers than they should: what Triton says it serves, against the processes that are there."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.engine.health import State
from orchestrator.errors import ServerProcessError
from orchestrator.triton.control import ModelState
from orchestrator.triton.local_control import workers_in
from orchestrator.triton.workers import WorkerProcess

__all__ = ["Asked", "Shortage", "Survey", "survey"]

Processes = Callable[[], Awaitable[Sequence[WorkerProcess]]]


class Asked(Protocol):
    """What a supervisor asks of Triton; `Control` is one."""

    async def repository_index(self) -> tuple[ModelState, ...]: ...
    async def model_config(self, name: str) -> dict[str, Any]: ...
    async def load_model(self, name: str, config_json: str | None = None) -> None: ...
    async def server_live(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Shortage:
    """A version that serves with too few workers.

    Attributes:
        wanted: workers that it should have.
        have: those that it has.
    """

    model: str
    version: str
    wanted: int
    have: tuple[WorkerProcess, ...]

    @property
    def state(self) -> State:
        return State.DEGRADED if self.have else State.DOWN

    @property
    def reason(self) -> str:
        return f"{self.model}: {self.wanted - len(self.have)} of {self.wanted} workers died"


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found.

    Attributes:
        serving: versions that take requests, as (model, version).
        short: model -> what it lacks.
    """

    serving: frozenset[tuple[str, str]] = frozenset()
    short: Mapping[str, Shortage] = field(default_factory=dict)


async def survey(triton: Asked, processes: Processes) -> Survey:
    """Counts.

    The processes are listed between two looks at what serves: workers of a version that is ready in the first have all
    started before the list, and none of a version that is ready in the second has been ended by Triton before it. So
    deployments, which start and end workers all the time, never look like deaths.

    Raises:
        ServerProcessError: Triton does not answer.
    """
    wanted = {each: await _workers_of(triton, each[0]) for each in await _serving(triton)}
    there = await processes()
    short = {}
    serving = await _serving(triton)
    for model, version in serving:
        have = tuple(worker for worker in there if worker.copy == (model, version))
        if len(have) < wanted.get((model, version), 0):
            short[model] = Shortage(model, version, wanted[model, version], have)
    return Survey(serving, short)


async def _serving(triton: Asked) -> frozenset[tuple[str, str]]:
    index = await triton.repository_index()
    return frozenset((each.name, each.version) for each in index if each.state == "READY")


async def _workers_of(triton: Asked, model: str) -> int:
    """How many worker processes a model has while all is well; asked anew each time, for a new config changes it."""
    config: dict[str, Any] = {}
    with contextlib.suppress(ServerProcessError):  # unloaded since it was listed
        config = await triton.model_config(model)
    return workers_in(config)
