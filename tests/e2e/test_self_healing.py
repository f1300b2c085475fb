"""What dies or hangs comes again, and callers notice no more of it than they must."""

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.e2e.deaths import Callers, place_healing, ready_after_s, triton_of, worker_names, workers_of
from tests.e2e.serving import Serving, eventually, gone, shm_segments
from tests.e2e.versions import done, refused

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(400)]

CLIENTS = 16
KILLING_S = 60.0
EVERY_S = 5.0
READY_S = 10.0
STEADY = ["Steady.left_0_0", "Steady_0_0", "Steady_0_1"]
HANG_S = 3.0
SETTINGS = (f"traffic.hang_timeout={HANG_S}", "resources.memory_limit=512Mi")


@contextmanager
def served(target: str, folder: Path, *settings: str) -> Iterator[Serving]:
    """The service; in the end it stops and leaves nothing behind."""
    options = [word for each in settings for word in ("--set", each)]
    with Serving(f"healing:{target}", *options, working_dir=folder) as server:
        yield server
        processes = server.family()
        run_dir = Path(workers_of(server)[0].cmdline()[1]).parents[3]
        assert run_dir.is_dir()
        assert server.stop() == 0
        assert not gone(processes, 10)
        assert not shm_segments(server)
        assert not run_dir.exists()
        assert "never retrieved" not in server.log, server.log


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return place_healing(tmp_path_factory.mktemp("healing"))


@pytest.fixture(scope="module")
def steady(folder: Path) -> Iterator[Serving]:
    with served("Steady", folder, *SETTINGS) as server:
        yield server


def total(chance: random.Random) -> tuple[dict[str, float], float]:
    x = chance.randrange(1000)
    return {"x": x}, 54 + 12 * x


def call(server: Serving, path: str, **arguments: object) -> httpx2.Response:
    return httpx2.post(f"{server.url}/{path}", json=arguments, timeout=60)


def test_a_worker_dies_every_five_seconds_under_load_and_then_triton(steady: Serving) -> None:
    """ACCEPTANCE: no wrong answer, no hung request, 503 only for calls that were inside the dead process."""
    chance = random.Random(7)
    before, after = Callers(), Callers()
    took_s: list[float] = []

    async def kill_workers() -> None:
        async with before.calling(steady.url, CLIENTS, "/total", lambda: total(chance)):
            end = time.monotonic() + KILLING_S
            while (started := time.monotonic()) < end:
                chance.choice(workers_of(steady)).kill()
                await asyncio.sleep(0.2)
                took_s.append(0.2 + await ready_after_s(steady.url, within_s=READY_S))
                await asyncio.sleep(max(0.0, started + EVERY_S - time.monotonic()))

    async def kill_triton() -> float:
        async with after.calling(steady.url, CLIENTS, "/total", lambda: total(chance)):
            await asyncio.sleep(1)
            triton_of(steady).kill()
            await asyncio.sleep(0.2)
            return 0.2 + await ready_after_s(steady.url, within_s=READY_S)

    asyncio.run(kill_workers())
    assert not before.wrong, before.wrong[:5]
    # One call is inside a worker of the service, and a batch of the other's two inside that of the model.
    assert before.answers[503] <= 2 * len(took_s), before.refusals
    triton_s = asyncio.run(kill_triton())
    assert not after.wrong, after.wrong[:5]
    assert after.answers[503] <= CLIENTS, after.refusals
    assert max(before.longest_s, after.longest_s) < 2 * READY_S
    assert eventually(lambda: worker_names(steady) == STEADY, 30), worker_names(steady)
    print(
        f"\n{len(took_s)} kills of workers: {before.answers[200]} answers, {before.answers[503]} 503s, whole after "
        f"{sum(took_s) / len(took_s):.1f} s, {max(took_s):.1f} s at most; longest call {before.longest_s:.1f} s"
        f"\nkill of Triton: {after.answers[200]} answers, {after.answers[503]} 503s, ready after {triton_s:.1f} s; "
        f"longest call {after.longest_s:.1f} s"
    )


def test_code_that_ends_its_process_is_said_to_do_so_again_and_again(steady: Serving) -> None:
    said: list[str] = []

    def crashes() -> bool:
        answer = call(steady, "leave")
        assert (answer.status_code, answer.headers["retry-after"].isdigit()) == (503, True), answer.text
        said.append(httpx2.get(f"{steady.url}/readyz").text)
        return "crashes again and again, next try in" in said[-1]

    assert eventually(crashes, 60), said
    assert f"error: {said[-1]}" not in steady.log
    asyncio.run(ready_after_s(steady.url, within_s=40))
    assert call(steady, "total", x=1).json() == 66
    print(f"\n{len(said)} deaths in a row: {said[-1].strip()}")


def test_a_worker_that_hangs_is_replaced_and_a_long_call_is_not(steady: Serving) -> None:
    assert call(steady, "sleep", seconds=HANG_S / 2).status_code == 200
    started = time.monotonic()
    answer = call(steady, "sleep", seconds=600)
    took_s = time.monotonic() - started
    assert answer.status_code == 503, answer.text
    assert HANG_S < took_s < HANG_S + READY_S
    assert "has made no progress for" in steady.log
    asyncio.run(ready_after_s(steady.url, within_s=READY_S))
    print(f"\na call that hangs is answered after {took_s:.1f} s, with hang_timeout={HANG_S:g}")


def test_memory_ends_with_the_call_that_asked_for_it(steady: Serving) -> None:
    before = {process.pid for process in workers_of(steady)}
    answer = call(steady, "allocate", mebibytes=2000)
    assert answer.status_code == 500, answer.text
    assert "MemoryError" in answer.json()["detail"]
    assert call(steady, "allocate", mebibytes=100).json() == 100 << 20
    assert {process.pid for process in workers_of(steady)} <= before

    def score(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    others = [score(triton_of(steady).pid), score(steady.process.pid)]
    assert min(score(pid) for pid in before) > max(others)


def test_deployments_and_repairs_end_with_the_deployed_version_and_all_workers(steady: Serving, folder: Path) -> None:
    source = (folder / "healing.py").read_text()

    def deploy(version: str, body: str = "") -> list[str]:
        text = source.replace('VERSION = "a"', f'VERSION = "{version}"')
        made = f"class Steady:\n    def __init__(self) -> None:\n        {body}\n\n" if body else "class Steady:\n"
        (folder / "healing.py").write_text(text.replace("class Steady:\n", made))
        return ["deploy", "healing:Steady", "--working-dir", str(folder), "--server", steady.url]

    log = len(steady.log)
    assert "its worker process ended while it started" in refused(*deploy("dead", "os._exit(3)"))
    assert call(steady, "version").text == "a"
    assert "died" not in steady.log[log:], "the workers of a deployment that fails are nobody's death"

    old = workers_of(steady, "Steady")
    order = threading.Thread(target=done, args=deploy("b", "time.sleep(2)"))
    order.start()
    assert eventually(lambda: len(workers_of(steady, "Steady")) == 2 * len(old), 60)
    for process in old:
        process.kill()
    time.sleep(0.3)
    assert call(steady, "total", x=2).json() == 78, "it waits for the new ones"
    order.join()
    assert call(steady, "version").text == "b"
    assert eventually(lambda: worker_names(steady) == STEADY, 30), worker_names(steady)

    workers_of(steady, "Steady")[0].kill()
    done(*deploy("c"))
    asyncio.run(ready_after_s(steady.url, within_s=READY_S))
    assert {call(steady, "version").text for _ in range(8)} == {"c"}
    assert eventually(lambda: worker_names(steady) == STEADY, 30), worker_names(steady)


def test_streams_of_a_dead_worker_break_off_and_a_blocked_event_loop_hangs(folder: Path) -> None:
    with served("Streaming", folder, f"traffic.hang_timeout={HANG_S}") as server:

        async def broken_off_after_s() -> float:
            async with (
                httpx2.AsyncClient(base_url=server.url, timeout=60) as http,
                http.stream("POST", "/count", json={"to": 1000, "pause": 0.05}) as answer,
            ):
                chunks = answer.aiter_text()
                assert (await anext(chunks)).startswith("0")
                workers_of(server)[0].kill()
                started = time.monotonic()
                with pytest.raises(httpx2.HTTPError):
                    async for _ in chunks:
                        pass
                return time.monotonic() - started

        broken_s = asyncio.run(broken_off_after_s())
        assert broken_s < 2
        asyncio.run(ready_after_s(server.url, within_s=READY_S))
        first = call(server, "pid").json()
        started = time.monotonic()
        assert call(server, "block").status_code == 503
        blocked_s = time.monotonic() - started
        assert blocked_s < HANG_S + READY_S
        assert call(server, "pid").json() != first
        print(
            f"\na stream breaks off {broken_s:.1f} s after its worker's death; a blocked loop ends after {blocked_s:.1f} s"
        )


def test_a_model_whose_worker_dies_again_and_again_leaves_the_calls_of_another_alone(folder: Path) -> None:
    chance = random.Random(3)
    right = Callers()

    async def kill_left(server: Serving) -> None:
        async with right.calling(server.url, 4, "/on_right", lambda: total(chance)):
            for _ in range(2):
                for process in workers_of(server, "Pair.left"):
                    process.kill()
                await asyncio.sleep(0.2)
                await ready_after_s(server.url, within_s=READY_S)

    with served("Pair", folder) as server:
        asyncio.run(kill_left(server))
        assert call(server, "on_left", x=1).json() == 66
    assert not right.wrong, right.wrong[:5]
    assert set(right.answers) == {200}, right.refusals
