"""More calls than a service can run, and callers who leave: what is accepted stays quick, what nobody waits for never runs."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from orchestrator.engine import InferRequest
from orchestrator.triton import TritonBackend
from orchestrator.triton.leftovers import living
from tests.e2e.callers import Answer, Caller, call, metric, percentile
from tests.e2e.serving import Serving

pytestmark = pytest.mark.e2e
SERVICE_S = 0.1
QUEUE_S = 0.5
OVERLOAD_S = 30.0


SERVICES = [("Sync", 1), ("Threaded", 2)]


@pytest.fixture(scope="module")
def sync() -> Iterator[Serving]:
    with Serving("queued:Sync") as server:
        yield server


@pytest.fixture(scope="module")
def threaded() -> Iterator[Serving]:
    with Serving("queued:Threaded") as server:
        yield server


async def history_of(url: str, before: str, key: str = "ran") -> list[str]:
    """What ran of the calls whose names begin so, in order."""
    names = (await call(url, "/history")).json()[key]
    return [name.removeprefix(before) for name in names if name.startswith(before)]


def board_of(server: Serving) -> Path:
    """The cancel board of the Triton below a server."""
    (run_dir,) = [each for each in living() if each.name.startswith(f"orchestrator-{server.process.pid}-")]
    return run_dir / "calls"


@pytest.mark.soak
def test_twice_the_capacity_for_30_s() -> None:
    """Acceptance 4."""

    async def load(url: str) -> None:
        unloaded = [(await call(url, "/work", {"name": f"alone{n}", "seconds": SERVICE_S})).seconds for n in range(10)]
        alone_s = percentile(unloaded, 0.5)
        answers: dict[str, Answer] = {}

        async def one(name: str) -> None:
            answers[name] = await call(url, "/work", {"name": name, "seconds": SERVICE_S})

        pause, loop, sent = random.Random(1), asyncio.get_running_loop(), 0
        async with asyncio.TaskGroup() as tasks:
            began = due = loop.time()
            while due < began + OVERLOAD_S:
                sent += 1
                tasks.create_task(one(f"load {sent}"))
                due += pause.expovariate(2 / SERVICE_S)
                await asyncio.sleep(max(0.0, due - loop.time()))
        statuses = Counter(answer.status for answer in answers.values())
        accepted = {name: answer for name, answer in answers.items() if answer.status == 200}
        refused = [answer for answer in answers.values() if answer.status == 429]
        p99_s = percentile([answer.seconds for answer in accepted.values()], 0.99)
        bound_s = 2 * alone_s + QUEUE_S
        print(
            f"\n{len(answers)} calls in {OVERLOAD_S:.0f} s, each {SERVICE_S * 1000:.0f} ms: {dict(statuses)};"
            f" accepted p50 {percentile([a.seconds for a in accepted.values()], 0.5):.3f} s, p99 {p99_s:.3f} s,"
            f" bound {bound_s:.3f} s; refused p99 {percentile([a.seconds for a in refused], 0.99) * 1000:.1f} ms;"
            f" busy {len(accepted) * SERVICE_S / OVERLOAD_S:.0%}"
        )
        assert set(statuses) == {200, 429}
        assert p99_s <= bound_s
        assert len(refused) > len(answers) / 4
        assert len(accepted) * SERVICE_S > 0.8 * OVERLOAD_S  # the worker was fed
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        ran = Counter(await history_of(url, "load "))
        assert {f"load {name}" for name in ran} == set(accepted)  # what ran was answered, what was refused did not run
        assert set(ran.values()) == {1}
        assert all(answer.text == name for name, answer in accepted.items())
        assert await metric(url, "orchestrator_requests_refused_total") == len(refused)

    with Serving("queued:Sync", "--set", f"traffic.queue_timeout={QUEUE_S}") as server:
        asyncio.run(load(server.url))


@pytest.mark.parametrize(("service", "busy"), SERVICES)
def test_200_clients_disconnect_while_queued(service: str, busy: int, request: pytest.FixtureRequest) -> None:
    """Acceptance 2: most of them wait in the front-end, some in Triton or its worker, and none of them runs."""

    async def leave(url: str) -> None:
        loop = asyncio.get_running_loop()

        async def in_progress(calls: int) -> None:
            async with asyncio.timeout(20):
                while await metric(url, "orchestrator_requests_in_progress", service=service) != calls:
                    await asyncio.sleep(0.02)

        holding = [Caller(url) for _ in range(busy)]
        for number, each in enumerate(holding):
            await each.__aenter__()
            await each.send("/until_told", {"name": f"left busy{number}", "seconds": 60})
            await asyncio.sleep(0.3)
        gone = await metric(url, "orchestrator_requests_total", api="work", status="499")
        callers = [Caller(url) for _ in range(200)]
        for number, each in enumerate(callers):
            await each.__aenter__()
            await each.send("/work", {"name": f"left {number}", "seconds": 0})
        await in_progress(200 + busy)
        queued = await metric(url, "orchestrator_queue_length")
        left = loop.time()
        for each in callers:
            await each.__aexit__(None, None, None)
        await in_progress(busy)
        noticed_s = loop.time() - left
        assert queued == await metric(url, "orchestrator_queue_length") + 200 - busy  # the rest is at the backend still
        for each in holding:
            await each.__aexit__(None, None, None)
        # A call that came later has run: so would they have, if they were to.
        assert (await call(url, "/work", {"name": "left last", "seconds": 0})).status == 200
        ran = sorted(await history_of(url, "left "))
        print(f"\n{service}: {queued:.0f} of 200 waited in the front-end; all gone {noticed_s:.2f} s later; ran: {ran}")
        names = [f"busy{number}" for number in range(busy)]
        assert sorted(await history_of(url, "left ", "told")) == names
        assert ran == [*names, "last"]
        assert await metric(url, "orchestrator_requests_total", api="work", status="499") == gone + 200

    asyncio.run(leave(request.getfixturevalue(service.lower()).url))


@pytest.mark.parametrize(
    ("service", "busy", "transport"), [("Sync", 1, "http"), *((*each, "grpc") for each in SERVICES)]
)
def test_what_waits_in_tritons_own_queue_is_cancelled_without_telling_triton(
    service: str, busy: int, transport: str, request: pytest.FixtureRequest
) -> None:
    before = f"direct {transport} "

    async def leave(url: str, triton: dict[str, str], board: Path) -> None:
        http_url = f"http://{triton['http']}" if transport == "http" else None
        backend = TritonBackend(triton["grpc"], board=board, http_url=http_url)
        left_behind: list[asyncio.Future[None]] = []

        async def run(api: str, name: str, seconds: float) -> None:
            inputs = {f"{api}.name": np.array([name.encode()], object), f"{api}.seconds": np.array([seconds])}
            request = InferRequest(service, inputs, {"api": api}, runs_on=left_behind.append)
            if service == "Sync":
                await backend.infer(request)
            else:
                async for _ in backend.stream(request):
                    pass

        async def cancel(tasks: list[asyncio.Task[None]]) -> None:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        holding = [asyncio.create_task(run("until_told", f"{before}busy{number}", 60.0)) for number in range(busy)]
        await asyncio.sleep(0.5)
        leaving = [asyncio.create_task(run("work", f"{before}{number}", 0.0)) for number in range(200)]
        await asyncio.sleep(0.5)
        await cancel(leaving)
        assert len(left_behind) == 200  # as far as Triton goes they are still there
        if service == "Sync":
            assert not any(each.done() for each in left_behind)
        await cancel(holding)
        async with asyncio.timeout(20):
            await asyncio.gather(*left_behind)
        await run("work", f"{before}last", 0.0)
        await backend.close()
        names = [f"busy{number}" for number in range(busy)]
        assert sorted(await history_of(url, before, "told")) == names
        assert sorted(await history_of(url, before)) == [*names, "last"]

    server = request.getfixturevalue(service.lower())
    asyncio.run(leave(server.url, server.triton, board_of(server)))


def test_the_urgent_go_first_and_clients_take_turns(sync: Serving) -> None:
    async def crowd(url: str) -> None:
        async with Caller(url) as holding:
            await holding.send("/until_told", {"name": "turn busy", "seconds": 60})
            await asyncio.sleep(0.3)
            rest = [
                asyncio.create_task(call(url, "/work", {"name": "turn next", "seconds": 0}))
            ]  # this one is in Triton
            await asyncio.sleep(0.3)
            for number, (name, headers) in enumerate(
                (
                    *((f"hog{number}", {"x-api-key": "hog"}) for number in range(4)),
                    ("other", {"x-api-key": "other"}),
                    ("low", {"x-request-priority": "low"}),
                    ("high", {"x-request-priority": "high"}),
                )
            ):
                rest.append(asyncio.create_task(call(url, "/work", {"name": f"turn {name}", "seconds": 0.01}, headers)))
                async with asyncio.timeout(20):
                    while await metric(url, "orchestrator_queue_length") != number + 1:
                        await asyncio.sleep(0.01)
        assert [(await each).status for each in rest] == [200] * len(rest)
        ran = await history_of(url, "turn ")
        assert ran[:2] == ["busy", "next"]
        assert ran[2:] == ["high", "hog0", "other", "hog1", "hog2", "hog3", "low"]
        wrong = await call(url, "/work", {"name": "x"}, {"x-request-priority": "now"})
        assert wrong.status == 400

    asyncio.run(crowd(sync.url))
