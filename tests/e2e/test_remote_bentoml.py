"""`depends(url=...)` of a service that BentoML serves, as released."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray

import orchestrator
from orchestrator.client.dependency import remote_service
from orchestrator.errors import BackendUnavailable, InvalidInput, RequestFailed, ServiceFault
from orchestrator.sdk.context import RunningCall, running_call
from tests.e2e.serving import SERVICES, eventually
from tests.e2e.test_bentoml_client import python_with_bentoml

__all__ = ["python_with_bentoml"]


@orchestrator.service
class Far:
    """What its callers know of `tests/services/bentoml_far.py`."""

    @orchestrator.api
    def add(self, a: int, b: int = 1) -> int:
        raise NotImplementedError

    @orchestrator.api
    def double(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        raise NotImplementedError

    @orchestrator.api
    def greet(self, name: str) -> str:
        raise NotImplementedError

    @orchestrator.api
    def facts(self, name: str) -> dict[str, Any]:
        raise NotImplementedError

    @orchestrator.api
    def size(self, file: Path) -> int:
        raise NotImplementedError

    @orchestrator.api
    def copy(self, file: Path) -> Path:
        raise NotImplementedError

    @orchestrator.api
    async def words(self, text: str) -> AsyncGenerator[str, None]:
        yield ""

    @orchestrator.api
    def fail(self, how: str) -> str:
        raise NotImplementedError


@pytest.fixture(scope="module")
def bentoml_url(python_with_bentoml: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    folder = tmp_path_factory.mktemp("bentoml")
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder), "NO_PROXY": "*"}
    options = ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(SERVICES)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [python_with_bentoml, "-m", "bentoml", "serve", "bentoml_far:Far", *options],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        try:
            return httpx2.get(f"{url}/readyz", trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False

    try:
        assert eventually(is_ready, 90), (folder / "log").read_text()
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(params=["class", "url alone"])
def far(request: pytest.FixtureRequest, bentoml_url: str) -> Any:
    return remote_service(bentoml_url, Far if request.param == "class" else None)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    class Folder:
        def folder(self) -> Path:
            return tmp_path

    token = running_call.set(RunningCall("an-id-of-ours", time.time() + 20, workspace=Folder()))
    yield tmp_path
    running_call.reset(token)


def test_values_there_and_back(far: Any, workspace: Path) -> None:
    assert far.add(1, junk=2) == 2
    assert far.to_sync.greet("Ada") == "Hello, Ada"
    assert far.double(np.array([[0.5, 1.0]])).tolist() == [[1.0, 2.0]]
    assert far.facts("x")["id"] == "an-id-of-ours"
    file = workspace / "a.txt"
    file.write_text("hello")
    assert far.size(file) == 5
    assert far.copy(file).read_text() == "hello"


def test_awaited_and_streamed(far: Any) -> None:
    async def calls() -> None:
        both = await asyncio.gather(far.to_async.add(1), far.to_async.greet("Bob"))
        assert list(both) == [2, "Hello, Bob"]
        assert "".join([word async for word in far.to_async.words("a b c")]) == "abc"
        assert await far.ready()

    asyncio.run(calls())
    assert "".join(far.words("a b")) == "ab"


def test_errors_by_their_status(far: Any) -> None:
    with pytest.raises(RequestFailed, match="short and stout") as refused:
        far.fail("teapot")
    assert refused.value.status == 418
    with pytest.raises(BackendUnavailable, match="answered 503"):
        far.fail("unavailable")
    with pytest.raises(ServiceFault) as fault:
        far.fail("otherwise")
    assert "secret" not in str(fault.value)
    with pytest.raises(InvalidInput):
        far.add("x")
