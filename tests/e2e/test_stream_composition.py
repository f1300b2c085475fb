"""Streams of services that are made of other services' streams, on the real Triton: chunk by chunk, through all of them."""

import asyncio
import contextlib
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from orchestrator.triton import Control
from tests.e2e.callers import Caller, call
from tests.e2e.deaths import triton_of, workers_of
from tests.e2e.serving import Serving, eventually

pytestmark = pytest.mark.e2e

RELAYS = ["Relay", "RelayInTriton", "SyncRelay", "SyncRelayInFrontend"]
THIRDS = ["Third", "ThirdInTriton"]
MANY = 100_000
EARLY = 20_000
SIZE = 64 << 10
HANG_S = 2.0
LOST_S = 2.0
"""Until the client of a stream is told that a worker has died."""
GROWTH_MIB = 4.0
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Serving]:
    with Serving(f"relaying:{request.param}", "--set", f"traffic.hang_timeout={HANG_S}") as server:
        yield server
        assert server.stop() == 0
        assert "no progress" not in server.log, server.log  # who waits for a reader, or for a maker, does not hang
        assert "Exit timeout expired" not in server.log, "a call was left in flight"


def of(targets: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("server", targets, indirect=True, scope="module")


def target(server: Serving) -> str:
    """The service that was named on its command line."""
    return cast("list[str]", server.process.args)[2]


async def asked(server: Serving, path: str, name: str) -> list[Any]:
    """What each service says of a stream, the maker first."""
    answer = await call(server.url, path, {"name": name})
    assert answer.status == 200, answer.text
    return list(answer.json())


async def at_rest(server: Serving, name: str) -> list[int]:
    """How many chunks each service has made once they do not grow any more.

    Raises:
        TimeoutError: they grow on.
    """
    async with asyncio.timeout(60):
        before: list[int] = []
        while before != (now := await asked(server, "/made_for", name)):
            before = now
            await asyncio.sleep(1)
    return now


def processes(server: Serving) -> dict[str, psutil.Process]:
    """All that a stream passes."""
    front_end = next(each for each in server.family() if each.pid == server.process.pid)
    workers = {each.cmdline()[8]: each for each in workers_of(server)}
    return {"front-end": front_end, "tritonserver": triton_of(server), **workers}


def memory_mib(server: Serving) -> dict[str, float]:
    """Resident memory of each process, shared memory included."""
    return {name: process.memory_info().rss / (1 << 20) for name, process in processes(server).items()}


@of(RELAYS + THIRDS)
def test_a_chunk_is_out_before_the_maker_makes_the_next(server: Serving, tmp_path: Path) -> None:
    async def run(api: str) -> None:
        gate = tmp_path / api
        async with Caller(server.url) as caller:
            await caller.send(f"/{api}", {"gate": str(gate)})
            assert (await caller.head())[0] == 200
            assert await caller.chunk() == b"0\n"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await caller.chunk()
            gate.touch()  # now, and not before, it can go on
            async with asyncio.timeout(10):
                assert [await caller.chunk(), await caller.chunk()] == [b"1\n", b""]

    asyncio.run(run("held"))
    if "Third" not in target(server):
        asyncio.run(run("sync_held"))


@of([*RELAYS, *THIRDS])
def test_100_000_chunks_take_no_more_memory_than_20_000(server: Serving) -> None:
    async def run() -> None:
        early: dict[str, float] = {}
        began = time.perf_counter()
        async with Caller(server.url) as caller:
            await caller.send("/texts", {"name": "many", "count": MANY, "size": 20})
            assert (await caller.head())[0] == 200
            read = 0
            while chunk := await caller.chunk():
                assert int(chunk) == read
                read += 1
                if read == EARLY:
                    early = memory_mib(server)
        assert read == MANY
        took_s = time.perf_counter() - began
        late = memory_mib(server)
        assert set(await asked(server, "/made_for", "many")) == {MANY}
        said = ", ".join(f"{each} {early[each]:.1f} -> {late[each]:.1f} MiB" for each in late)
        print(f"\n{target(server)}: {MANY} chunks, {MANY / took_s:.0f} a second; from {EARLY} on: {said}")
        assert all(late[each] - early[each] < GROWTH_MIB for each in late)

    asyncio.run(run())


@pytest.mark.soak
def test_a_relay_keeps_up_with_the_stream_alone() -> None:
    """Chunks a second as the client gets them; the single stream and its relays take turns."""

    async def rate(server: Serving, name: str) -> float:
        count = 10_000
        host, _, port = server.url.removeprefix("http://").rpartition(":")
        body = json.dumps({"name": name, "count": count, "size": 20})
        head = f"POST /texts HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write((head + body).encode())
        answer = await reader.read()
        took_s = time.perf_counter() - began
        writer.close()
        assert answer.count(b"14\r\n") == count  # each chunk of the maker's is one of HTTP's
        return count / took_s

    async def run(servers: dict[str, Serving]) -> None:
        found: dict[str, list[float]] = {name: [] for name in servers}
        for turn in range(7):
            for name, server in servers.items():
                found[name].append(await rate(server, f"turn {turn}"))
        median = {name: statistics.median(rates[1:]) for name, rates in found.items()}
        for name, chunks in median.items():
            print(
                f"\n{name}: {chunks:.0f} chunks a second, {chunks / median['Maker']:.2f} of the single stream's", end=""
            )
        for name, chunks in median.items():
            # In sync code each chunk changes threads, twice on the front-end: 0.1 to 0.4 measured, and 0.5 to 0.75 in async.
            assert chunks > (0.04 if "Sync" in name else 0.25) * median["Maker"]

    with contextlib.ExitStack() as stack:
        asyncio.run(run({name: stack.enter_context(Serving(f"relaying:{name}")) for name in ("Maker", *RELAYS)}))


@of([*RELAYS, "ThirdInTriton"])
def test_a_client_that_stops_reading_stops_all_services_and_goes_on_when_it_reads(server: Serving) -> None:
    async def run() -> None:
        count = 2000
        async with Caller(server.url) as caller:
            await caller.send("/texts", {"name": "stops", "count": count, "size": SIZE})
            await caller.head()
            assert (await caller.chunk()).startswith(b"0 ")
            stopped = await at_rest(server, "stops")
            await asyncio.sleep(2 * HANG_S)
            assert await asked(server, "/made_for", "stops") == stopped
            assert stopped == sorted(stopped, reverse=True)
            assert stopped[0] < count / 2
            print(f"\n{target(server)}: a client that does not read holds services after {stopped} of {count}")
            read = 1
            while chunk := await caller.chunk():
                assert len(chunk) == SIZE
                assert int(chunk) == read
                read += 1
        assert read == count
        assert set(await asked(server, "/has_ended", "stops")) == {True}

    asyncio.run(run())


@of([*RELAYS, *THIRDS])
def test_a_client_that_leaves_ends_all_generators(server: Serving) -> None:
    async def run(name: str, *, reads: bool) -> None:
        async with Caller(server.url) as caller:
            await caller.send("/texts", {"name": name, "count": 1_000_000, "size": SIZE})
            await caller.head()
            await caller.chunk()
            if not reads:
                await at_rest(server, name)
        began = time.perf_counter()
        async with asyncio.timeout(10):
            while set(await asked(server, "/has_ended", name)) != {True}:
                await asyncio.sleep(0.02)
        print(f"\n{target(server)}, {name}: all have ended after {time.perf_counter() - began:.2f} s")
        total = await asked(server, "/made_for", name)
        await asyncio.sleep(0.2)
        assert await asked(server, "/made_for", name) == total

    asyncio.run(run("a client that reads leaves", reads=True))
    asyncio.run(run("a client that had stopped leaves", reads=False))


@of([*RELAYS, *THIRDS])
def test_an_error_of_the_maker_reaches_the_client(server: Serving) -> None:
    async def run() -> None:
        before = await call(server.url, "/breaks", {"after": 0})
        assert (before.status, before.json()["name"]) == (418, "Spilt")

        with pytest.raises(ConnectionResetError):
            await call(server.url, "/breaks", {"after": 3})

        events = (await call(server.url, "/breaks", {"after": 3}, EVENTS)).text.split("\n\n")
        assert events[:3] == ["data: 0", "data: 1", "data: 2"]
        kind, data = events[3].split("\n")
        assert kind == "event: error"
        told = json.loads(data.removeprefix("data: "))
        assert (told["name"], told["status"], told["detail"]) == ("Spilt", 418, "after 3")
        assert events[4:] == [""]

    asyncio.run(run())


@of(RELAYS)
def test_the_second_service_can_handle_an_error_of_the_first_by_its_class(server: Serving) -> None:
    async def run() -> None:
        for after in (0, 3):
            answer = await call(server.url, "/handled", {"after": after})
            assert answer.text == "".join(map(str, range(after))) + f"wiped up: after {after}"

    asyncio.run(run())


def test_a_worker_that_is_replaced_finishes_its_streams_which_call_others() -> None:
    count = 100

    async def run(server: Serving) -> None:
        (worker,) = workers_of(server, "RelayInTriton")
        for file in Path(worker.cmdline()[1]).parents[1].rglob("*.*"):
            os.utime(file)  # so that Triton loads it anew

        async def replace() -> None:
            async with Control(server.triton["grpc"]) as control:
                await control.load_model("RelayInTriton")

        async with Caller(server.url) as caller:
            await caller.send("/asks", {"count": count}, EVENTS)
            await caller.head()
            await caller.chunk()
            replacing = asyncio.create_task(replace())
            rest = (await caller.rest()).decode().split("\n\n")
        await replacing
        assert rest == [*(f"data: {number}" for number in range(1, count)), ""]
        # The old one has gone: nothing that it had is in flight.
        assert await asyncio.to_thread(eventually, lambda: worker not in workers_of(server, "RelayInTriton"), 15)
        assert (await call(server.url, "/asks", {"count": 2})).text == "0\n1\n"

    with Serving("relaying:RelayInTriton") as server:
        asyncio.run(run(server))


@of([*RELAYS, *THIRDS])
@pytest.mark.parametrize("floods", [True, False])
def test_a_maker_that_dies_in_mid_stream_is_an_error_at_once(server: Serving, tmp_path: Path, floods: bool) -> None:
    async def run() -> None:
        path, body = "/texts", {"name": f"dies {floods}", "count": 10_000_000, "size": 100}
        if not floods:
            path, body = "/held", {"gate": str(tmp_path / "never")}
        async with Caller(server.url) as caller, Caller(server.url) as other:
            for each, accept in ((caller, EVENTS), (other, {})):
                await each.send(path, body, accept)
                assert (await each.head())[0] == 200
                assert await each.chunk()
            (maker,) = workers_of(server, "Maker")
            maker.kill()
            began = time.perf_counter()

            async def told() -> bytes:
                last = b""
                while chunk := await caller.chunk():
                    last = chunk
                return last

            async def broken() -> None:
                with pytest.raises(ConnectionResetError):
                    await other.rest()

            last, _ = await asyncio.gather(told(), broken())
            took_s = time.perf_counter() - began
        assert last.startswith(b"event: error\n"), last
        assert json.loads(last.partition(b"data: ")[2])["status"] == 503
        print(f"\n{target(server)}, floods {floods}: the client is told {took_s:.2f} s after the kill")
        assert took_s < LOST_S
        answer = await call(server.url, "/texts", {"name": "afterwards", "count": 3, "size": 2})
        assert (answer.status, answer.text) == (200, "0\n1\n2\n")

    asyncio.run(run())
