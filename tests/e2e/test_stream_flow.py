"""Streams on the real Triton whose readers are slower than their makers: the maker waits, and nothing fills up in between.

Two ways: directly, past Triton, for callers on its machine; and over its gRPC, for all others.
"""

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from orchestrator.engine import InferRequest, InferResponse
from orchestrator.engine.lifetime import DEADLINE_PARAMETER, deadline_after
from orchestrator.errors import BackendUnavailable, DeadlineExceeded
from orchestrator.triton import TritonBackend
from tests.e2e.callers import Caller, call
from tests.e2e.deaths import triton_of, workers_of
from tests.e2e.serving import Serving
from tests.e2e.test_overload import board_of

pytestmark = pytest.mark.e2e

MANY = 100_000
EARLY = 20_000
WINDOW = 256
SIZE = 64 << 10
HANG_S = 2.0
GROWTH_MIB = 4.0
AHEAD = 1000
"""Chunks of a few bytes that fit into a socket and its reader's buffer; some 300 measured."""
HELD_S = 0.02
"""Of a thread's own time: how long a stream may hold up its caller's event loop. It lets go after 2 ms."""
MIB = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving("flooding:Flooding", "--set", f"traffic.hang_timeout={HANG_S}") as server:
        yield server
        assert "no progress" not in server.log, server.log  # who waits for a reader does not hang


def request(api: str, name: str, *, many: bool = True, **numbers: int) -> InferRequest:
    """A call as the front-end sends it.

    Args:
        many: goes past Triton, where the caller has a board.
    """
    inputs: dict[str, Any] = {f"{api}.name": np.array([name.encode()], dtype=object)}
    inputs |= {f"{api}.{key}": np.array([value], dtype=np.int64) for key, value in numbers.items()}
    return InferRequest("Flooding", inputs, {"api": api}, many=many)


@contextlib.asynccontextmanager
async def stream(backend: TritonBackend, asked: InferRequest) -> AsyncIterator[AsyncGenerator[InferResponse, None]]:
    async with contextlib.aclosing(backend.stream(asked)) as parts:
        yield parts


@contextlib.asynccontextmanager
async def connected(server: Serving, *, board: bool = True) -> AsyncIterator[TritonBackend]:
    backend = TritonBackend(server.triton["grpc"], board=board_of(server) if board else None)
    try:
        yield backend
    finally:
        await backend.close()


async def made(server: Serving, name: str) -> int:
    """How many chunks the service has made for a call."""
    answer = await call(server.url, "/made_for", {"name": name})
    return int(answer.json())


async def made_at_rest(server: Serving, name: str) -> int:
    """How many they are once they do not grow any more.

    Raises:
        TimeoutError: they grow on.
    """
    async with asyncio.timeout(30):
        before = -1
        while before != (now := await made(server, name)):
            before = now
            await asyncio.sleep(1)
    return now


async def ends(server: Serving, name: str) -> float:
    """Waits until a generator has been closed, and returns how long that took."""
    began = time.perf_counter()
    async with asyncio.timeout(10):
        while not (await call(server.url, "/has_ended", {"name": name})).json():
            await asyncio.sleep(0.02)
    return time.perf_counter() - began


async def exhausted(parts: AsyncGenerator[InferResponse, None]) -> int:
    """Reads what is left, and returns how many there were."""
    return len([1 async for _ in parts])


def memory(server: Serving) -> dict[str, float]:
    """Resident memory of everything on a stream's way, in MiB, shared memory included."""
    (worker,) = workers_of(server)
    front_end = next(each for each in server.family() if each.pid == server.process.pid)
    processes = {"worker": worker, "tritonserver": triton_of(server), "front-end": front_end}
    return {name: process.memory_info().rss / MIB for name, process in processes.items()}


async def read_all(server: Serving, api: str, name: str, count: int, accept: str, early: int = 0) -> dict[str, float]:
    """Reads a stream of numbers and sees that each chunk is a whole one, in its place, and comes once.

    Returns:
        The memory after `early` chunks.
    """
    body = {"name": name, "count": count} | ({} if api == "objects" else {"size": 8})
    found: dict[str, float] = {}
    async with Caller(server.url) as caller:
        await caller.send(f"/{api}", body, {"Accept": accept})
        status, headers = await caller.head()
        assert status == 200
        is_event = headers["content-type"].startswith("text/event-stream")
        read = 0
        while chunk := await caller.chunk():
            if is_event:
                assert chunk.startswith(b"data: ")
                assert chunk.endswith(b"\n\n")
            text = chunk.replace(b"data: ", b"") if is_event else chunk
            assert (json.loads(text)["number"] if api == "objects" else int(text)) == read
            read += 1
            if read == early:
                found = memory(server)
    assert read == await made(server, name) == count
    return found


@pytest.mark.parametrize(("api", "accept"), [("objects", "text/event-stream"), ("sync_texts", "*/*")])
def test_100_000_chunks_take_no_more_memory_than_20_000(server: Serving, api: str, accept: str) -> None:
    async def run() -> None:
        began = time.perf_counter()
        early = await read_all(server, api, f"many {api}", MANY, accept, EARLY)
        late = memory(server)
        growth = {each: late[each] - early[each] for each in late}
        said = ", ".join(f"{each} {early[each]:.1f} -> {late[each]:.1f} MiB" for each in late)
        print(f"\n{MANY} chunks of {api} as {accept} in {time.perf_counter() - began:.1f} s; from {EARLY} on: {said}")
        assert all(size < GROWTH_MIB for size in growth.values())

    asyncio.run(run())


@pytest.mark.parametrize(("api", "accept"), [("objects", "*/*"), ("sync_texts", "text/event-stream")])
def test_chunks_are_whole_in_other_framings(server: Serving, api: str, accept: str) -> None:
    asyncio.run(read_all(server, api, f"framed {api}", 3000, accept))


@pytest.mark.parametrize("api", ["texts", "sync_texts"])
def test_a_maker_is_no_further_ahead_than_a_socket_holds(server: Serving, api: str) -> None:
    async def run() -> None:
        for size, taken, most in ((10, 1, AHEAD), (10, 999, AHEAD), (MIB, 1, 3), (6 * MIB, 1, 3)):
            name = f"directly {api} {size} {taken}"
            async with connected(server) as backend, stream(backend, request(api, name, count=10_000, size=size)) as it:
                for _ in range(taken):
                    await anext(it)
                ahead = await made_at_rest(server, name) - taken
                print(f"\n{api}, chunks of {size} bytes: {ahead} ahead of a reader of {taken}")
                assert 0 < ahead <= most
            await ends(server, name)

    asyncio.run(run())


@pytest.mark.parametrize("api", ["texts", "sync_texts"])
def test_over_grpc_a_maker_is_never_more_than_a_window_ahead(server: Serving, api: str) -> None:
    async def run() -> None:
        name = f"ahead {api}"
        async with connected(server) as backend:
            async with stream(backend, request(api, name, many=False, count=10_000, size=10)) as parts:
                for taken in range(1, 1000):
                    await anext(parts)
                    if taken in (1, 100, 999):
                        ahead = await made_at_rest(server, name) - taken
                        # The one that was read last is taken when the next one is asked for.
                        assert WINDOW / 2 <= ahead <= WINDOW - 1
            await ends(server, name)
            assert await made(server, name) <= 999 + WINDOW

            # By their bytes: four MiB, or two chunks.
            for size, most in ((MIB, 4), (6 * MIB, 2)):
                asked = request(api, f"{name} {size}", many=False, count=10_000, size=size)
                async with stream(backend, asked) as parts:
                    await anext(parts)
                    assert await made_at_rest(server, f"{name} {size}") == most

    asyncio.run(run())


@pytest.mark.parametrize("api", ["texts", "sync_texts"])
def test_a_client_that_stops_reading_stops_the_maker_and_goes_on_when_it_reads(server: Serving, api: str) -> None:
    async def run() -> None:
        name, count = f"stops {api}", 3000
        worker = workers_of(server)[0].pid
        async with Caller(server.url) as caller:
            await caller.send(f"/{api}", {"name": name, "count": count, "size": SIZE})
            await caller.head()
            assert (await caller.chunk()).startswith(b"0 ")
            first = await made_at_rest(server, name)
            before = memory(server)
            await asyncio.sleep(2 * HANG_S)
            assert await made(server, name) == first < count / 2
            grown = {each: f"{size - before[each]:+.1f} MiB" for each, size in memory(server).items()}
            # Meanwhile others are served, streams as well.
            other = await call(server.url, "/objects", {"name": "beside", "count": 500})
            assert len(other.body.splitlines()) == 500

            read = 1
            while chunk := await caller.chunk():
                assert len(chunk) == SIZE
                assert int(chunk) == read
                read += 1
                if read == first:
                    assert await made(server, name) > first - 1
        assert read == count
        assert workers_of(server)[0].pid == worker
        print(
            f"\n{api}: a client that does not read holds the maker after {first} of {count} chunks of {SIZE >> 10} kB,"
            f" for {2 * HANG_S:.0f} s; memory meanwhile {grown}"
        )

    asyncio.run(run())


@pytest.mark.parametrize("api", ["texts", "sync_texts"])
def test_a_client_that_leaves_ends_the_maker(server: Serving, api: str) -> None:
    async def run() -> None:
        for reads in (True, False):
            name = f"leaves {api} {reads}"
            async with Caller(server.url) as caller:
                await caller.send(f"/{api}", {"name": name, "count": 1_000_000, "size": SIZE})
                await caller.head()
                await caller.chunk()
                if not reads:
                    await made_at_rest(server, name)
            took_s = await ends(server, name)
            total = await made(server, name)
            print(f"\n{api}, a client that {'reads' if reads else 'had stopped'} leaves: ended after {took_s:.2f} s")
            await asyncio.sleep(0.2)
            assert await made(server, name) == total < 100_000

    asyncio.run(run())


@pytest.mark.parametrize("many", [True, False])
def test_a_deadline_ends_a_stream_that_waits_for_its_reader(server: Serving, many: bool) -> None:
    async def run() -> None:
        name = f"late {many}"
        async with connected(server) as backend:
            asked = request("texts", name, many=many, count=1_000_000, size=10)
            parameters = {**asked.parameters, DEADLINE_PARAMETER: deadline_after(1)}
            asked = dataclasses.replace(asked, parameters=parameters, timeout_s=1)
            async with stream(backend, asked) as parts:
                await anext(parts)
                made_first = await made_at_rest(server, name)
                assert 0 < made_first <= (AHEAD if many else WINDOW)
                await ends(server, name)
                with pytest.raises(DeadlineExceeded):
                    await exhausted(parts)

    asyncio.run(run())


def test_a_stream_that_is_left_holds_its_place_until_its_worker_has_ended_it(server: Serving) -> None:
    async def run() -> None:
        rests: list[asyncio.Future[Any]] = []
        async with connected(server) as backend:
            asked = dataclasses.replace(request("sync_texts", "left", count=1_000_000, size=10), runs_on=rests.append)
            async with stream(backend, asked) as parts:
                await anext(parts)
            (rest,) = rests
            async with asyncio.timeout(10):
                await rest
        assert (await call(server.url, "/has_ended", {"name": "left"})).json()

    asyncio.run(run())


def test_closing_the_backend_ends_its_streams(server: Serving) -> None:
    async def run() -> None:
        async with connected(server) as backend, stream(backend, request("waits", "closed")) as parts:
            await anext(parts)
            following = asyncio.ensure_future(anext(parts))
            await asyncio.sleep(0.1)
            async with asyncio.timeout(10):
                await backend.close()
                with pytest.raises(BackendUnavailable, match="closed during the call"):
                    await following
        await ends(server, "closed")

    asyncio.run(run())


def test_a_flood_does_not_hold_up_its_callers_event_loop(server: Serving) -> None:
    async def run() -> None:
        longest_s, turned = 0.0, time.thread_time()

        async def turn() -> None:
            nonlocal longest_s, turned
            while True:
                turned = time.thread_time()
                await asyncio.sleep(0)
                longest_s = max(longest_s, time.thread_time() - turned)

        async with connected(server) as backend:
            turning = asyncio.create_task(turn())
            async with stream(backend, request("texts", "flood", count=MANY, size=10)) as parts:
                await anext(parts)
                longest_s = 0.0
                read = 0
                async for (
                    _
                ) in parts:  # by somebody who is slower than the maker, so that there is always something to read
                    read += 1
                    sum(range(500))
                assert read == MANY - 1
            turning.cancel()
        print(f"\nthe event loop was held for {longest_s * 1000:.1f} ms at most")
        assert longest_s < HELD_S

    asyncio.run(run())


@pytest.mark.parametrize("who", ["its worker", "Triton"])
def test_a_stream_ends_with_what_makes_it(who: str) -> None:
    async def run(server: Serving) -> None:
        async with connected(server) as backend, stream(backend, request("waits", "dies")) as parts:
            await anext(parts)
            victim = triton_of(server) if who == "Triton" else workers_of(server)[0]
            victim.kill()
            began = time.perf_counter()
            async with asyncio.timeout(10):
                with pytest.raises(BackendUnavailable):
                    await anext(parts)
            took_s = time.perf_counter() - began
            print(f"\n{who} was killed: its stream has ended {took_s:.2f} s later")
            assert took_s < (10 if who == "Triton" else 1)

    with Serving("flooding:Flooding") as server:
        asyncio.run(run(server))


def test_a_caller_without_a_board_is_served_as_before(server: Serving) -> None:
    async def run() -> None:
        asked = request("texts", "no board", count=2000, size=10)
        async with connected(server, board=False) as backend, stream(backend, asked) as parts:
            await anext(parts)
            assert await made_at_rest(server, "no board") == 2000  # nobody knows what it reads
            assert await exhausted(parts) == 1999

    asyncio.run(run())


@pytest.mark.soak
@pytest.mark.parametrize(
    ("api", "size", "count"),
    [("texts", 20, 4000), ("sync_texts", 20, 4000), ("texts", SIZE, 1000), ("texts", 8 * MIB, 30)],
)
def test_what_flow_control_costs(server: Serving, api: str, size: int, count: int) -> None:
    async def run() -> None:
        async with connected(server) as with_it, connected(server, board=False) as without:

            async def rate(backend: TritonBackend, *, many: bool) -> float:
                began = time.perf_counter()
                async with stream(backend, request(api, "costs", many=many, count=count, size=size)) as parts:
                    assert await exhausted(parts) == count
                return count / (time.perf_counter() - began)

            turns = [
                (await rate(with_it, many=True), await rate(with_it, many=False), await rate(without, many=False))
                for _ in range(7)
            ]
            direct, controlled, free = (sorted(rates)[len(turns) // 2] for rates in zip(*turns, strict=True))
            print(
                f"\n{api}, {count} chunks of {size} bytes: {direct:.0f} a second directly, {controlled:.0f} over gRPC"
                f" with flow control, {free:.0f} without; ratios {direct / free:.2f}, {controlled / free:.2f}"
            )
            assert controlled > 0.6 * free  # it costs nothing that could be told from a busy machine's noise
            assert direct > 0.6 * free

    asyncio.run(run())
