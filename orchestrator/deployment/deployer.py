"""Moving what a server serves to another version and back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from orchestrator.deployment.code import ServiceCode, changed_files
from orchestrator.deployment.configs import service_path_of
from orchestrator.deployment.differences import kept_settings
from orchestrator.deployment.neighbours import module_files, reached_from
from orchestrator.deployment.plans import to_before, to_code, to_native, to_stored
from orchestrator.deployment.serving import NativeTarget, ServiceTarget, Serving, Target
from orchestrator.deployment.steps import Changed, ModelStatus, Report, ServerStatus
from orchestrator.deployment.swap import Loader, Swap, perform
from orchestrator.errors import DeploymentError, OrchestratorError
from orchestrator.sdk.native import Resolved
from orchestrator.spec import Placement, Tag
from orchestrator.store import Store
from orchestrator.triton.control import ModelState
from orchestrator.triton.turns import Turns

__all__ = ["Deployer"]

_DRAIN_S: Final = 30.0
_WAIT_S: Final = 60.0
_SHOWN: Final = 3
"""Files that a note names."""


class Deployer:
    """Moves the models and services of one server; one deployment at a time, the next one waits.

    It belongs to one event loop. A deployment that has begun goes on to its end, whether or not its caller waits.

    Args:
        serving: what the server serves.
        connect: opens a connection to its Triton.
        store: gives the store that versions come from.
        resolve: finds a version of a native model: (name of the Triton model, tag of the stored model).
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
        """New code of one service: the next version of its Triton model, with the models and services that serve now.

        Raises:
            DeploymentError: callers would see a difference, or it does not load; the code before goes on.
        """
        target = self.serving.own(code.spec.name)
        async with self._turn(f"the deployment of {code.spec.target}"):
            code = self._for_engine(target, code)
            swap = await asyncio.to_thread(to_code, target, code, self.serving.serves)
            notes = await asyncio.to_thread(self._notes, code)
            changed = await self._perform([target], [swap], report)
            return [each.model_copy(update={"notes": (*each.notes, *notes)}) for each in changed]

    async def roll_back(self, name: str, report: Report) -> list[Changed]:
        """Every model and service here of that name, to the version that served before.

        Args:
            name: of a stored model, of a Triton model or of a service.

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

    async def status(self, url: str, pid: int | None) -> ServerStatus:
        """What serves now, and what a rollback leads to.

        Args:
            url: of the front-end, or of the Tritons.
            pid: of the server's command, where it is on this machine.
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
                    states=_states([each for each in index if each.name == name]),
                )
            )
        serving = self.serving
        others = tuple(each.name for each in serving.others)
        return ServerStatus(
            url=url,
            pid=pid,
            service=serving.name,
            others=others,
            reloads=serving.reloads,
            models=tuple(models),
        )

    def _find(self, tag: Tag) -> Tag:
        """The version that a tag stands for now."""
        return self._store().get(tag).tag

    def _to_version(self, target: Target, tag: Tag) -> Swap | None:
        if isinstance(target, NativeTarget):
            return to_native(target, self._resolve(target.folder.name, tag), self.serving.built_for)
        return to_stored(target, tag)

    def _for_engine(self, target: ServiceTarget, code: ServiceCode) -> ServiceCode:
        """New code as it is written for the Triton that will run it."""
        path = service_path_of(target.folder.config) if self.serving.elsewhere else None
        return replace(code, built_for=self.serving.built_for, service_path=path)

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
        own = self.serving.own(code.spec.name).spec
        kept = kept_settings(own, code.spec)
        notes = [f"the front-end keeps what it was started with: {', '.join(kept)}"] if kept else []
        notes += self._left_behind(code)
        serves = {
            target.folder.name: target.spec.tag for target in self.serving.targets if isinstance(target, NativeTarget)
        }
        pins = {ref.requested: ref.tag for ref in own.stored}
        asked = [(spec.attribute, spec.tag, serves.get(spec.name)) for spec in code.spec.models]
        asked += [(ref.requested, ref.tag, pins.get(ref.requested, ref.tag)) for ref in code.spec.stored]
        stays = [f"{what} stays {now}, and would be {then}" for what, then, now in asked if now != then]
        return notes + [f"{each}; `orchestrator models deploy` moves it" for each in stays]

    def _left_behind(self, code: ServiceCode) -> Iterator[str]:
        """Services that new code calls, directly or not, and whose own code is another one in the same folder by now.

        They are not deployed with it: what each can be asked stays the same, so that any of their versions go together,
        and a rollback takes back what was asked for, and nothing else.
        """
        serves = self.serving.serves
        modules = {name: module_files(spec) for name, spec in serves.items()}
        for name in reached_from(code.spec, serves):
            if serves[name].placement is not Placement.TRITON:
                continue
            folder = self.serving.own(name).folder
            foreign = {file for other, files in modules.items() if other != name for file in files} - modules[name]
            changed = sorted(changed_files(folder.version(folder.serving), code) - foreign)
            if changed:
                files = ", ".join(changed[:_SHOWN]) + (" ..." if len(changed) > _SHOWN else "")
                yield f"{name} goes on with its code of before ({files} changed); `orchestrator deploy` moves it"

    def _record(self, tag: Tag, kind: str, changed: Sequence[Changed]) -> None:
        """Notes it in the model's history; a store that cannot be written does not undo what has happened."""
        moved = [each for each in changed if each.before != each.version]
        detail = ", ".join(f"{each.model}: {each.before_what} -> {each.what}" for each in moved)
        if moved:
            with contextlib.suppress(OrchestratorError):
                self._store().record_event(tag.name, kind, tag.version, detail)

    def _with_next_start(self, now: Tag, changed: Sequence[Changed]) -> list[Changed]:
        """With a note where a class asks for what is another version by now: the next start would serve that one."""
        graph = self.serving.graph
        next_one = f"the next {'export' if self.serving.elsewhere else 'start'} of {self.serving.name}"
        asked = [each.requested for one in graph for each in one.models if each.requested is not None]
        asked += [each.requested for one in graph for each in one.stored]
        notes = []
        with contextlib.suppress(OrchestratorError):
            for requested in dict.fromkeys(asked):
                if Tag.of(requested).name == now.name and (then := self._find(Tag.of(requested))) != now:
                    notes.append(f"{next_one} takes {then}, which is what {requested} means")
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
    return bool(state.version) and bool(state.state) and state.reason != "unloaded"


def _states(index: Sequence[ModelState]) -> dict[str, str]:
    """Version -> its state; with the number of machines where they differ."""
    found = {}
    for version in dict.fromkeys(each.version for each in index if _tells(each)):
        states = [each.state or "missing" for each in index if each.version == version]
        counts = [f"{state} on {states.count(state)} of {len(states)}" for state in dict.fromkeys(states)]
        found[version] = states[0] if len(counts) == 1 else ", ".join(counts)
    return found


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
