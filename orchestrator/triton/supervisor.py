"""Notices what Triton does not: that a worker process, or Triton itself, has died or hangs; and puts a new one in its place.

Measured on Triton 24.10 (docs/architecture/12-self-healing.md): a version whose folder has a new date is loaded anew
beside the broken copy, in the time that its workers need to start, and takes all requests from then on. The broken copy
ends by itself only where none of its calls was lost.
"""

import asyncio
import contextlib
import functools
import json
import logging
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

from orchestrator.engine.health import TRITON, ModelHealth, State
from orchestrator.engine.heartbeat import Beat, beats_of
from orchestrator.errors import OrchestratorError, ServerProcessError
from orchestrator.triton.backoff import Backoff
from orchestrator.triton.local_control import LocalControl
from orchestrator.triton.remains import Remains
from orchestrator.triton.report import Report
from orchestrator.triton.survey import Asked, Shortage, Survey, survey
from orchestrator.triton.turns import Turns
from orchestrator.triton.watch import ProcessWatch
from orchestrator.triton.workers import WorkerProcess, dead_worker, worker_processes

__all__ = ["Supervisor", "Watched"]

_LOOK_S: Final = 1.0
"""How often the processes are listed, besides whenever one of them ends."""
_PAUSED_S: Final = 5.0
"""Between two looks: then it was we who did not run, and nobody else is to blame."""
_REPAIRED: Final = "orchestrator_repaired"
_AFTER_KILL_S: Final = 3.0
"""What waited for something that hung goes on by then: Triton tells of a death after a second."""
_OTHERS_S: Final = 2.0
"""How long the first that hangs is left alone, until what it may wait for hangs as well."""
_TIDY_S: Final = 0.02
_TIDY_TRIES: Final = 250
logger = logging.getLogger("orchestrator.triton")

Processes = Callable[[int], Sequence[WorkerProcess]]
Connect = Callable[[], AbstractAsyncContextManager[Asked]]


class Watched(Protocol):
    """A server; `TritonServer` is one, where it was started with `hold`."""

    @property
    def pid(self) -> int: ...
    @property
    def ended(self) -> int | None: ...
    @property
    def running(self) -> bool: ...
    @property
    def alive(self) -> bool: ...
    @property
    def server_id(self) -> str: ...
    @property
    def run_dir(self) -> Path: ...
    @property
    def own_repository(self) -> Path: ...
    @property
    def grpc_url(self) -> str: ...
    def restart(self) -> None: ...


class Supervisor:
    """Keeps one server whole. `run` is its life, on one event loop.

    Args:
        server: its models are loaded.
        load: loads them into a Triton that has just started.
        drain_s: how long the surviving workers of a broken copy may go on with their calls.
        hang_s: what has made no progress for this long hangs, and is killed.
        turns: whose turn it is to load a model, shared with whoever else loads some.
        say: gets a line whenever something has died or is whole again.
        connect: opens a connection to the server.
        processes: lists the workers of a server by its process id; called in a thread.
    """

    def __init__(
        self,
        server: Watched,
        *,
        load: Callable[[], Awaitable[None]],
        drain_s: float,
        hang_s: float,
        turns: Turns | None = None,
        say: Callable[[str], None] = logger.warning,
        connect: Connect | None = None,
        processes: Processes = worker_processes,
    ) -> None:
        self._server = server
        self._load = load
        self._hang_s = hang_s
        self._turns = turns or Turns()
        self._say = say
        self._connect: Connect = connect or (lambda: LocalControl(server.grpc_url))
        self._processes = processes
        self._changed = asyncio.Event()
        self._watch = ProcessWatch(self._changed.set)
        self._remains = Remains(server.server_id, kill=self._watch.kill, drain_s=drain_s)
        self._report = Report(server.run_dir, server.server_id)
        self._known: set[WorkerProcess] = set()
        self._retired: set[WorkerProcess] = set()
        self._loading: dict[str, frozenset[WorkerProcess]] = {}
        self._short: dict[str, Shortage] = {}
        self._why: dict[str, ModelHealth] = {}
        self._repairs: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._backoffs: defaultdict[str, Backoff] = defaultdict(Backoff)
        self._last_look = self._last_alive = self._last_kill = 0.0

    async def run(self) -> None:
        """Watches until it is cancelled."""
        self._last_look = self._last_alive = asyncio.get_running_loop().time()
        try:
            async with self._connect() as triton:
                while True:
                    try:
                        await self._look(triton)
                    except (
                        OrchestratorError,
                        OSError,
                    ) as error:  # Triton dies while it is asked: the next look sees it
                        logger.info("looking after Triton: %s", error)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), _LOOK_S)
                    self._changed.clear()
        finally:
            self._drop_work()
            self._watch.only(())

    async def _look(self, triton: Asked) -> None:
        await self._until_tidy()
        if self._server.ended is not None:
            await self._restart()
        if not self._server.running:
            return  # stopped, or its guard was killed: nothing is left to heal
        pages = beats_of(self._server.server_id)  # before the list: who has a page by now is in it, or dead
        workers = await self._list()
        self._retired &= set(workers)
        self._watch.only((self._server.pid, *(worker.pid for worker in workers)))
        await self._kill_stuck(triton, workers)
        alive = set(self._serving(workers))
        strays = self._strays(pages, workers)
        gone = (self._known - alive) | strays
        if alive != self._known or strays or self._short or self._why:
            found = await survey(triton, self._serving_now)
            self._known = alive
            self._short = dict(found.short)
            self._mourn(gone, alive, found)
            for short in self._short.values():
                self._repair(triton, short)
            self._why = {model: why for model, why in self._why.items() if model in self._repairs}
            self._tell()
        self._remains.sweep(workers)

    def _strays(self, pages: Sequence[int], workers: Sequence[WorkerProcess]) -> set[WorkerProcess]:
        """Workers that have begun and died between two looks; those whom Triton has ended have taken their pages along."""
        seen = {worker.pid for worker in (*workers, *self._known)}
        found = [
            dead_worker(self._server.server_id, pid) for pid in pages if pid not in seen and not self._remains.has(pid)
        ]
        return {worker for worker in found if worker is not None}

    async def _list(self) -> Sequence[WorkerProcess]:
        return await asyncio.to_thread(self._processes, self._server.pid)

    def _serving(self, workers: Sequence[WorkerProcess]) -> list[WorkerProcess]:
        """Those that count: not the rest of a broken copy, and not the beginnings of a new one."""
        return [
            worker
            for worker in workers
            if worker not in self._retired and worker in self._loading.get(worker.model, (worker,))
        ]

    async def _serving_now(self) -> list[WorkerProcess]:
        return self._serving(await self._list())

    async def _until_tidy(self) -> None:
        """Triton may have just died: its guard is still removing what it left."""
        for attempt in range(_TIDY_TRIES):
            if self._server.ended is not None or not self._server.running or self._server.alive:
                break
            if not attempt:
                self._report.server(State.DOWN, "Triton ended")
            await asyncio.sleep(_TIDY_S)

    def _mourn(self, gone: set[WorkerProcess], alive: set[WorkerProcess], found: Survey) -> None:
        """Tells of workers that have died; those whom Triton has ended have taken their pages along."""
        missed = {(short.model, short.version) for short in found.short.values()}
        died = [
            worker
            for worker in gone - self._retired
            if worker.copy in missed or Beat.read(self._server.server_id, worker.pid) is not None
        ]
        self._remains.died(died)
        for worker in died:
            left = [each for each in alive if each.copy == worker.copy]
            # Nobody knows whether a copy that was never seen had taken the place of the one that serves.
            others = left if worker.started else [each for each in alive if each.model == worker.model]
            self._report.lost(worker.model, worker.pid, last=not others)
            if worker.copy not in found.serving:  # it was about to go, and cannot end any more
                self._retire(left)

    async def _kill_stuck(self, triton: Asked, workers: Sequence[WorkerProcess]) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        paused, self._last_look = now - self._last_look > _PAUSED_S, now
        if await triton.server_live() or paused:
            self._last_alive = loop.time()
        elif now - self._last_alive > self._hang_s:
            self._say(f"Triton has not answered for {now - self._last_alive:.0f} s: it is killed")
            self._watch.kill(self._server.pid)
        if not paused and now - self._last_kill > _AFTER_KILL_S:
            self._kill_one(workers, int(now * 1e9))

    def _kill_one(self, workers: Sequence[WorkerProcess], now_ns: int) -> None:
        """Kills the one that began last among those that hang: the others may only wait for it, and began just before."""
        beats = [(worker, beat) for worker in workers if (beat := Beat.read(self._server.server_id, worker.pid))]
        stuck = {worker: stuck_s for worker, beat in beats if (stuck_s := beat.stuck_s(now_ns)) > self._hang_s}
        if max(stuck.values(), default=0.0) > self._hang_s + _OTHERS_S:
            worker = min(stuck, key=stuck.__getitem__)
            self._say(
                f"{worker.model}: worker {worker.pid} has made no progress for {stuck[worker]:.0f} s: it is killed"
            )
            self._watch.kill(worker.pid)
            self._last_kill = now_ns / 1e9

    def _repair(self, triton: Asked, short: Shortage) -> None:
        if short.model not in self._repairs:
            task = asyncio.create_task(self._heal(triton, short))
            self._repairs[short.model] = task
            task.add_done_callback(functools.partial(self._healed, short.model))

    async def _heal(self, triton: Asked, short: Shortage) -> None:
        """Loads a model anew that has lost workers, as often as it takes."""
        loop, backoff, model = asyncio.get_running_loop(), self._backoffs[short.model], short.model
        started, why = loop.time(), short.reason
        while True:
            wait_s = backoff.next(loop.time())
            self._explain(model, why, wait_s)
            await asyncio.sleep(wait_s)
            async with self._turns.of(model):
                found = await self._lack_of(triton, model)
                if found is None or found.version != short.version:
                    self._retire(short.have)  # a deployment has put another version in its place
                    why = found.reason if found else ""
                else:
                    why = await self._load_anew(triton, found) or f"{model}: a new worker died at once"
                    found = await self._lack_of(triton, model)
                    if found is None:
                        self._report.healed(model)
            backoff.done(loop.time())
            if found is None:
                break
            self._short[model] = short = found
        self._say(f"{model}: whole again after {loop.time() - started:.1f} s")

    async def _lack_of(self, triton: Asked, model: str) -> Shortage | None:
        return (await survey(triton, self._serving_now)).short.get(model)

    async def _load_anew(self, triton: Asked, short: Shortage) -> str:
        """Has Triton start a new copy of a version, and ends what is left of the one before.

        Returns:
            Why that failed; empty where it did not.
        """
        folder = next((worker.entry.parent for worker in short.have), None)
        folder = folder or self._server.own_repository / short.model / short.version
        self._loading[short.model] = frozenset(await self._list())
        try:
            await self._load_changed(triton, short.model, folder)
        except ServerProcessError as error:
            return f"{short.model}: new workers failed: {error}"
        finally:
            before = self._loading.pop(short.model)
        self._retire([worker for worker in before if worker.copy == (short.model, short.version)])
        return ""

    async def _load_changed(self, triton: Asked, model: str, folder: Path) -> None:
        """Makes a version look changed, without which Triton would load nothing."""
        try:
            os.utime(folder)
        except OSError:  # read-only; then its config says something new, until somebody loads it from disk
            config = await triton.model_config(model)
            config.setdefault("parameters", {})[_REPAIRED] = {"string_value": str(asyncio.get_running_loop().time())}
            await triton.load_model(model, json.dumps(config))
        else:
            await triton.load_model(model)

    def _retire(self, left: Sequence[WorkerProcess]) -> None:
        """Ends the rest of a broken copy, which Triton would keep for ever."""
        self._retired |= set(left)
        if left:
            task = asyncio.create_task(self._remains.end_when_idle(left, lambda: self._retired))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _explain(self, model: str, why: str, wait_s: float) -> None:
        crashes = f"crashes again and again, next try in {wait_s:.0f} s" if wait_s >= 1 else "being replaced"
        self._why[model] = ModelHealth(reason=f"{why}; {crashes}", soon=wait_s < 1, retry_s=wait_s)
        self._say(self._why[model].reason)
        self._tell()

    def _healed(self, model: str, task: "asyncio.Task[None]") -> None:
        del self._repairs[model]
        if not task.cancelled():
            if task.exception() is None:
                self._short.pop(model, None)
                self._why.pop(model, None)
                self._tell()
            else:  # Triton died: whoever looks next starts it again
                logger.info("repairing %s: %s", model, task.exception())
            self._changed.set()

    def _tell(self) -> None:
        models = {}
        for model in {*self._short, *self._why}:
            short, why = self._short.get(model), self._why.get(model)
            state = short.state if short else State.DEGRADED
            known = why or ModelHealth(reason=short.reason if short else "")
            models[model] = known.model_copy(update={"state": state})
        self._report.models(models)

    async def _restart(self) -> None:
        """Starts Triton again and loads its models, as often as it takes."""
        loop, backoff = asyncio.get_running_loop(), self._backoffs[TRITON]
        self._drop_work()
        started, why = loop.time(), f"Triton ended (exit code {self._server.ended})"
        while problem := await self._problem_of_start(why, backoff):
            if not self._server.running:
                return
            why = problem
        backoff.done(loop.time())
        self._known, self._retired, self._short, self._why = set(), set(), {}, {}
        self._last_look = self._last_alive = loop.time()
        self._report.models({})
        self._report.healed(TRITON)
        self._report.server(State.SERVING)
        self._say(f"Triton serves again after {loop.time() - started:.1f} s")

    async def _problem_of_start(self, why: str, backoff: Backoff) -> str:
        """Tries once to start it, where it has ended, and to load the models.

        Returns:
            Why that failed; empty where it did not.
        """
        wait_s = backoff.next(asyncio.get_running_loop().time())
        retry = f"ends again and again, next try in {wait_s:.0f} s" if wait_s >= 1 else "being started again"
        self._report.server(State.DOWN, f"{why}; {retry}", retry_s=wait_s if wait_s >= 1 else 0.0)
        self._say(f"{why}; {retry}")
        await asyncio.sleep(wait_s)
        try:
            if self._server.ended is not None:
                await asyncio.to_thread(self._server.restart)
            self._report.server(State.STARTING, "Triton is loading its models")
            async with self._turns.every():
                await self._load()
        except OrchestratorError as error:
            return error.message
        return ""

    def _drop_work(self) -> None:
        for task in (*self._repairs.values(), *self._ending):
            task.cancel()
