"""Moving what a server serves to another version and back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from orchestrator.deployment.code import ServiceCode
from orchestrator.deployment.differences import kept_settings
from orchestrator.deployment.plans import to_before, to_code, to_native, to_stored
from orchestrator.deployment.serving import NativeTarget, Serving, Target
from orchestrator.deployment.steps import Changed, ModelStatus, Report, ServerStatus
from orchestrator.deployment.swap import Loader, Swap, perform
from orchestrator.errors import DeploymentError, OrchestratorError
from orchestrator.sdk.native import Resolved
from orchestrator.spec import Tag
from orchestrator.store import Store
from orchestrator.triton.control import ModelState
from orchestrator.triton.turns import Turns

__all__ = ["Deployer"]

_DRAIN_S: Final = 30.0
_WAIT_S: Final = 60.0


class Deployer:
    """Moves the models of one running service; one deployment at a time, the next one waits.

    It belongs to one event loop. A deployment that has begun goes on to its end, whether or not its caller waits.

    Args:
        serving: what the server serves.
        connect: opens a connection to its Triton.
        store: gives the store that versions come from.
        resolve: finds a version of a native model: (attribute of the service's class, tag of the stored model).
        drain_s: how long a deployment waits for the calls of the version before; they go on after that, too.
        wait_s: how long a deployment waits for another one to end.
        turns: whose turn it is to load a model, shared with whoever else loads some.
    """

    def __init__(
        self,
        serving: Serving,
        *,
        connect: Callable[[], AbstractAsyncContextManager[Loader]],
        store: Callable[[], Store],
        resolve: Callable[[str, Tag], Resolved],
        drain_s: float = _DRAIN_S,
        wait_s: float = _WAIT_S,
        turns: Turns | None = None,
    ) -> None:
        self.serving = serving
        self._connect = connect
        self._store = store
        self._resolve = resolve
        self._drain_s = drain_s
        self._wait_s = wait_s
        self._turns = turns or Turns()
        self._lock = asyncio.Lock()
        self._under_way = ""

    async def deploy_model(self, tag: Tag, report: Report) -> list[Changed]:
        """A version of a stored model, to every model and service here that came from that name.

        Args:
            tag: its version may be `latest` or an alias.

        Raises:
            DeploymentError: nothing here uses that model, or this version cannot stand in, load or prove itself; what
                served before goes on.
            StoreError: the store does not have it.
        """
        targets = self.serving.of_stored(tag.name)
        async with self._turn(f"the deployment of {tag}"):
            found = await asyncio.to_thread(self._find, tag)
            swaps = [await asyncio.to_thread(self._to_version, target, found) for target in targets]
            changed = await self._perform(targets, swaps, report)
            await asyncio.to_thread(self._record, found, "deployed", changed)
            return await asyncio.to_thread(self._with_next_start, found, changed)

    async def deploy_code(self, code: ServiceCode, report: Report) -> list[Changed]:
        """New code of the service: the next version of its Triton model, with the models that serve now.

        Raises:
            DeploymentError: callers would see a difference, or it does not load; the code before goes on.
        """
        target = self.serving.own()
        async with self._turn(f"the deployment of {code.spec.target}"):
            swap = await asyncio.to_thread(to_code, target, code)
            notes = await asyncio.to_thread(self._notes, code)
            changed = await self._perform([target], [swap], report)
            return [each.model_copy(update={"notes": (*each.notes, *notes)}) for each in changed]

    async def roll_back(self, name: str, report: Report) -> list[Changed]:
        """Every model and service here of that name, to the version that served before.

        Args:
            name: of a stored model, of a Triton model or of the service.

        Raises:
            DeploymentError: nothing here has that name, or nothing served before.
        """
        targets = self.serving.of_name(name)
        async with self._turn(f"the rollback of {name}"):
            swaps = [await asyncio.to_thread(to_before, target, name) for target in targets]
            changed = await self._perform(targets, swaps, report)
            tag = next((_tag_of(target, name) for target in targets if name in target.stored), None)
            if tag is None:
                return changed
            await asyncio.to_thread(self._record, tag, "rolled back", changed)
            return await asyncio.to_thread(self._with_next_start, tag, changed)

    async def status(self, url: str, pid: int) -> ServerStatus:
        """What serves now, and what a rollback leads to.

        Args:
            url: of the front-end.
            pid: of the server's command.
        """
        async with self._connect() as triton:
            index = await triton.repository_index()
        models = []
        for target in self.serving.targets:
            history, name = await asyncio.to_thread(target.history), target.folder.name
            now, before = history.now, history.before
            models.append(
                ModelStatus(
                    model=name,
                    stored=tuple(sorted(target.stored)),
                    version=now.version,
                    what=now.what,
                    since=now.since,
                    before=before and before.what,
                    states={each.version: each.state for each in index if each.name == name and _tells(each)},
                )
            )
        service, reloads = self.serving.service.name, self.serving.reloads
        return ServerStatus(url=url, pid=pid, service=service, reloads=reloads, models=tuple(models))

    def _find(self, tag: Tag) -> Tag:
        """The version that a tag stands for now."""
        return self._store().get(tag).tag

    def _to_version(self, target: Target, tag: Tag) -> Swap | None:
        if isinstance(target, NativeTarget):
            return to_native(target, self._resolve(target.attribute, tag))
        return to_stored(target, tag)

    async def _perform(self, targets: Sequence[Target], swaps: Sequence[Swap | None], report: Report) -> list[Changed]:
        """All of them, or none."""
        changed: list[Changed] = []
        done: list[Swap] = []
        async with self._connect() as triton:
            for target, swap in zip(targets, swaps, strict=True):
                if swap is None:
                    changed.append(_unchanged(target))
                    continue
                try:
                    changed.append(await perform(swap, triton, report, turns=self._turns, drain_s=self._drain_s))
                except OrchestratorError:
                    for each in reversed(done):
                        await perform(each.back, triton, report, turns=self._turns, drain_s=self._drain_s)
                    raise
                done.append(swap)
        return changed

    def _notes(self, code: ServiceCode) -> list[str]:
        """What of new code does not come with it."""
        own = self.serving.own().spec
        kept = kept_settings(own, code.spec)
        notes = [f"the front-end keeps what it was started with: {', '.join(kept)}"] if kept else []
        serves = {
            target.folder.name: target.spec.tag for target in self.serving.targets if isinstance(target, NativeTarget)
        }
        pins = {ref.requested: ref.tag for ref in own.stored}
        asked = [(spec.attribute, spec.tag, serves.get(spec.name)) for spec in code.spec.models]
        asked += [(ref.requested, ref.tag, pins.get(ref.requested, ref.tag)) for ref in code.spec.stored]
        stays = [f"{what} stays {now}, and would be {then}" for what, then, now in asked if now != then]
        return notes + [f"{each}; `orchestrator models deploy` moves it" for each in stays]

    def _record(self, tag: Tag, kind: str, changed: Sequence[Changed]) -> None:
        """Notes it in the model's history; a store that cannot be written does not undo what has happened."""
        moved = [each for each in changed if each.before != each.version]
        detail = ", ".join(f"{each.model}: {each.before_what} -> {each.what}" for each in moved)
        if moved:
            with contextlib.suppress(OrchestratorError):
                self._store().record_event(tag.name, kind, tag.version, detail)

    def _with_next_start(self, now: Tag, changed: Sequence[Changed]) -> list[Changed]:
        """With a note where the class asks for what is another version by now: the next start would serve that one."""
        service = self.serving.service
        asked = [each.requested for each in service.models if each.requested is not None]
        asked += [each.requested for each in service.stored]
        notes = []
        with contextlib.suppress(OrchestratorError):
            for requested in dict.fromkeys(asked):
                if Tag.of(requested).name == now.name and (then := self._find(Tag.of(requested))) != now:
                    notes.append(f"the next start of {service.name} takes {then}, which is what {requested} means")
        return [each.model_copy(update={"notes": (*each.notes, *notes)}) for each in changed]

    @contextlib.asynccontextmanager
    async def _turn(self, what: str) -> AsyncGenerator[None, None]:
        try:
            await asyncio.wait_for(self._lock.acquire(), self._wait_s)
        except TimeoutError:
            raise DeploymentError(f"{self._under_way}; try again when that has ended") from None
        try:
            self._under_way = f"{what} is under way since {time.strftime('%H:%M:%S')}"
            yield
        finally:
            self._lock.release()


def _tells(state: ModelState) -> bool:
    """Whether there is more to say of a version than that it has been unloaded."""
    return bool(state.version) and state.reason != "unloaded"


def _unchanged(target: Target) -> Changed:
    now = target.history().now
    return Changed(
        model=target.folder.name,
        version=now.version,
        what=now.what,
        before=now.version,
        before_what=now.what,
        notes=("it serves already",),
    )


def _tag_of(target: Target, name: str) -> Tag:
    """The version of a stored model that a target uses now."""
    if isinstance(target, NativeTarget):
        return Tag.of(str(target.spec.tag))
    return Tag.of(target.pins[name])
