"""What a supervisor decides, with processes and a Triton that do what the test says, on a clock that waits for nobody."""

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.health import Health, HealthFile, State
from orchestrator.engine.heartbeat import beat_path, beats_of
from orchestrator.errors import ServerProcessError
from orchestrator.triton.control import ModelState
from orchestrator.triton.supervisor import Supervisor
from orchestrator.triton.survey import survey
from orchestrator.triton.turns import Turns
from orchestrator.triton.watch import ProcessWatch
from orchestrator.triton.workers import WorkerProcess
from tests.unit.virtual_time import run_virtual

HANG_S = 100.0
DRAIN_S = 20.0
_numbers = itertools.count(1)
_pids = itertools.count(1 << 23)  # above any that the system gives


@dataclasses.dataclass
class World:
    """One server with its models.

    Attributes:
        serving: model -> the version that serves, and how many workers it wants.
        workers: all that are there.
        loads: models, each time that Triton is asked to load one.
        refuses: what Triton answers to the next loads; "" for nothing amiss.
        killed: processes that were.
    """

    run_dir: Path
    server_id: str = dataclasses.field(default_factory=lambda: f"orchestrator-{os.getpid()}-{next(_numbers)}-unit")
    serving: dict[str, tuple[str, int]] = dataclasses.field(default_factory=lambda: {"m": ("1", 2)})
    workers: list[WorkerProcess] = dataclasses.field(default_factory=list)
    loads: list[str] = dataclasses.field(default_factory=list)
    refuses: list[str] = dataclasses.field(default_factory=list)
    loading_s: float = 2.0
    killed: list[int] = dataclasses.field(default_factory=list)
    said: list[str] = dataclasses.field(default_factory=list)
    answers: bool = True
    dies_at_once: bool = False
    ended: int | None = None
    restarts: int = 0
    pid: int = 1 << 22
    running: bool = True
    grpc_url: str = ""
    during_load: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        for model in self.serving:
            self.start(model)

    @property
    def alive(self) -> bool:
        return self.ended is None

    @property
    def own_repository(self) -> Path:
        return self.run_dir / "repository"

    def start(self, model: str) -> list[WorkerProcess]:
        version, count = self.serving[model]
        folder = self.own_repository / model / version
        folder.mkdir(parents=True, exist_ok=True)
        started = [
            WorkerProcess(next(_pids), 1, folder / "model.py", f"segment-{number}", f"{model}_0_{number}")
            for number in range(count)
        ]
        self.workers += started
        return started

    def of(self, model: str) -> list[WorkerProcess]:
        return [worker for worker in self.workers if worker.model == model]

    def die(self, worker: WorkerProcess) -> None:
        self.workers.remove(worker)

    def say_beat(self, worker: WorkerProcess, *, turn_s: float, since_s: float = 0, calls: int = 0) -> None:
        page = struct.pack("<QQII", int(turn_s * 1e9), int(since_s * 1e9), calls, 0)
        words = [
            "/stubs/triton_python_backend_stub",
            str(worker.entry),
            f"/{worker.segment}",
            *"12345",
            worker.instance,
        ]
        line = b"".join(word.encode() + b"\0" for word in words)
        beat_path(self.server_id, worker.pid).write_bytes(page.ljust(4096, b"\0") + line.ljust(4096, b"\0"))

    @property
    def health(self) -> Health:
        return HealthFile(self.run_dir).read()

    # What a supervisor asks of the server and of Triton.

    def restart(self) -> None:
        self.restarts += 1
        self.ended = None
        self.pid += 1

    def processes(self, server: int) -> list[WorkerProcess]:
        return list(self.workers) if server == self.pid else []

    async def server_live(self) -> bool:
        return self.answers

    async def repository_index(self) -> tuple[ModelState, ...]:
        return tuple(ModelState(model, version, "READY", "") for model, (version, _) in self.serving.items())

    async def model_config(self, name: str) -> dict[str, Any]:
        return {"backend": "python", "instance_group": [{"count": self.serving[name][1]}]}

    async def load_model(self, name: str, config_json: str | None = None) -> None:
        changed = config_json is not None and "orchestrator_repaired" in json.loads(config_json)["parameters"]
        self.loads.append(f"{name} with another config" if changed else name)
        started = [] if self.dies_at_once else self.start(name)
        self.during_load()
        await asyncio.sleep(self.loading_s)
        if refused := self.refuses and self.refuses.pop(0):
            for worker in started:
                self.die(worker)
            raise ServerProcessError(refused)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path)

    def kill(_: ProcessWatch, pid: int) -> None:
        made.killed.append(pid)
        made.workers = [worker for worker in made.workers if worker.pid != pid]

    monkeypatch.setattr(ProcessWatch, "kill", kill)
    yield made
    for path in Path("/dev/shm").glob(f"{made.server_id}-*"):
        path.unlink()


@contextlib.asynccontextmanager
async def supervised(
    world: World, *, load: Callable[[], Any] | None = None, turns: Turns | None = None
) -> AsyncIterator[None]:
    async def nothing() -> None: ...

    @contextlib.asynccontextmanager
    async def connect() -> AsyncIterator[World]:
        yield world

    supervisor = Supervisor(
        world, load=load or nothing, drain_s=DRAIN_S, hang_s=HANG_S, turns=turns, say=world.said.append,
        connect=connect, processes=world.processes,
    )  # fmt: skip
    life = asyncio.create_task(supervisor.run())
    await asyncio.sleep(2)
    yield
    life.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await life


def test_a_dead_worker_is_replaced_and_the_rest_of_its_copy_ends_when_it_is_idle(world: World) -> None:
    async def main() -> None:
        dead, left = world.of("m")
        world.say_beat(dead, turn_s=1000)
        world.say_beat(left, turn_s=1e6, calls=1)
        async with supervised(world):
            assert world.health.of("m").state is State.SERVING
            world.die(dead)
            await asyncio.sleep(1.1)
            assert world.health.of("m").state is State.DEGRADED
            assert world.health.of("m").reason == "m: 1 of 2 workers died; being replaced"
            assert [(loss.pid, loss.last) for loss in world.health.losses] == [(dead.pid, False)]
            await asyncio.sleep(3)
            assert world.loads == ["m"]
            assert world.health.of("m").state is State.SERVING
            assert (world.health.heals, world.health.deaths) == ({"m": 1}, {"m": 1})
            assert left in world.workers, "it has a call"
            world.say_beat(left, turn_s=1e6)
            await asyncio.sleep(2)
            assert world.killed == [left.pid]
            assert len(world.of("m")) == 2
            await asyncio.sleep(60)
            assert world.loads == ["m"]
            assert world.health.deaths == {"m": 1}, "what we end ourselves has not died"
            assert not beats_of(world.server_id), "pages go when nobody asks any more"

    run_virtual(main())


def test_survivors_that_say_nothing_are_ended_when_their_calls_must_be_over(world: World) -> None:
    async def main() -> None:
        dead, left = world.of("m")
        async with supervised(world):
            world.die(dead)
            await asyncio.sleep(DRAIN_S)
            assert not world.killed
            await asyncio.sleep(5)
            assert world.killed == [left.pid]

    run_virtual(main())


def test_a_model_without_any_worker_is_down_until_it_is_loaded(world: World) -> None:
    async def main() -> None:
        world.serving["other"] = ("1", 1)
        world.start("other")
        world.loading_s = 5
        async with supervised(world):
            for worker in world.of("m"):
                world.die(worker)
            await asyncio.sleep(3)
            assert len(world.of("m")) == 2, "they start, and do not answer yet"
            assert world.health.of("m").state is State.DOWN
            assert world.health.of("other").state is State.SERVING
            assert [loss.last for loss in world.health.losses] == [True, True]
            await asyncio.sleep(5)
            assert world.health.of("m").state is State.SERVING
            assert world.loads == ["m"]

    run_virtual(main())


@pytest.mark.parametrize("left", [0, 1])
def test_a_worker_that_nobody_has_seen_alive_is_missed_too(world: World, left: int) -> None:
    async def main() -> None:
        (known, *_), world.serving["m"] = world.of("m"), ("1", left)
        world.workers = [known] * left
        async with supervised(world):
            # Of a version that was about to take the place of the one that serves.
            worker = dataclasses.replace(known, pid=next(_pids), entry=known.entry.parents[1] / "2/model.py")
            world.say_beat(worker, turn_s=1000)
            await asyncio.sleep(1.1)
            assert [(loss.model, loss.pid, loss.last) for loss in world.health.losses] == [("m", worker.pid, not left)]
            await asyncio.sleep(60)
            assert world.health.deaths == {"m": 1}, "once"
            assert not beats_of(world.server_id)

    run_virtual(main())


def test_workers_that_a_deployment_starts_and_ends_have_not_died(world: World) -> None:
    async def main() -> None:
        async with supervised(world):
            old = world.of("m")
            world.serving["m"] = ("2", 3)
            world.start("m")
            await asyncio.sleep(2)
            for worker in old:
                world.die(worker)  # without a page, as after an orderly end
                await asyncio.sleep(2)
            assert not world.loads
            assert not world.health.losses
            assert not world.said

    run_virtual(main())


def test_the_rest_of_a_version_that_cannot_end_is_ended(world: World) -> None:
    async def main() -> None:
        async with supervised(world):
            dead, left = world.of("m")
            for worker in (dead, left):
                world.say_beat(worker, turn_s=1e6, calls=0)
            world.serving["m"] = ("2", 1)
            world.start("m")
            await asyncio.sleep(2)
            world.die(dead)
            await asyncio.sleep(3)
            assert world.killed == [left.pid]
            assert not world.loads

    run_virtual(main())


@pytest.mark.parametrize("why", ["refused", "dies at once"])
def test_tries_that_fail_wait_longer_each_time_and_say_so(world: World, why: str) -> None:
    async def main() -> None:
        world.loading_s = 0.1
        world.refuses = ["no room"] * 5 if why == "refused" else []
        world.dies_at_once = why != "refused"
        async with supervised(world):
            world.die(world.of("m")[0])
            await asyncio.sleep(2.5)
            health = world.health.of("m")
            assert health.state is (State.DOWN if world.dies_at_once else State.DEGRADED)
            assert not health.soon
            assert "crashes again and again, next try in" in health.reason
            assert ("new workers failed: no room" if why == "refused" else "a new worker died at once") in health.reason
            assert health.retry_s >= 1
            world.dies_at_once = False
            await asyncio.sleep(30)
            assert world.health.of("m").state is State.SERVING
            assert world.health.heals == {"m": 1}
            waits = [line.rpartition("next try in ")[2] for line in world.said if "next try in" in line]
            assert waits == [f"{2**n} s" for n in range(len(waits))], waits
            assert 1 <= len(waits) <= 4

    run_virtual(main())


def test_a_repair_waits_for_a_deployment_and_finds_nothing_to_do(world: World) -> None:
    async def main() -> None:
        turns = Turns()
        async with supervised(world, turns=turns):
            dead, left = world.of("m")
            world.say_beat(left, turn_s=1e6)
            async with turns.of("m"):
                world.die(dead)
                await asyncio.sleep(3)
                assert world.health.of("m").state is State.DEGRADED
                assert not world.loads
                world.serving["m"] = ("2", 2)
                world.start("m")
            await asyncio.sleep(3)
            assert not world.loads
            assert world.health.of("m").state is State.SERVING
            assert world.killed == [left.pid]

    run_virtual(main())


def test_a_version_of_which_the_folder_cannot_be_changed_is_loaded_with_another_config(world: World) -> None:
    async def main() -> None:
        async with supervised(world):
            dead, left = world.of("m")
            left.entry.parent.rmdir()
            world.die(dead)
            await asyncio.sleep(3)
            assert world.loads == ["m with another config"]

    run_virtual(main())


def test_triton_is_started_again_as_often_as_it_takes(world: World) -> None:
    states: list[State] = []

    async def load() -> None:
        states.append(world.health.whole.state)
        await asyncio.sleep(0.5)
        if len(states) < 3:
            raise ServerProcessError("not yet")
        world.start("m")

    async def main() -> None:
        async with supervised(world, load=load):
            world.workers.clear()
            world.ended = 139
            await asyncio.sleep(1.2)
            assert world.health.of("anything").state in (State.DOWN, State.STARTING)
            await asyncio.sleep(10)
            assert states == [State.STARTING] * 3
            assert world.restarts == 1, "it runs; only the models failed"
            assert world.health.whole.state is State.SERVING
            assert world.health.heals == {"triton": 1}
            assert not world.loads
            assert any("Triton ended (exit code 139); being started again" in line for line in world.said)
            assert any(line.startswith("not yet; ") for line in world.said)

    run_virtual(main())


def test_a_worker_without_progress_is_killed_and_only_the_one_that_the_others_wait_for(world: World) -> None:
    async def main() -> None:
        caller, callee = world.of("m")
        now = asyncio.get_running_loop().time()
        async with supervised(world):
            await asyncio.sleep(HANG_S - 10)
            for worker, since_s in ((caller, now), (callee, now + 1)):
                world.say_beat(worker, turn_s=now + 1e4, since_s=since_s, calls=1)
            assert not world.killed
            await asyncio.sleep(14)
            assert world.killed == [callee.pid]
            world.say_beat(caller, turn_s=now + 1e4, calls=1)
            await asyncio.sleep(10)
            assert world.killed == [callee.pid]
            assert "made no progress" in world.said[0]
            assert world.loads == ["m"]

    run_virtual(main())


def test_a_worker_whose_loop_no_longer_turns_is_killed_but_not_after_our_own_pause(world: World) -> None:
    async def main() -> None:
        worker = world.of("m")[0]
        world.say_beat(worker, turn_s=1000)
        async with supervised(world):
            await asyncio.sleep(HANG_S - 3)
            world.loading_s = 0
            assert not world.killed
            await asyncio.sleep(6)
            assert world.killed == [worker.pid]

    run_virtual(main())


def test_a_triton_that_does_not_answer_is_killed(world: World) -> None:
    async def main() -> None:
        async with supervised(world):
            world.answers = False
            await asyncio.sleep(HANG_S)
            assert not world.killed
            await asyncio.sleep(5)
            assert world.pid in world.killed
            assert "Triton has not answered for" in world.said[0]

    run_virtual(main())


def test_being_cancelled_in_the_middle_of_a_repair_leaves_no_task(world: World) -> None:
    async def main() -> None:
        world.loading_s = 1000
        async with supervised(world):
            world.die(world.of("m")[0])
            await asyncio.sleep(5)
            assert world.loads == ["m"]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


def test_a_survey_counts_only_what_is_ready_before_and_after_the_list(world: World) -> None:
    """Triton turns to version 2 while the processes are listed: then neither version is short."""

    async def turn() -> list[WorkerProcess]:
        world.serving["m"] = ("2", 2)
        return []

    async def main() -> None:
        assert not (await survey(world, turn)).short
        assert [(each.model, each.version) for each in (await survey(world, turn)).short.values()] == [("m", "2")]

    run_virtual(main())
