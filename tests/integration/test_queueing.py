"""Queue, deadlines and departures as HTTP clients meet them, without Triton."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

import orchestrator
from tests.integration.live import live_server

GO_ON = threading.Event()


class Shop:
    """One call at a time may wait for the test."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.cancelled: list[str] = []

    @orchestrator.api
    def hold(self, name: str) -> str:
        self.ran.append(name)
        GO_ON.wait(20)
        return name

    @orchestrator.api
    async def later(self, name: str) -> str:
        self.ran.append(name)
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        return name

    @orchestrator.api
    def history(self) -> dict[str, list[str]]:
        return {"ran": self.ran, "cancelled": self.cancelled}


@contextmanager
def shop(**traffic: Any) -> Iterator[httpx2.Client]:
    GO_ON.clear()
    made = orchestrator.service(traffic={"external_queue": True, "concurrency": 1, **traffic})(
        type("Shop", (Shop,), {"__module__": __name__})
    )
    with live_server(made) as url, httpx2.Client(base_url=url, trust_env=False, timeout=20) as client:
        try:
            yield client
        finally:
            GO_ON.set()


def value(client: httpx2.Client, metric: str) -> float:
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(metric)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def until(client: httpx2.Client, metric: str, wanted: float) -> None:
    end = time.monotonic() + 10
    while (now := value(client, metric)) != wanted:
        assert time.monotonic() < end, f"{metric} is {now}, not {wanted}"
        time.sleep(0.01)


def test_calls_wait_for_one_another_and_one_too_many_is_refused() -> None:
    with shop(max_queue=2) as client, ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.post, "/hold", json={"name": "0"})]
        until(client, 'orchestrator_requests_in_progress{api="hold"', 1)
        for number in (1, 2):
            calls.append(pool.submit(client.post, "/hold", json={"name": str(number)}))
            until(client, "orchestrator_queue_length", number)
        refused = client.post("/hold", json={"name": "3"})
        assert refused.status_code == 429
        assert refused.json()["detail"] == "Shop has 2 calls waiting, and takes no more"
        assert int(refused.headers["retry-after"]) >= 1
        # A bad call is refused for what it is only where there is room for it.
        assert client.post("/hold", content=b"{").status_code == 429
        urgent = pool.submit(client.post, "/hold", json={"name": "urgent"}, headers={"X-Request-Priority": "high"})
        displaced = calls.pop().result()
        assert displaced.status_code == 429
        assert "another call has taken this one's place" in displaced.json()["detail"]
        GO_ON.set()
        assert [each.result().text for each in (*calls, urgent)] == ["0", "1", "urgent"]
        assert client.post("/history").json()["ran"] == ["0", "urgent", "1"]
        assert value(client, 'orchestrator_requests_refused_total{reason="full"') == 2
        assert value(client, 'orchestrator_requests_refused_total{reason="displaced"') == 1
        assert value(client, "orchestrator_queue_wait_seconds_count") == 2
        assert value(client, "orchestrator_queue_length") == 0


def test_a_call_waits_no_longer_than_the_queue_allows() -> None:
    with shop(queue_timeout=0.2) as client, ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.post, "/hold", json={"name": "0"})
        until(client, 'orchestrator_requests_in_progress{api="hold"', 1)
        waited = client.post("/hold", json={"name": "1"})
        assert waited.status_code == 429
        assert waited.json()["detail"] == "Shop is busy: the call has waited 0.2 s"
        late = client.post("/hold", json={"name": "2"}, headers={"X-Request-Timeout": "0.05"})
        assert late.status_code == 504
        assert late.json()["detail"] == "Shop did not answer in 0.05 seconds"
        GO_ON.set()
        assert running.result().text == "0"
        assert client.post("/history").json()["ran"] == ["0"]


def test_a_caller_who_leaves_the_queue_never_runs_and_one_who_runs_is_cancelled() -> None:
    with shop() as client:
        for name, patience_s in (("runs", 0.5), ("again", 0.3)):
            with pytest.raises(httpx2.ReadTimeout):
                client.post("/later", json={"name": name}, timeout=patience_s)
            until(client, 'orchestrator_requests_in_progress{api="later"', 0)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(client.post, "/hold", json={"name": "holds"})
            until(client, 'orchestrator_requests_in_progress{api="hold"', 1)
            with pytest.raises(httpx2.ReadTimeout):
                client.post("/later", json={"name": "never"}, timeout=0.2)
            until(client, "orchestrator_queue_length", 0)
            GO_ON.set()
            running.result()
        assert client.post("/history").json() == {"ran": ["runs", "again", "holds"], "cancelled": ["runs", "again"]}
        assert value(client, 'orchestrator_requests_total{api="later",service="Shop",status="499"') == 3


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Request-Timeout": "0.1"}, 504),
        ({"grpc-timeout": "100m"}, 504),
        ({"X-Request-Timeout": "-1"}, 400),
        ({"grpc-timeout": "1"}, 400),
        ({"X-Request-Priority": "now"}, 400),
    ],
)
def test_what_a_request_says_of_its_caller(headers: dict[str, str], status: int) -> None:
    with shop() as client:
        answer = client.post("/later", json={"name": "x"}, headers=headers)
        assert answer.status_code == status
        assert json.loads(answer.content)["request_id"] == answer.headers["x-request-id"]
        assert value(client, f'orchestrator_requests_total{{api="later",service="Shop",status="{status}"') == 1
