"""Work that nobody waits for any more: it never starts, or it ends, and what runs on is accounted for."""

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import orchestrator
from orchestrator.engine import InferRequest
from orchestrator.engine.board import BoardReader, CallBoard, create_board
from orchestrator.engine.lifetime import FOREVER, Lifetime, deadline_after, lifetime_of
from orchestrator.errors import BackendUnavailable, CallCancelled, CallError, DeadlineExceeded, InvalidInput
from orchestrator.sdk import read_service
from orchestrator.worker.executor import Executor, WorkerCall, drive, run_now
from orchestrator.worker.local import LocalBackend
from orchestrator.worker.running import Running
from orchestrator.worker.threads import Threads

PAST = Lifetime(deadline=1.0)
GONE = Lifetime(gone=lambda: True)


@orchestrator.service(threads=2)
class Work:
    """What it ran, by name."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.ended: list[str] = []
        self.go_on = threading.Event()

    @orchestrator.api
    def sync(self, name: str) -> str:
        self.ran.append(name)
        self.go_on.wait(10)
        self.ended.append(name)
        return name

    @orchestrator.api
    def asks(self, name: str, ctx: orchestrator.Context) -> str:
        self.ran.append(name)
        while not ctx.cancelled:
            time.sleep(0.002)
        self.ended.append(name)
        return name

    @orchestrator.api
    async def later(self, name: str) -> str:
        self.ran.append(name)
        try:
            await asyncio.sleep(10)
        finally:
            self.ended.append(name)
        return name

    @orchestrator.api(batchable=True, max_batch_size=8)
    def rows(self, names: list[str]) -> list[str]:
        self.ran += names
        self.go_on.wait(10)
        return names

    @orchestrator.api
    def chunks(self, name: str) -> Iterator[str]:
        self.ran.append(name)
        try:
            for number in range(1000):
                yield str(number)
                time.sleep(0.002)
        finally:
            self.ended.append(name)

    @orchestrator.api
    def left(self, ctx: orchestrator.Context) -> list[float]:
        return [ctx.deadline or 0, ctx.time_left or 0, float(ctx.cancelled)]


@orchestrator.service
class Merged:
    """Calls that share an execution."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    @orchestrator.api(batchable=True, max_batch_size=4)
    def double(self, numbers: list[int]) -> list[int]:
        self.seen.append(numbers)
        return [2 * number for number in numbers]


def executor_of(service: type) -> tuple[Executor, Running]:
    running = Running(read_service(service, f"m:{service.__name__}"))
    return Executor(running), running


def merged(number: int, lifetime: Lifetime = FOREVER) -> WorkerCall:
    return WorkerCall({"numbers": np.array([[number]])}, {}, "", lifetime)


# --- one call ---


def test_a_lifetime_ends_by_its_deadline_or_with_its_caller() -> None:
    assert FOREVER.end() is None
    assert isinstance(PAST.end(), DeadlineExceeded)
    assert isinstance(GONE.end(), CallCancelled)
    assert Lifetime(deadline=time.time() + 60).end() is None
    with pytest.raises(CallCancelled):
        GONE.check()


def test_a_request_says_how_long_it_lives(tmp_path: Path) -> None:
    asked: list[bool] = []

    def ask_triton() -> bool:
        asked.append(True)
        return False

    read = {"deadline_us": deadline_after(60)}
    lifetime = lifetime_of(read, board=None, gone=ask_triton)
    assert lifetime.deadline == pytest.approx(time.time() + 60, abs=1)
    assert lifetime.end() is None
    assert asked
    asked.clear()
    create_board(tmp_path / "calls")
    with CallBoard(tmp_path / "calls") as board:
        number = board.enter()
        lifetime = lifetime_of({"call": number}, board=BoardReader(tmp_path / "calls"), gone=ask_triton)
        assert lifetime.end() is None
        board.leave(number)
        assert isinstance(lifetime.end(), CallCancelled)
    assert asked == []  # whoever is on the board is not asked for


@pytest.mark.parametrize("value", ["soon", 1.5, True, -1, None])
def test_a_parameter_that_is_no_number_is_refused(value: Any) -> None:
    if value is None:
        assert lifetime_of({"deadline_us": None}, board=None, gone=lambda: False).deadline is None
        return
    for name in ("deadline_us", "call"):
        with pytest.raises(InvalidInput, match=name):
            lifetime_of({name: value}, board=None, gone=lambda: False)


# --- the executor ---


@pytest.mark.parametrize(("lifetime", "error"), [(PAST, DeadlineExceeded), (GONE, CallCancelled)])
def test_what_is_late_is_not_even_prepared(lifetime: Lifetime, error: type[CallError]) -> None:
    executor, _ = executor_of(Merged)
    with pytest.raises(error):
        executor.prepare(merged(1, lifetime))


def test_what_ends_between_preparation_and_start_is_left_out_of_its_batch() -> None:
    executor, running = executor_of(Merged)
    over: list[bool] = []
    calls = [merged(1), merged(2, Lifetime(gone=lambda: bool(over))), merged(3)]
    prepared = [executor.prepare(call) for call in calls]
    over.append(True)
    first, second, third = drive(executor.run(prepared, run_now(running.instance)))
    assert isinstance(second, CallCancelled)
    assert not isinstance(first, CallError)
    assert not isinstance(third, CallError)
    assert running.instance.seen == [[1, 3]]


def test_a_batch_that_nobody_waits_for_does_not_run() -> None:
    executor, running = executor_of(Merged)
    over: list[bool] = []
    prepared = [executor.prepare(merged(n, Lifetime(gone=lambda: bool(over)))) for n in range(3)]
    over.append(True)
    answers = drive(executor.run(prepared, run_now(running.instance)))
    assert [type(answer) for answer in answers] == [CallCancelled] * 3
    assert running.instance.seen == []


# --- the backend of this process ---


class Local:
    """A backend, and the calls of its service."""

    def __init__(self) -> None:
        self.definition = read_service(Work, "m:Work")
        self.backend = LocalBackend(self.definition)
        self.instance: Work = self.backend.running.instance
        self.behind: list[asyncio.Future[Any]] = []

    def request(self, api: str, name: str, timeout_s: float | None = None) -> InferRequest:
        text = np.array([name.encode()], dtype=object)
        several = self.definition.spec.max_batch_size > 0
        inputs = {f"{api}.{'names' if api == 'rows' else 'name'}": text.reshape(1, 1) if several else text}
        parameters: dict[str, str | int | bool] = {"api": api}
        if timeout_s is not None:
            parameters["deadline_us"] = deadline_after(timeout_s)
        return InferRequest("Work", inputs, parameters, timeout_s=timeout_s, runs_on=self.behind.append)

    def start(self, api: str, name: str, timeout_s: float | None = None) -> "asyncio.Task[Any]":
        return asyncio.ensure_future(self.backend.infer(self.request(api, name, timeout_s)))

    async def ran(self, *names: str) -> None:
        async with asyncio.timeout(5):
            while sorted(self.instance.ran) != sorted(names):
                await asyncio.sleep(0.002)


def locally(test: Callable[[Local], Any]) -> Callable[[], None]:
    async def main() -> None:
        local = Local()
        try:
            await test(local)
        finally:
            local.instance.go_on.set()
            await local.backend.close()

    def runs() -> None:
        asyncio.run(main())

    runs.__name__ = test.__name__
    return runs


@locally
async def test_what_waits_for_a_thread_never_starts_once_its_caller_has_gone(local: Local) -> None:
    busy = [local.start("sync", name) for name in "ab"]
    await local.ran("a", "b")
    leaving = [local.start("sync", f"left{number}") for number in range(5)]
    await asyncio.sleep(0.05)
    for each in leaving:
        each.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    local.instance.go_on.set()
    await asyncio.gather(*busy, *local.behind, return_exceptions=True)
    await local.start("sync", "last")
    assert local.instance.ran == ["a", "b", "last"]


@locally
async def test_a_caller_is_let_go_at_the_deadline_and_the_thread_is_told_of(local: Local) -> None:
    late = local.start("sync", "deaf", 0.1)
    with pytest.raises(DeadlineExceeded):
        await late
    (thread,) = local.behind
    assert not thread.done()
    assert local.instance.ended == []
    local.instance.go_on.set()
    await asyncio.wait((thread,))
    assert local.instance.ended == ["deaf"]


@locally
async def test_sync_work_that_asks_is_told(local: Local) -> None:
    with pytest.raises(DeadlineExceeded):
        await local.start("asks", "late", 0.1)
    leaving = local.start("asks", "left")
    await local.ran("late", "left")
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await asyncio.wait(local.behind)
    assert sorted(local.instance.ended) == ["late", "left"]


@locally
async def test_async_work_is_cancelled(local: Local) -> None:
    with pytest.raises(DeadlineExceeded):
        await local.start("later", "late", 0.1)
    leaving = local.start("later", "left")
    await local.ran("late", "left")
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await asyncio.wait(local.behind)
    assert sorted(local.instance.ended) == ["late", "left"]


@locally
async def test_a_batch_goes_on_for_those_who_wait_and_keeps_the_place_of_those_who_left(local: Local) -> None:
    first = [local.start("rows", name) for name in "ab"]
    await local.ran("a", "b")  # one batch; a second may run beside it
    second = [local.start("rows", name) for name in "cd"]
    await local.ran(*"abcd")
    never = local.start("rows", "e")
    await asyncio.sleep(0.05)
    for each in (first[0], never):
        each.cancel()
    await asyncio.gather(first[0], never, return_exceptions=True)
    assert [each.done() for each in local.behind] == [False, True]
    local.instance.go_on.set()
    answers = await asyncio.gather(first[1], *second)
    assert [answer.outputs["rows.result"].reshape(-1).tolist() for answer in answers] == [[b"b"], [b"c"], [b"d"]]
    await asyncio.wait(local.behind)
    assert "e" not in local.instance.ran


@locally
async def test_a_stream_stops_at_its_deadline_and_with_its_reader(local: Local) -> None:
    got: list[Any] = []

    async def read() -> None:
        async for answer in local.backend.stream(local.request("chunks", "late", 0.1)):
            got.append(answer)

    with pytest.raises(DeadlineExceeded):
        await read()
    assert 1 < len(got) < 1000
    leaving: AsyncGenerator[Any, None] = local.backend.stream(local.request("chunks", "left"))
    await anext(leaving)
    await leaving.aclose()
    assert local.instance.ended == ["late", "left"]


@locally
async def test_a_method_knows_its_deadline(local: Local) -> None:
    request = local.request("left", "", 30)
    inputs = {"left.no-arguments": np.ones((1, 1), np.bool_)}
    answer = await local.backend.infer(InferRequest("Work", inputs, request.parameters))
    deadline, left_s, cancelled = answer.outputs["left.result"].reshape(-1)[0].decode().strip("[]").split(",")
    assert float(deadline) == pytest.approx(time.time() + 30, abs=2)
    assert 25 < float(left_s) <= 30
    assert float(cancelled) == 0


def test_a_closed_backend_releases_its_callers_and_leaves_a_hung_thread(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        local = Local()
        hung = local.start("sync", "hung")
        await local.ran("hung")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("orchestrator.worker.local._THREADS_S", 0.2)
            await local.backend.close()
        with pytest.raises(BackendUnavailable):
            await hung
        local.instance.go_on.set()

    asyncio.run(main())
    assert "left behind" in caplog.text


# --- threads ---


def test_threads_run_what_they_are_given_and_no_more_at_once() -> None:
    threads = Threads(3, "t")
    gate, most, running, lock = threading.Event(), [0], [0], threading.Lock()

    def work(number: int) -> int:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        gate.wait(5)
        with lock:
            running[0] -= 1
        return number * 2

    futures = [threads.submit(work, number) for number in range(20)]
    time.sleep(0.05)
    assert most[0] == 3
    assert futures[19].cancel()
    assert not futures[0].cancel()
    gate.set()
    assert [future.result(5) for future in futures[:19]] == [number * 2 for number in range(19)]
    assert threads.close()
    with pytest.raises(RuntimeError):
        threads.submit(work, 1)


def test_threads_pass_errors_on_and_start_no_more_than_they_need() -> None:
    threads = Threads(8, "few")
    context = contextvars.copy_context()
    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            threads.submit(context.run, lambda: 1 // 0).result(5)
        time.sleep(0.002)
    assert len([thread for thread in threading.enumerate() if thread.name.startswith("few-")]) < 4
    assert threads.close(5)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("few-")]


def test_a_hung_thread_is_left_behind() -> None:
    threads, gate = Threads(1, "hung"), threading.Event()
    threads.submit(gate.wait, 10)
    assert not threads.close(0.1)
    gate.set()
    assert threads.close(5)
