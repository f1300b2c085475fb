"""A full /dev/shm, in a mount namespace of its own: a clear error each time, and none that stays."""

import asyncio
import io
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
import pytest

from tests.e2e.deaths import place_healing, ready_after_s, workers_of
from tests.e2e.serving import COMMAND, Serving, eventually


def _may_mount() -> bool:
    done = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], capture_output=True, check=False
    )
    return done.returncode == 0


pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not _may_mount(), reason="may not mount a file system")]


def own_shm(mebibytes: int) -> list[str]:
    """The command's start that gives it a /dev/shm of that size."""
    return ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size={mebibytes}m tmpfs /dev/shm && exec "$0" "$@"']


@contextmanager
def filled(server: Serving, *, leave: int) -> Iterator[None]:
    """Inside, so many bytes are free in the server's /dev/shm."""
    path = Path(f"/proc/{server.process.pid}/root/dev/shm/filler")
    with path.open("wb") as file:
        usage = os.statvfs(path.parent)
        os.posix_fallocate(file.fileno(), 0, usage.f_bavail * usage.f_frsize - leave)
    try:
        yield
    finally:
        path.unlink()


def test_a_start_with_too_little_is_refused(tmp_path: Path) -> None:
    serve = [COMMAND, "serve", "healing:Steady", "--port", "0", "--working-dir", str(place_healing(tmp_path))]
    done = subprocess.run([*own_shm(32), *serve], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 4
    assert "/dev/shm has 32 MiB free, Triton needs 64 MiB (in a container, start it with --shm-size=1g" in done.stderr


def test_calls_and_repairs_that_find_it_full_say_so_and_go_on_once_there_is_room(tmp_path: Path) -> None:
    body = io.BytesIO()
    np.save(body, np.zeros(4 << 20, np.uint8))
    npy = {"content-type": "application/x-npy"}
    with Serving("healing:Steady", working_dir=place_healing(tmp_path), within=own_shm(160)) as server:

        def size() -> httpx2.Response:
            return httpx2.post(f"{server.url}/size", content=body.getvalue(), headers=npy, timeout=30)

        def zeros(mebibytes: int) -> httpx2.Response:
            return httpx2.post(f"{server.url}/zeros", json={"mebibytes": mebibytes}, timeout=30)

        with filled(server, leave=1 << 20):
            for answer in (size(), zeros(20), size()):
                assert answer.status_code == 503, answer.text
                assert "/dev/shm" in answer.json()["detail"]
                assert answer.headers["retry-after"] == "1"
            assert zeros(0).status_code == 200, "small ones fit"
            workers_of(server, "Steady")[0].kill()

            def said() -> bool:
                return "/dev/shm is full" in httpx2.get(f"{server.url}/readyz").text

            assert eventually(said, 10)
        asyncio.run(ready_after_s(server.url, within_s=40))
        assert size().json() == 4 << 20
        assert zeros(20).status_code == 200
