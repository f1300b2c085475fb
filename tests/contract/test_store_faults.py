"""What the store refuses, and how it says that something around it is broken."""

import contextlib
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, TextClause, text

from orchestrator.errors import StoreError
from orchestrator.store import Store, database
from orchestrator.store.database import Database
from tests.contract.stores import Place, Workers, files_of, model_folder, tag

ON_DISK = pytest.mark.parametrize("place", ["sqlite+folder"], indirect=True)
FOLDERS = pytest.mark.parametrize("place", ["sqlite+folder", "postgresql+folder"], indirect=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model")


def no_files(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            file.unlink()


def link_out(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")


def dangling(folder: Path) -> None:
    (folder / "link").symlink_to("nothing")


def link_to_a_folder(folder: Path) -> None:
    (folder / "link").symlink_to("vocab")


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "fifo")


def unix_socket(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # a socket's path is short
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind("socket")
    os.chdir(here)


def control(folder: Path) -> None:
    (folder / "a\nb").touch()


def no_text(folder: Path) -> None:
    (folder / "a\udcff").touch()


def no_folder(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_files, "there are no files in"),
        (link_out, r"link is a link out of .*, to /etc/passwd \(copy the file to its place\)"),
        (dangling, "No such file or directory"),
        (link_to_a_folder, "link is a link to a folder"),
        (fifo, "fifo is no regular file"),
        (unix_socket, "socket is no regular file"),
        (control, r"'a\\nb': a file of a model needs a name without control characters"),
        (no_text, "in UTF-8"),
        (no_folder, "model is no folder"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@ON_DISK
def test_a_folder_that_cannot_be_kept(
    store: Store, place: Place, folder: Path, change: Callable[[Path], None], message: str
) -> None:
    change(folder)
    with pytest.raises(StoreError, match=message):
        store.save(tag("iris"), folder)
    assert store.list() == []
    assert place.object_ids() == set()


@ON_DISK
def test_a_link_inside_is_kept_as_a_file(store: Store, folder: Path) -> None:
    (folder / "vocab" / "link").symlink_to("../model.onnx")
    (folder / "absolute").symlink_to(folder / "model.onnx")
    record = store.save(tag("iris"), folder)
    assert files_of(store.folder(record)) == files_of(folder)
    assert not any(file.is_symlink() for file in store.folder(record).rglob("*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"file": "model.plan"}, r"iris:latest: there is no file 'model\.plan' in"),
        ({"metadata": {"f1": float("nan")}}, "metadata 'f1' is nothing that JSON can say"),
        ({"metadata": {"model": object()}}, "metadata 'model' is nothing that JSON can say: object"),
        ({"metadata": {1: "x"}}, "metadata 1: a key is a text"),
    ],
)
@ON_DISK
def test_what_cannot_be_noted_is_refused(
    store: Store, place: Place, folder: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        store.save(tag("iris"), folder, **arguments)
    assert place.object_ids() == set()


def test_a_save_that_breaks_off_leaves_nothing(store: Store, place: Place, folder: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.save(tag("iris"), folder, progress=stop)
    assert (store.list(), store.check()) == ([], [])
    assert place.object_ids() == set()


@FOLDERS
def test_a_full_disk_is_told_and_leaves_nothing(place: Place, workers: Workers, tmp_path: Path) -> None:
    big = model_folder(tmp_path / "big", {"a": b"a", "weights": bytes(3 << 20)})
    said = workers.start("save_on_a_full_disk", place, folder=str(big), limit=2 << 20).wait()
    assert said == "a:latest: cannot save weights: File too large"
    assert place.object_ids() == set()
    with place.open() as store:
        assert store.save(tag("a"), big).number == 1


@ON_DISK
def test_a_database_that_is_held_is_told(
    store: Store, place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.save(tag("iris:1"), folder)
    with contextlib.closing(sqlite3.connect(place.home / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with monkeypatch.context() as patience:
            patience.setattr(database, "_PATIENCE_S", 0.2)
            patience.setattr(database, "_BUSY_S", 0.1)
            with place.open() as impatient, pytest.raises(StoreError, match=r"store\.db: database is locked \(another"):
                impatient.set_labels(record.tag, {"a": "b"})
        assert store.get(record.tag) == record  # readers do not wait
        other.execute("ROLLBACK")
    assert store.set_labels(record.tag, {"a": "b"}).labels == {"a": "b"}


def test_a_database_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as reserved:
        port = reserved.getsockname()[1]
    for url in (
        f"postgresql://me:pass%40word@127.0.0.1:{port}/models",
        f"postgresql+psycopg://me@127.0.0.1:{port}/models?password=pass%40word",
    ):
        with pytest.raises(StoreError, match=r"postgresql\+psycopg://me.*Connection refused") as caught:
            Store.open(tmp_path / "home", database=url)
        assert caught.value.__cause__ is None
        for said in (str(caught.value), repr(caught.value)):
            assert "pass%40word" not in said
            assert "pass@word" not in said
            assert "\n" not in said


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://me:secret@host/x", r"cannot be 'mysql' \(postgresql:// and sqlite:/// are known"),
        ("me:secret@host", r"is no database URL"),
        ("postgresql://me:secret@host:port/x", r"\(postgresql://\.\.\.\) is no database URL"),
        ("sqlite://", "SQLite needs a file"),
    ],
)
def test_what_is_no_database_is_told(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        Store.open(tmp_path, database=url)
    assert "secret" not in str(caught.value)


def test_a_password_is_not_even_in_what_the_server_says(tmp_path: Path) -> None:
    # A server that answers with the password: its error, in PostgreSQL's protocol.
    said = b"SFATAL\0C28P01\0Mno role with pass@word\0\0"
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"postgresql://me:pass%40word@127.0.0.1:{listener.getsockname()[1]}/models?sslmode=disable"

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"E" + (len(said) + 4).to_bytes(4, "big") + said)

        server = threading.Thread(target=answer, daemon=True)
        server.start()
        with pytest.raises(StoreError, match=r"no role with \*\*\*"):
            Store.open(tmp_path / "home", database=url)
        server.join(30)


def test_a_home_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StoreError, match="the model store cannot be opened: File exists"):
        Store.open(file)
    with pytest.raises(StoreError, match="the model store cannot be opened: Not a directory"):
        Store.open(file / "home")
    with pytest.raises(StoreError, match="unable to open database file"):
        Store.open(tmp_path / "home", database=f"sqlite:///{tmp_path}/none/store.db")
    (tmp_path / "home" / "store.db").write_bytes(b"not a database " * 100)
    with pytest.raises(StoreError, match=r"home/store\.db: file is not a database \(move the file away"):
        Store.open(tmp_path / "home")


def test_a_home_may_be_called_anything(tmp_path: Path, folder: Path) -> None:
    home = tmp_path / "a ?b#c%20 ä'"
    with Store.open(home) as store:
        record = store.save(tag("iris"), folder)
        assert files_of(store.folder(record)) == files_of(folder)
    assert sorted(os.listdir(home)) == ["objects", "store.db"]
    assert sorted(os.listdir(tmp_path)) == sorted([home.name, "model"])


def test_objects_that_cannot_be_reached_are_told(
    tmp_path: Path, bucket: dict[str, str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    for place in ("ftp://host/models", "https://host/models"):
        with pytest.raises(StoreError, match=f"{place.split(':', maxsplit=1)[0]}://: no such place for objects"):
            Store.open(tmp_path / "home", objects=place)
    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    with Store.open(tmp_path / "home", objects="s3://no-such-bucket/x") as store:
        with pytest.raises(
            StoreError, match=r"s3://no-such-bucket/x: .* 404 Not Found: The specified bucket does not exist"
        ) as caught:
            store.save(tag("iris"), folder)
        assert "\n" not in str(caught.value)
        assert store.list() == []


def test_a_store_that_is_shared_is_swept_by_age(place: Place, folder: Path, tmp_path: Path) -> None:
    """A save of another machine, that nobody can ask, is left alone for a day."""
    with place.open() as store:
        store.save(tag("iris:1"), folder)
        (used,) = place.object_ids()
        ids = [f"{number:032x}" for number in range(3)]
        where = place.database or f"sqlite:///{place.home / 'store.db'}"
        ages = {ids[0]: ("elsewhere", 23), ids[1]: ("elsewhere", 25)}
        put_objects(place, ids[:2])
        for version_id, (host, hours) in ages.items():
            moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() - hours * 3600))
            zone = "+00" if place.database else ".000000"
            statement = text(
                "INSERT INTO model_saves (id, host, pid, process_started, started_at) "
                f"VALUES ('{version_id}', '{host}', 1, 1, '{moment}{zone}')"
            )
            Database(where).write(partial(execute, statement))
        assert store.check() == []
        store.save(tag("iris:2"), folder)
        assert {used, ids[0]} < place.object_ids()
        assert ids[1] not in place.object_ids()
        put_objects(place, ids[2:])
        (line,) = store.check()
        assert line.startswith(f"{ids[2]}: files of no version (")


def execute(statement: TextClause, connection: Connection) -> None:
    connection.execute(statement)


def put_objects(place: Place, ids: list[str]) -> None:
    for version_id in ids:
        if place.objects is None:
            model_folder(place.home / "objects" / version_id, {"a": b"a"})
        else:
            import obstore
            from obstore.store import from_url

            obstore.put(from_url(place.objects), f"{version_id}/a", b"a")
