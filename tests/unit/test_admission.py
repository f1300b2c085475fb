"""Admission on a clock of its own: who runs, who waits how long, who is refused, and that every place comes back."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.errors import BackendUnavailable, CallError, Overloaded
from orchestrator.server.admission import Admission, Ticket
from orchestrator.server.capacity import Capacity
from orchestrator.server.patience import Caller
from orchestrator.spec import Priority
from tests.virtual_time import VirtualLoop, run_virtually


class Counts:
    """What an admission said of itself."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.waits: list[float] = []
        self.reasons: Counter[str] = Counter()

    def length(self, calls: int) -> None:
        self.lengths.append(calls)

    def waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def refused(self, reason: str) -> None:
        self.reasons[reason] += 1


def caller(client: str = "a", priority: Priority = Priority.NORMAL, patience_s: float = math.inf) -> Caller:
    who = Caller([], client, priority)
    who.deadline = asyncio.get_running_loop().time() + patience_s
    return who


def admission(**limits: Any) -> tuple[Admission, Counts]:
    counts = Counts()
    queue_timeout_s = limits.pop("queue_timeout_s", None)
    made = Admission(
        "Shop", Capacity(**limits), counts, queue_timeout_s=queue_timeout_s, clock=asyncio.get_running_loop().time
    )
    return made, counts


async def run(door: Admission, seconds: float, who: Caller, size: int = 1) -> str:
    """One call; how it ends, and when."""
    try:
        ticket = await door.enter(who, size)
    except CallError as error:
        return f"{type(error).__name__} at {asyncio.get_running_loop().time():g}"
    try:
        await asyncio.sleep(seconds)
    finally:
        ticket.release()
    return f"done at {asyncio.get_running_loop().time():g}"


def virtually(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def runs() -> None:
        run_virtually(test())

    runs.__name__ = test.__name__
    return runs


@virtually
async def test_what_fits_runs_and_the_rest_waits_its_turn() -> None:
    door, counts = admission(units=2, queue=10)
    ends = await asyncio.gather(*(run(door, 1, caller()) for _ in range(5)))
    assert ends == ["done at 1", "done at 1", "done at 2", "done at 2", "done at 3"]
    assert counts.waits == [1, 1, 2]
    assert counts.lengths[-1] == 0
    assert (door.running, door.units, door.waiting) == (0, 0, 0)


@virtually
async def test_no_limit_means_no_queue() -> None:
    door, counts = admission(queue=0)
    assert set(await asyncio.gather(*(run(door, 1, caller()) for _ in range(1000)))) == {"done at 1"}
    assert counts.lengths == []


@virtually
async def test_one_too_many_is_refused_at_once() -> None:
    door, counts = admission(units=1, queue=2)
    ends = await asyncio.gather(*(run(door, 1, caller()) for _ in range(5)))
    assert ends == ["done at 1", "done at 2", "done at 3", "Overloaded at 0", "Overloaded at 0"]
    assert counts.reasons == {"full": 2}


@virtually
async def test_a_limit_of_all_calls_counts_those_that_wait() -> None:
    door, _ = admission(units=1, calls=3, total=3)
    ends = await asyncio.gather(*(run(door, 1, caller()) for _ in range(4)))
    assert ends == ["done at 1", "done at 2", "done at 3", "Overloaded at 0"]


@virtually
async def test_a_limit_of_running_calls_holds_for_those_that_need_no_backend() -> None:
    door, _ = admission(units=1, calls=2, total=2)
    ends = await asyncio.gather(*(run(door, 1, caller(), size=0) for _ in range(3)))
    assert ends == ["done at 1", "done at 1", "Overloaded at 0"]


@virtually
async def test_a_large_call_takes_more_than_a_small_one() -> None:
    door, _ = admission(units=4, queue=10)
    ends = await asyncio.gather(*(run(door, 1, caller(), size=size) for size in (3, 3, 1, 1)))
    # The one that reaches the limit goes over it, so that nothing smaller overtakes it for ever.
    assert ends == ["done at 1", "done at 1", "done at 2", "done at 2"]


@virtually
async def test_the_wait_is_estimated_and_one_beyond_the_deadline_is_refused_at_once() -> None:
    door, counts = admission(units=1, queue=100)
    assert await run(door, 2, caller()) == "done at 2"
    first = asyncio.create_task(run(door, 2, caller()))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(run(door, 2, caller())) for _ in range(3)]
    await asyncio.sleep(0)
    assert door.wait_s(caller()) == 9  # 8 in the queue, and behind half of what runs
    with pytest.raises(Overloaded) as refused:
        await door.enter(caller(patience_s=8.9), 1)
    assert refused.value.retry_after_s == 9
    assert counts.reasons == {"wait": 1}
    assert await run(door, 2, caller(patience_s=9.1)) == "done at 12"
    assert [await each for each in (first, *waiting)] == ["done at 4", "done at 6", "done at 8", "done at 10"]


@virtually
async def test_the_estimate_grows_while_nothing_ends_and_an_idle_hour_does_not_count() -> None:
    door, _ = admission(units=1, queue=100)
    await run(door, 1, caller())
    await asyncio.sleep(3600)
    stuck = asyncio.create_task(run(door, 50, caller()))
    await asyncio.sleep(0)
    assert door.wait_s(caller()) == 1.5
    await asyncio.sleep(20)
    assert door.wait_s(caller()) == 30
    await stuck


@virtually
async def test_quick_calls_may_be_more_at_once() -> None:
    door, counts = admission(units=2, queue=100)
    for _ in range(20):
        await run(door, 0.001, caller())
    ends = await asyncio.gather(*(run(door, 0.001, caller()) for _ in range(20)))
    assert len(set(ends)) == 1
    assert counts.waits == []
    for _ in range(40):
        await run(door, 1, caller())
    await asyncio.gather(*(run(door, 1, caller()) for _ in range(4)))
    assert counts.waits == [1, 1]


@virtually
async def test_who_is_let_in_and_waits_too_long_hears_which_it_was() -> None:
    door, counts = admission(units=1, queue=10)
    busy = asyncio.create_task(run(door, 9, caller()))
    await asyncio.sleep(0)
    # Nothing has ended yet, so that nothing is known of how long it takes.
    assert await run(door, 1, caller(patience_s=4)) == "DeadlineExceeded at 4"
    assert counts.reasons == {"timeout": 1}
    assert await busy == "done at 9"
    door, counts = admission(units=1, queue=10, queue_timeout_s=3)
    busy = asyncio.create_task(run(door, 9, caller()))
    await asyncio.sleep(0)
    ends = list(await asyncio.gather(run(door, 1, caller()), run(door, 1, caller(patience_s=2))))
    assert ends == ["Overloaded at 12", "DeadlineExceeded at 11"]
    await busy


@virtually
async def test_a_timer_that_is_early_does_not_blame_the_queue() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    # The clock is always a little before the loop's, as after a timer that was early.
    slow = Admission(
        "Shop", Capacity(units=1, queue=10), Counts(), queue_timeout_s=3,
        clock=lambda: began + (loop.time() - began) * 0.999,
    )  # fmt: skip
    busy = asyncio.create_task(run(slow, 9, caller()))
    await asyncio.sleep(0)
    assert await run(slow, 1, caller(patience_s=2)) == "DeadlineExceeded at 2"
    assert await run(slow, 1, caller()) == "Overloaded at 5"
    await busy


@virtually
async def test_urgent_calls_overtake_and_displace() -> None:
    door, counts = admission(units=1, queue=2)
    none, low, high = caller(), caller(priority=Priority.LOW), caller(priority=Priority.HIGH)
    ends = await asyncio.gather(*(run(door, 1, who) for who in (none, low, low, high)))
    assert ends == ["done at 1", "done at 3", "Overloaded at 0", "done at 2"]
    assert counts.reasons == {"displaced": 1}


@virtually
async def test_check_refuses_what_enter_would_and_takes_no_place() -> None:
    door, counts = admission(units=1, queue=1)
    door.check(caller())
    ends = [asyncio.create_task(run(door, 1, caller())) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        door.check(caller())
    door.check(caller("b", Priority.HIGH))  # would displace
    assert (door.running, door.waiting, counts.reasons) == (1, 1, {"full": 1})
    assert await asyncio.gather(*ends) == ["done at 1", "done at 2"]


@virtually
async def test_a_caller_who_leaves_the_queue_is_skipped() -> None:
    door, counts = admission(units=1, queue=10)
    tasks = [asyncio.create_task(run(door, 1, caller())) for _ in range(4)]
    await asyncio.sleep(0.5)
    for each in tasks[1:3]:
        each.cancel()
    await asyncio.sleep(0)
    assert door.waiting == counts.lengths[-1] == 1
    assert await tasks[3] == "done at 2"


@virtually
async def test_a_caller_who_leaves_in_the_moment_of_their_turn_gives_it_on() -> None:
    door, _ = admission(units=1, queue=10)
    ticket = await door.enter(caller(), 1)
    leaving, staying = (asyncio.create_task(run(door, 1, caller())) for _ in range(2))
    await asyncio.sleep(1)
    ticket.release()  # now it is theirs, and they do not know yet
    leaving.cancel()
    assert await staying == "done at 2"
    assert (door.running, door.units, door.waiting) == (0, 0, 0)


@virtually
async def test_a_place_is_kept_until_what_was_left_behind_has_ended() -> None:
    door, _ = admission(units=1, queue=10)
    ticket = await door.enter(caller(), 1)
    work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ticket.runs_on(work)
    ticket.release()
    waiting = asyncio.create_task(run(door, 1, caller()))
    await asyncio.sleep(5)
    assert (door.running, door.waiting) == (1, 1)
    work.set_result(None)
    assert await waiting == "done at 6"


@virtually
async def test_a_stop_turns_away_what_waits_and_leaves_what_runs() -> None:
    door, counts = admission(units=1, queue=10)
    tasks = [asyncio.create_task(run(door, 2, caller())) for _ in range(4)]
    await asyncio.sleep(1)
    door.stop()
    assert await asyncio.gather(*tasks) == ["done at 2", *["BackendUnavailable at 1"] * 3]
    assert counts.reasons == {"stopping": 3}
    assert issubclass(BackendUnavailable, CallError)


class Accounts(RuleBasedStateMachine):
    """Any history of calls: limits hold, and at the end every place is back."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.counts = Counts()
        self.door = Admission("Shop", Capacity(units=6, calls=5, queue=4), self.counts, clock=self.loop.time)
        self.tasks: dict[asyncio.Task[Ticket], int] = {}
        self.tickets: list[tuple[Ticket, int]] = []
        self.left_behind: list[tuple[asyncio.Future[None], int]] = []
        self.asked = self.refused = self.served = 0

    def settle(self, seconds: float = 0.0) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.loop.run_until_complete(asyncio.sleep(0))
        for task in [task for task in self.tasks if task.done()]:
            size = self.tasks.pop(task)
            if task.cancelled() or task.exception():
                self.refused += 1
                assert task.cancelled() or isinstance(task.exception(), CallError)
            else:
                self.tickets.append((task.result(), size))

    @rule(
        size=st.integers(0, 4),
        client=st.sampled_from("abc"),
        priority=st.sampled_from(list(Priority)),
        patience_s=st.sampled_from([0.5, 3.0, math.inf]),
    )
    def ask(self, size: int, client: str, priority: Priority, patience_s: float) -> None:
        who = Caller([], client, priority)
        who.deadline = self.loop.time() + patience_s
        self.asked += 1
        self.tasks[self.loop.create_task(self.door.enter(who, size))] = size
        self.settle()

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), behind=st.booleans())
    def end(self, data: st.DataObject, behind: bool) -> None:
        ticket, size = self.tickets.pop(data.draw(st.integers(0, len(self.tickets) - 1)))
        if behind:
            work: asyncio.Future[None] = self.loop.create_future()
            ticket.runs_on(work)
            self.left_behind.append((work, size))
        ticket.release()
        self.served += 1
        self.settle()

    @precondition(lambda self: self.left_behind)
    @rule()
    def end_what_was_left(self) -> None:
        self.left_behind.pop(0)[0].set_result(None)
        self.settle()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), at_once=st.booleans())
    def leave(self, data: st.DataObject, at_once: bool) -> None:
        list(self.tasks)[data.draw(st.integers(0, len(self.tasks) - 1))].cancel()
        if at_once and self.tickets:  # and in the same turn of the loop a place becomes free
            self.tickets.pop()[0].release()
            self.served += 1
        self.settle()

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.settle(seconds)

    @invariant()
    def what_is_held_is_what_is_counted(self) -> None:
        held = [size for _, size in (*self.tickets, *self.left_behind)]
        assert self.door.running == len(held) <= 5
        assert self.door.units == sum(held)
        assert self.door.waiting == len(self.tasks) <= 4
        assert self.asked == self.refused + self.served + len(self.tasks) + len(self.tickets)

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        if self.door.waiting:
            assert self.door.running == 5 or self.door.units >= 6

    def teardown(self) -> None:
        while self.tickets or self.left_behind or self.tasks:
            for ticket, _ in self.tickets:
                ticket.release()
                self.served += 1
            for work, _ in self.left_behind:
                work.set_result(None)
            self.tickets, self.left_behind = [], []
            self.settle(1)
        assert (self.door.running, self.door.units, self.door.waiting) == (0, 0, 0)
        assert self.asked == self.refused + self.served
        self.loop.close()


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(deadline=None, stateful_step_count=40)
