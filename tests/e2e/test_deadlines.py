"""Deadlines on the real Triton: what is late never starts, what runs ends or is told, and its place is kept that long."""

import asyncio
import time

import numpy as np
import pytest
import tritonclient.grpc

from orchestrator.engine.lifetime import deadline_after
from tests.e2e.callers import Caller, call, metric
from tests.e2e.serving import Serving

pytestmark = pytest.mark.e2e


def test_a_sync_service() -> None:
    async def sync(url: str) -> None:
        # The deadline is that of the caller, or the service's where that is earlier.
        for headers, seconds in (({"X-Request-Timeout": "5"}, 5), ({"grpc-timeout": "6S"}, 6), ({}, 8)):
            deadline, left_s, now = (await call(url, "/deadline", headers=headers)).json()
            assert deadline == pytest.approx(now + left_s, abs=0.01)
            assert seconds - 4 < left_s <= seconds
        assert (await call(url, "/deadline", headers={"X-Request-Timeout": "soon"})).status == 400

        # Work that asks is told of its deadline; its caller has had the answer by then.
        late = await call(url, "/until_told", {"name": "told"}, {"X-Request-Timeout": "0.3"})
        assert late.status == 504
        assert late.json()["detail"] == "Sync did not answer in 0.3 seconds"

        # Work that does not ask runs on, and counts: the next one waits for it, and one that cannot wait never starts.
        began = time.perf_counter()
        deaf = await call(url, "/work", {"name": "deaf", "seconds": 2}, {"X-Request-Timeout": "0.3"})
        assert deaf.status == 504
        assert time.perf_counter() - began < 1.5
        impatient = [
            asyncio.create_task(call(url, "/work", {"name": f"late{number}"}, {"X-Request-Timeout": "0.3"}))
            for number in range(5)
        ]
        statuses = [(await each).status for each in impatient]
        assert set(statuses) <= {504, 429}
        assert (await call(url, "/work", {"name": "patient"})).status == 200
        waited_s = time.perf_counter() - began
        assert waited_s > 2
        history = (await call(url, "/history")).json()
        print(
            f"\ndeaf work held its place: the next call was answered {waited_s:.2f} s later; late: {statuses}; {history}"
        )
        assert history == {"ran": ["told", "deaf", "patient"], "told": ["told"]}

    with Serving("queued:Sync", "--set", "traffic.timeout=8") as server:
        asyncio.run(sync(server.url))
        # A plain Triton client can say it, too.
        triton = tritonclient.grpc.InferenceServerClient(server.triton["grpc"])
        name = tritonclient.grpc.InferInput("work.name", [1], "BYTES")
        name.set_data_from_numpy(np.array([b"plain"], dtype=object))
        answer = triton.infer("Sync", [name], parameters={"api": "work", "deadline_us": deadline_after(30)})
        assert answer.as_numpy("work.result").tolist() == [b"plain"]
        with pytest.raises(tritonclient.grpc.InferenceServerException, match="deadline has passed"):
            triton.infer("Sync", [name], parameters={"api": "work", "deadline_us": deadline_after(-1)})
        triton.close()
        assert asyncio.run(call(server.url, "/history")).json()["ran"][-1:] == ["plain"]


def test_threads_that_run_on_are_counted() -> None:
    async def threaded(url: str) -> None:
        began = time.perf_counter()
        deaf = [
            asyncio.create_task(call(url, "/work", {"name": f"deaf{n}", "seconds": 1.5}, {"X-Request-Timeout": "0.3"}))
            for n in range(2)
        ]
        assert [(await each).status for each in deaf] == [504, 504]
        late = await asyncio.gather(
            *(call(url, "/work", {"name": f"late{n}", "seconds": 0}, {"X-Request-Timeout": "0.3"}) for n in range(6))
        )
        assert {answer.status for answer in late} <= {504, 429}
        assert (await call(url, "/work", {"name": "patient", "seconds": 0})).status == 200
        assert time.perf_counter() - began > 1.5
        assert (await call(url, "/most_at_once")).json() == 2
        assert sorted((await call(url, "/history")).json()["ran"]) == ["deaf0", "deaf1", "patient"]

    with Serving("queued:Threaded") as server:
        asyncio.run(threaded(server.url))


def test_async_work_and_streams_are_cancelled() -> None:
    async def asynchronous(url: str) -> None:
        async def cancelled(name: str) -> None:
            async with asyncio.timeout(5):
                while name not in (await call(url, "/history")).json()["cancelled"]:
                    await asyncio.sleep(0.02)

        late = await call(url, "/work", {"name": "late", "seconds": 60}, {"X-Request-Timeout": "0.3"})
        assert late.status == 504
        await cancelled("late")

        async with Caller(url) as leaving:
            await leaving.send("/work", {"name": "left", "seconds": 60})
            await asyncio.sleep(0.3)
        await cancelled("left")

        async with Caller(url) as leaving:
            await leaving.send("/ticks", {"name": "stream left"})
            assert (await leaving.head())[0] == 200
            assert await leaving.chunk() == b"0\n"
        await cancelled("stream left")

        # A stream ends at its caller's deadline, broken off: it is not all.
        async with Caller(url) as caller:
            await caller.send("/ticks", {"name": "stream late"}, {"X-Request-Timeout": "0.5"})
            assert (await caller.head())[0] == 200
            began = time.perf_counter()
            with pytest.raises(ConnectionError):
                await caller.rest()
            assert time.perf_counter() - began < 5
        await cancelled("stream late")
        # The service's own limit is for the first chunk alone.
        whole = await call(url, "/ticks", {"name": "stream", "count": 30, "pause": 0.1})
        assert whole.status == 200
        assert whole.text.split() == [str(number) for number in range(30)]
        assert whole.seconds > 2
        slow = await call(url, "/work", {"name": "slow", "seconds": 60})
        assert (slow.status, slow.json()["detail"]) == (504, "Async did not answer in 2 seconds")
        assert await metric(url, "orchestrator_requests_in_progress") == 0

    with Serving("queued:Async", "--set", "traffic.timeout=2") as server:
        asyncio.run(asynchronous(server.url))
