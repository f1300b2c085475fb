"""One Triton model from one version to another, step by step."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from orchestrator.deployment.configs import as_json
from orchestrator.deployment.folder import ModelFolder
from orchestrator.deployment.history import History
from orchestrator.deployment.steps import Changed, Report, Step, StepDone
from orchestrator.errors import DeploymentError, OrchestratorError, ServerProcessError
from orchestrator.triton.control import ModelState
from orchestrator.triton.turns import Turns

__all__ = ["Loader", "Swap", "perform"]

_POLL_S: Final = 0.02
_BUSY: Final = frozenset({"READY", "UNLOADING", "LOADING"})


class Loader(Protocol):
    """What a deployment asks of Triton; `triton.Control` is one, `triton.fleet.Fleet` stands for several.

    A model is loaded everywhere or nowhere, and each machine tells of each version that any of them knows.
    """

    async def load_model(self, name: str, config_json: str | None = None) -> None: ...
    async def repository_index(self) -> tuple[ModelState, ...]: ...


@dataclass(frozen=True, slots=True)
class Swap:
    """What is to be done.

    Attributes:
        folder: of the Triton model.
        before: its history now.
        after: its history then; the top of it is the new version.
        write: writes the new version's files; None where they are there.
    """

    folder: ModelFolder
    before: History
    after: History
    write: Callable[[Path], None] | None = None

    @property
    def back(self) -> "Swap":
        """The way back, where another model's swap has failed."""
        return Swap(self.folder, self.after, self.before)


async def perform(swap: Swap, triton: Loader, report: Report, *, turns: Turns, drain_s: float) -> Changed:
    """Makes Triton and the disk serve the version that `swap.after` has on top.

    Args:
        turns: nobody else loads the model until Triton and the disk say the same.
        drain_s: how long to wait for the old version's calls; they go on after that, too.

    Raises:
        DeploymentError: it does not load, or cannot prove itself; the version before goes on, and nothing is left.
        ServerProcessError: Triton does not answer any more.
    """
    folder, old, new = swap.folder, swap.before.now, swap.after.now

    @contextlib.asynccontextmanager
    async def step(which: Step) -> AsyncGenerator[list[str], None]:
        started, notes = time.monotonic(), list[str]()
        yield notes
        seconds = round(time.monotonic() - started, 3)
        report(StepDone(model=folder.name, version=new.version, step=which, seconds=seconds, note="; ".join(notes)))

    if swap.write is not None:
        async with step(Step.STAGE):
            await asyncio.to_thread(folder.stage, new.version, swap.write)
    elif not folder.version(new.version).is_dir():
        raise DeploymentError(f"{folder.name}: the folder of version {new.version} is gone", hint="deploy it again")
    async with turns.of(folder.name):
        try:
            async with step(Step.LOAD):
                await triton.load_model(folder.name, as_json(new.config))
        except ServerProcessError as error:
            if swap.write is not None:
                await asyncio.to_thread(folder.discard, new.version)
            raise DeploymentError(
                f"{new.what} is not deployed: {error.message}; {old.what} goes on", hint=error.hint
            ) from error
        try:
            async with step(Step.CONFIGURE):
                # The history first: one that is a step ahead of the config is known for what it is (`History.settled`).
                folder.keep_history(swap.after)
                folder.serve(new.config)
            async with step(Step.CONFIRM):
                await _confirm(triton, folder.name, new.version)
        except OrchestratorError:
            await _return(swap, triton)
            raise
    async with step(Step.DRAIN) as notes:
        drained = old.version == new.version or await _drained(triton, folder.name, old.version, drain_s)
        if not drained:
            notes.append(f"version {old.version} still has calls in flight; it goes when they have ended")
    async with step(Step.PRUNE):
        await asyncio.to_thread(folder.prune, swap.after.kept | {old.version} if not drained else swap.after.kept)
    return Changed(
        model=folder.name,
        version=new.version,
        what=new.what,
        before=old.version,
        before_what=old.what,
        drained=drained,
        notes=tuple(notes),
    )


async def _confirm(triton: Loader, name: str, version: int) -> None:
    index = await triton.repository_index()
    found = [each for each in index if (each.name, each.version) == (name, str(version))]
    wrong = next((each for each in found if each.state != "READY"), None)
    if wrong is not None or not found:
        state = f"{wrong.state} {wrong.reason}".strip() if wrong else "not there"
        raise DeploymentError(f"Triton has loaded version {version} of {name}, and says that it is {state}")


async def _return(swap: Swap, triton: Loader) -> None:
    """Triton and the disk as they were."""
    old = swap.before.now
    with contextlib.suppress(OrchestratorError):  # what led here is the better thing to say
        swap.folder.serve(old.config)
        swap.folder.keep_history(swap.before)
    with contextlib.suppress(OrchestratorError):
        await triton.load_model(swap.folder.name, as_json(old.config))
    with contextlib.suppress(OrchestratorError):
        if swap.write is not None:
            swap.folder.discard(swap.after.now.version)


async def _drained(triton: Loader, name: str, version: int, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while True:
        index = await triton.repository_index()
        if not any((each.name, each.version) == (name, str(version)) and each.state in _BUSY for each in index):
            return True
        if time.monotonic() > end:
            return False
        await asyncio.sleep(_POLL_S)
