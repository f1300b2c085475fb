"""Processes that use a store at the same time; `tests.contract.stores.Workers` starts them, and some it kills."""

import ctypes
import json
import os
import random
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import obstore.store  # noqa: F401 - here, once, for every fork
import psycopg  # noqa: F401
from alembic import command  # noqa: F401

from orchestrator.errors import StoreError
from orchestrator.spec import Tag
from orchestrator.store import Store, catalog  # noqa: F401

PR_SET_PDEATHSIG = 1


def fork_below() -> int:
    """A fork that ends with its parent, however that ends."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    return pid


def hammer(store: Store, *, folder: str, number: int, actions: int) -> dict[str, Any]:
    """Saves, moves aliases, sets labels and deletes.

    Returns:
        What was acknowledged: `saved` (tag -> number), `deleted` (tags), `pointed` (tags that an alias was moved to) and
        `count`, the last value of this process's own label.
    """
    chance = random.Random(number)
    saved: dict[str, int] = {}
    deleted: list[str] = []
    pointed: list[str] = []
    count = 0
    for _ in range(actions):
        mine = [text for text in saved if text not in deleted]
        action = chance.choice(["save", "save", "alias", "alias", "label", "delete", "back"])
        if action == "save" or not mine:
            record = store.save(Tag.of(chance.choice("ab")), Path(folder))
            saved[str(record.tag)] = record.number
            continue
        tag = Tag.of(chance.choice(mine))
        if action == "alias":
            store.set_alias(tag.name, "production", tag.version)
            pointed.append(str(tag))
        elif action == "label":
            store.set_labels(Tag.of("shared:1"), {f"p{number}": str(count + 1)})
            count += 1
        elif action == "delete" and refusal(partial(store.delete, tag), "points to") is None:
            deleted.append(str(tag))
        elif action == "back":
            refusal(partial(store.roll_back_alias, tag.name, "production"), "nothing before|no alias")
    return {"saved": saved, "deleted": deleted, "pointed": pointed, "count": count}


def refusal(action: Callable[[], object], pattern: str) -> str | None:
    """Why the store refused; None where it did not."""
    try:
        action()
    except StoreError as error:
        if re.search(pattern, error.message):
            return error.message
        raise
    return None


def save_for_ever(store: Store, *, folder: str, started: str) -> None:
    Path(started).touch()
    while True:
        record = store.save(Tag.of("a"), Path(folder))
        if record.number % 3 == 0:
            store.delete(record.tag)


def save_once(store: Store, *, folder: str) -> int:
    return store.save(Tag.of("a"), Path(folder)).number


def fork(store: Store, *, folder: str) -> list[int]:
    """Uses a store that is open, in this process and in a fork of it."""
    first = store.save(Tag.of("a"), Path(folder))
    pid = fork_below()
    if pid == 0:
        code = 1
        try:
            store.save(Tag.of("a"), Path(folder))
            store.folder(store.get(first.tag))
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    store.save(Tag.of("a"), Path(folder))
    return [record.number for record in store.list("a")]


def fork_with_bucket(store: Store, *, folder: str) -> str:
    store.save(Tag.of("a"), Path(folder))
    read, write = os.pipe()
    pid = fork_below()
    if pid == 0:
        try:
            store.save(Tag.of("a"), Path(folder))
        except StoreError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    return os.read(read, 10_000).decode()


def save_on_a_full_disk(store: Store, *, folder: str, limit: int) -> str:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        store.save(Tag.of("a"), Path(folder))
    except StoreError as error:
        return str(error)
    return ""


def bytes_read(store: Store, *, tag: str, rest_s: float) -> list[int]:
    """Bytes that this process reads for each of two verifications."""

    def so_far() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    time.sleep(rest_s)
    record = store.get(Tag.of(tag))
    found = []
    for _ in range(2):
        before = so_far()
        store.folder(record)
        found.append(so_far() - before)
    return found


def _run(order: dict[str, Any]) -> None:
    """In the worker."""
    os.environ.update(order["environment"])
    arguments = order["arguments"]
    place = {key: arguments.pop(key) for key in ("home", "database", "objects")}
    answer: dict[str, Any]
    time.sleep(max(0, order["at"] - time.monotonic()))
    try:
        with Store.open(Path(place["home"]), database=place["database"], objects=place["objects"]) as store:
            answer = {"result": globals()[order["function"]](store, **arguments)}
    except BaseException:
        answer = {"error": traceback.format_exc()}
    Path(order["result"]).write_text(json.dumps(answer))


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the workers here: they are gone at once
    while line := sys.stdin.readline():
        read, write = os.pipe()
        pid = fork_below()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(write)
            os.read(read, 1)
            _run(json.loads(line))
            os._exit(0)
        print(pid, flush=True)
        os.close(read)
        sys.stdin.readline()
        os.close(write)


if __name__ == "__main__":
    main()
