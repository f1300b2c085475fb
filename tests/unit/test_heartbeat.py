"""What a worker says of itself, and what is read of it."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.engine.heartbeat import SERVER_ID_VARIABLE, Beat, Heartbeat, beat_path, beats_of, was_begun

SERVER = f"orchestrator-{os.getpid()}-heartbeat"


@pytest.fixture
def beat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heartbeat]:
    monkeypatch.setenv(SERVER_ID_VARIABLE, SERVER)
    made = Heartbeat()
    yield made
    made.close()
    assert beats_of(SERVER) == []


def read() -> Beat:
    found = Beat.read(SERVER, os.getpid())
    assert found is not None
    return found


def test_work_is_stuck_from_its_begin_and_no_longer_than_to_its_end(beat: Heartbeat) -> None:
    beat.turn()
    before = time.monotonic_ns()
    beat.begin(["a", "b"])
    assert read().calls == 2
    assert before <= read().since_ns <= time.monotonic_ns()
    assert read().stuck_s(read().since_ns + 5 * 10**9) >= 5
    first = read().since_ns
    beat.progress()
    assert read().since_ns > first
    beat.end()
    assert (read().since_ns, read().calls) == (0, 0)


def test_a_worker_that_no_longer_turns_is_stuck_though_it_has_no_work(beat: Heartbeat) -> None:
    beat.turn()
    assert read().stuck_s(read().turn_ns + 7 * 10**9) == 7
    assert read().stuck_s(read().turn_ns - 10**9) == 0


def test_a_living_worker_turns_by_itself(beat: Heartbeat) -> None:
    beat.keep_turning()
    first, end = read().turn_ns, time.monotonic() + 10
    while read().turn_ns == first:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_was_begun_stays_known_after_its_end_for_the_answer_may_be_on_its_way(beat: Heartbeat) -> None:
    beat.begin(["first"])
    beat.end()
    beat.begin(["second"])
    assert [read().has_begun(each) for each in ("first", "second", "third")] == [True, True, False]
    assert was_begun(SERVER, "first")
    assert not was_begun(SERVER, "third")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(batches=st.lists(st.integers(1, 1100), min_size=1, max_size=4))
def test_a_call_that_runs_is_never_said_to_be_not_begun(beat: Heartbeat, batches: list[int]) -> None:
    for number, size in enumerate(batches):
        ids = [f"{number}-{call}" for call in range(size)]
        beat.begin(ids)
        assert all(read().has_begun(each) for each in ids)
        beat.end()


def test_calls_side_by_side_are_never_forgotten_while_they_run(beat: Heartbeat) -> None:
    with beat.call("long"):
        for number in range(3000):
            with beat.call(str(number)):
                pass
        assert read().has_begun("long")
        assert read().has_begun("2999")
        assert not read().has_begun("never")
        assert read().calls == 1
    assert read().calls == 0


def test_more_calls_at_once_than_there_are_places_may_all_have_begun(beat: Heartbeat) -> None:
    calls = [beat.call(str(number)) for number in range(1100)]
    for each in calls:
        each.__enter__()
    assert read().has_begun("never")
    for each in calls:
        each.__exit__(None, None, None)
    assert read().has_begun("never"), "of those without a place nobody knows when they ended"


def test_the_oldest_work_of_all_threads_counts(beat: Heartbeat) -> None:
    started, go = threading.Barrier(2), threading.Event()

    def work() -> None:
        with beat.working():
            started.wait()
            go.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    beat.turn()
    oldest = read().since_ns
    assert oldest > 0
    with beat.working():
        beat.turn()
        assert read().since_ns == oldest
    go.set()
    thread.join()
    beat.turn()
    assert read().since_ns == 0


def test_without_a_server_of_ours_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SERVER_ID_VARIABLE, raising=False)
    beat = Heartbeat()
    beat.begin(["a"])
    beat.end()
    beat.close()
    assert not list(Path("/dev/shm").glob(f"*-beat-{os.getpid()}"))


def test_full_shared_memory_leaves_no_page_that_would_end_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv(SERVER_ID_VARIABLE, SERVER)
    monkeypatch.setattr(os, "posix_fallocate", full)
    beat = Heartbeat()
    beat.begin(["a"])
    assert beats_of(SERVER) == []
    assert Beat.read(SERVER, os.getpid()) is None
    assert was_begun(SERVER, "a"), "nobody says anything"
    beat.close()


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_page_that_is_no_page_says_nothing(content: bytes) -> None:
    path = beat_path(SERVER, 1)
    path.write_bytes(content)
    try:
        assert Beat.read(SERVER, 1) is None
    finally:
        path.unlink()
