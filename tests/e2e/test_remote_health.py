"""What callers notice of deaths in a Triton whose processes they cannot see: as in a container, or on another machine."""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from orchestrator.engine.health import HEALTH_MODEL
from tests.e2e.serving import Serving, eventually
from tests.e2e.supervised_triton import SupervisedTriton
from tests.e2e.versions import orchestrator

pytestmark = pytest.mark.e2e

CODE = """
import asyncio
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path
import orchestrator

HERE = Path(__file__).parent


@orchestrator.service
class Many:
    @orchestrator.api
    async def wait(self, seconds: float) -> int:
        with (HERE / "begun").open("a") as file:
            file.write("x")
        await asyncio.sleep(seconds)
        return os.getpid()


@orchestrator.service
class Streams:
    @orchestrator.api
    async def count(self, pause_s: float) -> AsyncGenerator[int, None]:
        yield os.getpid()
        await asyncio.sleep(pause_s)
        yield 0

    @orchestrator.api
    async def wait(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return os.getpid()


@orchestrator.service
class OneByOne:
    @orchestrator.api
    def wait(self, seconds: float) -> int:
        with (HERE / "begun").open("a") as file:
            file.write("x")
        time.sleep(seconds)
        return os.getpid()


@orchestrator.service
class Broken:
    def __init__(self) -> None:
        if (HERE / "broken").exists():
            raise RuntimeError("it does not start any more")

    @orchestrator.api
    async def wait(self, seconds: float) -> int:
        return os.getpid()
"""


@contextmanager
def served(folder: Path, service: str, count: int = 1) -> Iterator[tuple[list[SupervisedTriton], Serving]]:
    """Some Tritons with a service, and a front-end that knows their addresses only."""
    (folder / "service.py").write_text(CODE)
    told = orchestrator(
        "export", f"service:{service}", "--working-dir", str(folder), "--repository", str(folder / "models")
    )
    assert told.returncode == 0, told.stderr
    tritons = [SupervisedTriton(folder / "models", folder) for _ in range(count)]
    try:
        for triton in tritons:
            assert triton.ready(service, HEALTH_MODEL), triton.log.read_text()
        urls = ",".join(each.url for each in tritons)
        with Serving(f"service:{service}", "--triton", urls, working_dir=folder) as server:
            yield tritons, server
    finally:
        for triton in tritons:
            triton.__exit__(None, None, None)


def ask(server: Serving, seconds: float = 0, api: str = "wait") -> httpx2.Response:
    return httpx2.post(f"{server.url}/{api}", json={"seconds": seconds}, timeout=30)


def worker(server: Serving) -> int:
    answer = ask(server)
    assert answer.status_code == 200, answer.text
    return int(answer.json())


@pytest.mark.parametrize("service", ["Many", "Streams"])
def test_calls_that_are_lost_with_their_worker_fail_at_once(tmp_path: Path, service: str) -> None:
    with served(tmp_path, service) as (_, server), ThreadPoolExecutor(8) as pool:
        pid = worker(server)
        answers = [pool.submit(ask, server, 20) for _ in range(8)]
        time.sleep(1)
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        for each in answers:
            assert each.result().status_code == 503
            assert "died during the call" in each.result().text
            assert "retry-after" in each.result().headers
        took_s = time.monotonic() - killed
        print(f"\n{service}: 8 calls failed {took_s:.2f} s after the death of their worker")
        assert took_s < 5
        assert worker(server) != pid
        assert eventually(lambda: httpx2.get(f"{server.url}/readyz").status_code == 200, 10)


def test_a_stream_that_is_lost_with_its_worker_ends_with_an_error(tmp_path: Path) -> None:
    with served(tmp_path, "Streams") as (_, server):
        with httpx2.stream(
            "POST", f"{server.url}/count", json={"pause_s": 20}, timeout=30, headers={"accept": "text/event-stream"}
        ) as stream:
            lines = stream.iter_lines()
            os.kill(int(next(lines).removeprefix("data: ")), signal.SIGKILL)
            killed = time.monotonic()
            rest = "\n".join(lines)
        assert time.monotonic() - killed < 5
        assert "died during the call" in rest
        assert worker(server)


def test_calls_that_wait_for_a_dead_worker_are_answered_by_the_next(tmp_path: Path) -> None:
    with served(tmp_path, "OneByOne") as (_, server), ThreadPoolExecutor(8) as pool:
        pid = worker(server)
        answers = [pool.submit(ask, server, 2.0) for _ in range(4)]
        assert eventually(lambda: (tmp_path / "begun").read_text() == "xx", 10)
        os.kill(pid, signal.SIGKILL)
        statuses = Counter(each.result().status_code for each in answers)
        assert statuses == {200: 3, 503: 1}, [each.result().text for each in answers]
        assert (tmp_path / "begun").read_text() == "x" * 5, "each runs once, the lost one is not repeated"


def test_ready_is_only_who_can_answer(tmp_path: Path) -> None:
    with served(tmp_path, "Broken") as (_, server):
        pid = worker(server)
        (tmp_path / "broken").touch()
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: "crashes again and again" in httpx2.get(f"{server.url}/readyz").text, 20)
        assert httpx2.get(f"{server.url}/readyz").status_code == 503
        answer = ask(server)
        assert answer.status_code == 503
        assert "Broken" in answer.text
        (tmp_path / "broken").unlink()
        assert eventually(lambda: httpx2.get(f"{server.url}/readyz").status_code == 200, 60)
        assert worker(server) != pid
        assert 'orchestrator_worker_deaths_total{what="Broken"}' in httpx2.get(f"{server.url}/metrics").text


def test_the_other_triton_answers_where_a_model_is_broken_in_one(tmp_path: Path) -> None:
    with served(tmp_path, "Broken", 2) as (_, server):
        with ThreadPoolExecutor(8) as pool:
            pids = {int(each.json()) for each in pool.map(lambda _: ask(server), range(80))}
        assert len(pids) == 2
        (tmp_path / "broken").touch()
        pid = pids.pop()
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 5
        seen = Counter[int]()
        while time.monotonic() < end:
            answer = ask(server)
            seen[answer.json() if answer.status_code == 200 else answer.status_code] += 1
        assert set(seen) == pids, seen
        assert httpx2.get(f"{server.url}/readyz").status_code == 200
        (tmp_path / "broken").unlink()


def test_questions_do_not_hold_up_a_stop(tmp_path: Path) -> None:
    with served(tmp_path, "Many") as ((triton,), server):
        assert worker(server)
        assert eventually(lambda: "orchestrator_worker_deaths_total" in httpx2.get(f"{server.url}/metrics").text, 5)
        triton.process.send_signal(signal.SIGTERM)
        assert triton.process.wait(20) == 0
        waits = re.findall(r"Found (\d+) model versions that have in-flight inferences", triton.log.read_text())
        print(f"\ncalls that Triton waited for, each second: {waits}")
        assert waits
        assert waits[1:] in ([], ["0"]), "the question that each front-end has open has been answered at once"
