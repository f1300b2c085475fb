"""ACCEPTANCE: under 64 clients, ten swaps and five rollbacks; no failed request, every answer from one whole version."""

import asyncio
import json
import random
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from orchestrator.cli.servers import chosen
from tests.e2e.serving import Serving, command_of, eventually, gone, shm_segments
from tests.e2e.versions import save_number, write_code

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(400)]

READ = """
import sys, pathlib
from orchestrator.cli.loading import load
from orchestrator.deployment import ServiceCode
from orchestrator.server.operator import CodeRequest
from orchestrator.worker.snapshot import take_snapshot
folder = pathlib.Path(sys.argv[1])
definition = load("service:Teller", folder)
print(CodeRequest.of(ServiceCode(definition.spec, folder, take_snapshot(folder))).model_dump_json())
"""
CLIENTS = 64
WINDOW_S = 60.0


@dataclass
class Timeline:
    """Which versions of something may answer at a time.

    Attributes:
        spans: (version, from the moment at which it may, until the moment from which it may not).
    """

    spans: list[tuple[str, float, float]] = field(default_factory=list)

    def begin(self, version: str) -> None:
        self.spans.append((version, time.monotonic(), float("inf")))

    def end(self, version: str) -> None:
        """From now on no request that begins may be answered by that version."""
        position = next(n for n, span in enumerate(self.spans) if span[0] == version and span[2] == float("inf"))
        self.spans[position] = (*self.spans[position][:2], time.monotonic())

    def allowed(self, began: float, ended: float) -> set[str]:
        return {version for version, first, last in self.spans if first <= ended and began <= last}


@dataclass
class Seen:
    """What the clients saw."""

    code: Timeline = field(default_factory=Timeline)
    model: Timeline = field(default_factory=Timeline)
    answers: Counter[str] = field(default_factory=Counter)
    requests_s: list[float] = field(default_factory=list)
    loads_s: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    stop: bool = False


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_swaps_and_rollbacks_under_load_fail_no_request_and_mix_no_versions(home: Path, tmp_path: Path) -> None:
    code = tmp_path / "code"
    write_code(code, "c1")
    save_number(home, 1)
    with Serving("service:Teller", working_dir=code) as server:
        assert eventually(lambda: workers(server) == ["Teller_0_0", "number_0_0"], 30), workers(server)
        segments = len(shm_segments(server))
        for version in range(2, 7):
            save_number(home, version)
        requests = {number: code_request(code, f"c{number}") for number in range(2, 7)}
        seen = Seen()
        seen.code.begin("c1")
        seen.model.begin("1")
        took_s = asyncio.run(swap_under_load(server.url, requests, seen))

        assert not seen.wrong, (len(seen.wrong), seen.wrong[:5])
        assert set(seen.answers) == {f"c{number}" for number in range(1, 7)} | set("123456"), "every version has served"
        assert eventually(lambda: workers(server) == ["Teller_0_0", "number_0_0"], 30), workers(server)
        assert eventually(lambda: len(shm_segments(server)) <= segments, 30), shm_segments(server)
        processes = server.family()
        run_dir = Path(chosen("Teller", server.url, False)[0].socket).parent
        assert server.stop() == 0
        assert not gone(processes, 10)
        assert not shm_segments(server)
        assert not run_dir.exists()
        assert not re.search(r"Traceback|failed to load|workers died", server.log), server.log
    assert len(seen.loads_s) == 15
    print(
        f"\n{len(seen.requests_s)} requests by {CLIENTS} clients, 0 failed, in {statistics.median(seen.requests_s):.3f} s "
        f"(median), {max(seen.requests_s):.3f} s (longest); 10 swaps and 5 rollbacks in {took_s:.0f} s, until Triton had "
        f"turned to the version {statistics.median(seen.loads_s):.2f} s (median), {max(seen.loads_s):.2f} s (longest)"
    )


def workers(server: Serving) -> list[str]:
    """Names of the instances whose processes are there."""
    lines = [command_of(process) for process in server.family()]
    return sorted(line[-2] for line in lines if line and "python_backend_stub" in line[0])


async def swap_under_load(url: str, requests: dict[int, Any], seen: Seen) -> float:
    """Runs clients for a minute, and 15 changes among their requests.

    Args:
        requests: number of a version -> the order to deploy that code.

    Returns:
        Seconds that the changes took.
    """
    limits = httpx2.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=60) as http:
        clients = [asyncio.create_task(client(http, seen, random.Random(number))) for number in range(CLIENTS)]
        started = time.monotonic()
        for number in range(2, 7):
            await change(url, seen, seen.model, str(number - 1), str(number), "/deploy", {"model": f"number:{number}"})
            await change(url, seen, seen.code, f"c{number - 1}", f"c{number}", "/deploy-code", requests[number])
        for number in (6, 5, 4):
            await change(url, seen, seen.model, str(number), str(number - 1), "/rollback", {"name": "number"})
        for number in (6, 5):
            await change(url, seen, seen.code, f"c{number}", f"c{number - 1}", "/rollback", {"name": "Teller"})
        took_s = time.monotonic() - started
        await asyncio.sleep(max(0.0, WINDOW_S - took_s))
        seen.stop = True
        await asyncio.gather(*clients)
    return took_s


async def change(url: str, seen: Seen, timeline: Timeline, old: str, new: str, path: str, body: Any) -> None:
    """One swap, ordered as the commands do it, while the clients go on."""

    def order() -> None:
        kinds = []
        for event in chosen("Teller", url, False)[0].order(path, body):
            kinds.append(event["kind"])
            if event.get("step") == "load":  # Triton has turned to the new one before it says so
                timeline.end(old)
                seen.loads_s.append(event["seconds"])
        assert kinds[-1] == "changed", kinds

    timeline.begin(new)
    await asyncio.to_thread(order)


def code_request(folder: Path, version: str) -> dict[str, Any]:
    """What `orchestrator deploy` sends for a folder with that version, read by a process of its own as that one is."""
    write_code(folder, version)
    outcome = subprocess.run([sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, check=True)
    return dict(json.loads(outcome.stdout))


async def client(http: httpx2.AsyncClient, seen: Seen, chance: random.Random) -> None:
    while not seen.stop:
        x = chance.randrange(1000)
        began = time.monotonic()
        try:
            if chance.random() < 0.7:
                answer = await http.post("/tell", json={"x": x})
                problem = check_told(answer, began, seen)
            else:
                items = list(range(x, x + chance.randrange(1, 6)))
                answer = await http.post("/rows", json={"x": items})
                problem = check_rows(answer, items, began, seen)
        except httpx2.HTTPError as error:
            problem = f"{type(error).__name__}: {error}"
        seen.requests_s.append(time.monotonic() - began)
        if problem:
            seen.wrong.append(problem)


def check_told(answer: httpx2.Response, began: float, seen: Seen) -> str:
    ended = time.monotonic()
    if answer.status_code != 200:
        return answer.text
    told = answer.json()
    model = f"{told['model']:.0f}"
    seen.answers[told["code"]] += 1
    seen.answers[model] += 1
    whole = told["code"] == told["helper"] and float(model) == told["model"]
    in_time = told["code"] in seen.code.allowed(began, ended) and model in seen.model.allowed(began, ended)
    return "" if whole and in_time else f"{told} of {began:.3f} to {ended:.3f}: {seen.code} {seen.model}"


def check_rows(answer: httpx2.Response, items: list[int], began: float, seen: Seen) -> str:
    ended = time.monotonic()
    if answer.status_code != 200:
        return answer.text
    rows = [row.split() for row in answer.json()]
    versions = {version for row in rows for version in row[:2]}
    if len(versions) != 1 or [int(row[2]) for row in rows] != items:
        return f"rows of several versions: {rows}"
    seen.answers[rows[0][0]] += 1
    allowed = seen.code.allowed(began, ended)
    return "" if versions <= allowed else f"{versions} of {began:.3f} to {ended:.3f}: {seen.code}"
