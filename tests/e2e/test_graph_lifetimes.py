"""Deadlines and callers who leave, through a composite: what nobody waits for ends, or never starts, in the leaf."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.e2e.callers import Caller, call
from tests.e2e.serving import Serving

pytestmark = pytest.mark.e2e
WAITING = 40


@pytest.fixture(scope="module", params=["OnFrontend", "AsyncInTriton", "SyncInTriton"])
def server(request: pytest.FixtureRequest) -> Iterator[Serving]:
    with Serving(f"queued_graph:{request.param}", "--set", "traffic.timeout=30") as server:
        yield server


async def history(server: Serving) -> dict[str, list[str]]:
    found: dict[str, list[str]] = (await call(server.url, "/history")).json()
    return found


async def told(server: Serving, name: str) -> float:
    """Waits until the leaf's method has seen that nobody waits; returns how long that took."""
    began = time.perf_counter()
    async with asyncio.timeout(10):
        while name not in (await history(server))["told"]:
            await asyncio.sleep(0.05)
    return time.perf_counter() - began


def test_the_leaf_gets_what_is_left_of_the_callers_time(server: Serving) -> None:
    async def main() -> None:
        for seconds in (3.0, 7.0):
            answer = await call(server.url, "/deadline", headers={"X-Request-Timeout": str(seconds)})
            deadline, left_s, now = answer.json()
            assert deadline == pytest.approx(now + left_s, abs=0.01)
            assert seconds - 2.5 < left_s < seconds

    asyncio.run(main())


def test_work_in_the_leaf_is_told_when_the_callers_time_is_over(server: Serving) -> None:
    async def main() -> None:
        late = await call(server.url, "/until_told", {"name": "late"}, {"X-Request-Timeout": "0.5"})
        assert late.status == 504
        print(f"\ntold {await told(server, 'late'):.2f} s after the answer")

    asyncio.run(main())


def test_work_in_the_leaf_is_told_when_the_caller_has_gone(server: Serving) -> None:
    async def main() -> None:
        async with Caller(server.url) as caller:
            await caller.send("/until_told", {"name": "gone"})
            await asyncio.sleep(0.5)
        print(f"\ntold {await told(server, 'gone'):.2f} s after the caller left")

    asyncio.run(main())


def test_calls_whose_callers_leave_before_the_leaf_comes_to_them_never_start(server: Serving) -> None:
    async def main() -> None:
        blocking = asyncio.create_task(call(server.url, "/work", {"name": "busy", "seconds": 2}))
        await asyncio.sleep(0.4)
        callers = [Caller(server.url) for _ in range(WAITING)]
        for number, caller in enumerate(callers):
            await caller.__aenter__()
            await caller.send("/work", {"name": f"left{number}"})
        await asyncio.sleep(0.5)
        for caller in callers:
            await caller.__aexit__(None, None, None)
        assert (await blocking).status == 200
        assert (await call(server.url, "/work", {"name": "after"})).status == 200
        ran = (await history(server))["ran"]
        left = [name for name in ran if name.startswith("left")]
        print(f"\n{len(left)} of {WAITING} calls of callers who had left were run")
        assert left == []
        assert ran[-1] == "after"

    asyncio.run(main())
