"""The front-end's own series, from one process and from several."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.composed import place_composed
from tests.e2e.serving import SERVICES, Serving, command_of, eventually

pytestmark = pytest.mark.e2e
CALLS = 60


def samples(url: str) -> dict[tuple[str, ...], float]:
    """Name and values of the labels, in the order of their names -> value."""
    page = httpx2.get(f"{url}/metrics", trust_env=False, timeout=30).text
    return {
        (
            sample.name.removeprefix("orchestrator_"),
            *(sample.labels[name] for name in sorted(sample.labels)),
        ): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.startswith("orchestrator_")
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_what_processes_do_is_one_sum(workers: int, tmp_path: Path) -> None:
    shutil.copy(SERVICES / "traced.py", place_composed(tmp_path))
    before_s = time.time()
    with Serving("traced:Root", "--workers", str(workers), working_dir=tmp_path) as server:

        def one(number: int) -> int:
            # A connection of its own, so that each process has some.
            return httpx2.post(f"{server.url}/through", json={"x": number}, trust_env=False, timeout=60).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(one, range(CALLS))) == {200}
        assert httpx2.post(f"{server.url}/fail", json={"how": "refused"}, trust_env=False).status_code == 418
        found = samples(server.url)
        family = server.family()
        assert found["dependency_calls_total", "twice", "ok", "Middle"] == CALLS
        assert found["dependency_calls_total", "add", "ok", "Leaf"] == 2 * CALLS
        assert found["dependency_calls_total", "fail", "request_failed", "Leaf"] == 1
        assert found["dependency_call_duration_seconds_count", "add", "Leaf"] == 2 * CALLS
        assert 0 < found["dependency_call_duration_seconds_sum", "add", "Leaf"] < 60 * CALLS
        assert found["instances", "Root", "frontend"] == workers
        assert found["instances", "Leaf", "triton"] == found["instances", "Leaf.both", "triton"] == 1
        assert found["frontend_processes",] == workers
        assert before_s < found["frontend_start_time_seconds",] < time.time()
        cpu_s = sum(each.cpu_times().user + each.cpu_times().system for each in family)
        assert 0.2 * workers < found["frontend_cpu_seconds_total",] <= cpu_s
        used = [each.memory_info().rss for each in family]
        assert workers * 20e6 < found["frontend_memory_bytes",] < sum(used)
        again = samples(server.url)
        assert again["frontend_cpu_seconds_total",] >= found["frontend_cpu_seconds_total",]


def test_calls_between_services_in_triton_are_counted_and_outlive_a_worker(tmp_path: Path) -> None:
    shutil.copy(SERVICES / "traced.py", place_composed(tmp_path))
    with (
        Serving("traced:RootInTriton", "--set", "workers=2", working_dir=tmp_path) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as http,
    ):

        def counted(*labels: str) -> float:
            return samples(server.url).get(("worker_calls_total", *labels), 0)

        for number in range(CALLS):
            assert http.post("/through", json={"x": number}).status_code == 200
        assert http.post("/fail", json={"how": "fault"}).status_code == 500
        for labels, calls in (
            (("", "Leaf", "ok", "Leaf.both"), 2 * CALLS),
            (("twice", "RootInTriton", "ok", "Middle"), CALLS),
            (("add", "Middle", "ok", "Leaf"), 2 * CALLS),
            (("fail", "Middle", "service_fault", "Leaf"), 1),
        ):
            assert eventually(lambda labels=labels, calls=calls: counted(*labels) == calls, 10), labels  # type: ignore[misc]
        seconds = samples(server.url)
        inner = seconds["worker_call_seconds_total", "add", "Middle", "Leaf"]
        assert 0 < inner < seconds["worker_call_seconds_total", "twice", "RootInTriton", "Middle"]
        workers = [each for each in server.family() if any("/Middle/1/" in word for word in command_of(each))]
        assert len(workers) == 2
        workers[0].kill()
        assert eventually(lambda: http.post("/through", json={"x": 1}).status_code == 200, 20)
        answered = CALLS + 1
        assert eventually(lambda: counted("twice", "RootInTriton", "ok", "Middle") == answered, 10)
        assert eventually(lambda: "whole again" in server.log, 20)
        assert http.post("/through", json={"x": 1}).status_code == 200
        assert eventually(lambda: counted("twice", "RootInTriton", "ok", "Middle") == answered + 1, 10)
        assert server.stop() == 0
