"""Several processes at one store, and processes that are killed."""

import random
import re
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store import Store
from tests.contract.stores import Place, Worker, Workers, files_of, model_folder, tag

EVENT = re.compile(r"production(?:: (?P<before>\S+))?(?: -> (?P<after>\S+))?")
KILLS = 12
ACTIONS = 40


def alias_moves(store: Store, name: str) -> list[tuple[str | None, str | None]]:
    """(from, to) of every move of `production`, oldest first."""
    moves = []
    for event in reversed(store.history(name)):
        if event.kind.startswith("alias"):
            match = EVENT.fullmatch(event.detail)
            assert match is not None, event
            moves.append((match["before"], match["after"]))
    return moves


@pytest.mark.parametrize("place", ["sqlite+folder", "postgresql+folder", "postgresql+s3"], indirect=True)
@pytest.mark.parametrize("count", [2, 4])
def test_processes_at_once_lose_nothing(place: Place, workers: Workers, tmp_path: Path, count: int) -> None:
    folder = model_folder(tmp_path / "model")
    with place.open() as store:
        store.save(tag("shared:1"), folder)
    at = time.monotonic() + 0.5
    started = [
        workers.start("hammer", place, folder=str(folder), number=number, actions=ACTIONS, at=at)
        for number in range(count)
    ]
    results: list[dict[str, Any]] = [worker.wait() for worker in started]

    with place.open() as store:
        saved = {name: number for result in results for name, number in result["saved"].items()}
        deleted = {name for result in results for name in result["deleted"]}
        assert len(saved) == sum(len(result["saved"]) for result in results) > ACTIONS * count / 10
        assert deleted
        records = {str(record.tag): record for record in store.list() if record.tag.name != "shared"}
        assert {name: record.number for name, record in records.items()} == {
            name: number for name, number in saved.items() if name not in deleted
        }
        for name in "ab":
            numbers = sorted(number for each, number in saved.items() if each.startswith(f"{name}:"))
            assert numbers == list(range(1, len(numbers) + 1))
            moves = alias_moves(store, name)
            assert [before for before, _ in moves] == [None, *(after for _, after in moves[:-1])]
            assert store.aliases(name).get(name, {}).get("production") == (moves[-1][1] if moves else None)
            # What was acknowledged was a move, unless the alias was there already: then another one was.
            pointed = {text for result in results for text in result["pointed"] if text.startswith(f"{name}:")}
            assert pointed <= {f"{name}:{after}" for _, after in moves}
            kinds = [event.kind for event in store.history(name)]
            assert kinds.count("saved") == len(numbers)
            assert kinds.count("deleted") == len([each for each in deleted if each.startswith(f"{name}:")])
        assert store.get(tag("shared:1")).labels == {
            f"p{number}": str(result["count"]) for number, result in enumerate(results) if result["count"]
        }
        assert store.check() == []
        assert len(place.object_ids()) == len(records) + 1


def test_a_save_that_is_killed_leaves_no_half_model(place: Place, workers: Workers, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model", {f"part {n}": bytes(1 << 17) for n in range(4)} | {"a/b": b"c"})
    wanted = files_of(folder)
    chance = random.Random(4)
    numbers: set[int] = set()
    with place.open() as store:
        for turn in range(KILLS):
            mark = tmp_path / f"started {turn}"
            worker = workers.start("save_for_ever", place, folder=str(folder), started=str(mark))
            until_there(mark, worker)
            time.sleep(chance.uniform(0, 0.12))
            worker.kill()
            for record in store.list():
                assert files_of(store.folder(record)) == wanted
            numbers |= {record.number for record in store.list()}
            assert store.check() == []  # what the killed one left is known of
        last = store.save(tag("a"), folder)
        assert last.number > max(numbers, default=0)
        assert len(place.object_ids()) == len(store.list())
        assert store.check() == []


def until_there(mark: Path, worker: Worker) -> None:
    end = time.monotonic() + 60
    while not mark.exists():
        assert time.monotonic() < end, worker.result.read_text() if worker.result.exists() else "the worker hangs"
        time.sleep(0.002)


@pytest.mark.parametrize("place", ["sqlite+folder", "postgresql+folder"], indirect=True)
def test_processes_open_a_new_store_at_once(place: Place, workers: Workers, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    at = time.monotonic() + 0.5
    started = [workers.start("save_once", place, folder=str(folder), at=at) for _ in range(6)]
    assert sorted(worker.wait() for worker in started) == [1, 2, 3, 4, 5, 6]
