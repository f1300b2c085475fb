"""The real Triton: start, stop, faults of every process around it, and calls over its gRPC."""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.engine.backend import Backend, InferRequest, text_tensor
from orchestrator.errors import (
    BackendUnavailable,
    CallError,
    DeadlineExceeded,
    EndpointNotFound,
    InvalidInput,
    ServerProcessError,
    ServiceFault,
)
from orchestrator.triton import (
    PROBE_MODEL,
    Control,
    StatusCause,
    TritonBackend,
    TritonServer,
    find_install,
    probe_server,
    process,
)
from orchestrator.triton.command import SERVER_ID_VARIABLE, free_ports
from orchestrator.triton.tensors import DATATYPES

pytestmark = pytest.mark.e2e
T = TypeVar("T")
GONE_S = 10.0

# --- the models ---------------------------------------------------------------------------------------------------

TYPES = {name: "STRING" if name == "BYTES" else name for name in DATATYPES}
ECHO = """
import numpy
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        return pb_utils.InferenceResponse([pb_utils.Tensor(each.name(), each.as_numpy()) for each in request.inputs()])
"""
MODES = """
import json, os, pathlib, subprocess, sys, time
import numpy
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)

    def execute(self, requests):
        return [self.answer(request, json.loads(request.parameters())) for request in requests]

    def answer(self, request, how):
        mark = how.get("mark")
        if mark and not request.is_cancelled():
            pathlib.Path(mark).touch()
        time.sleep(how.get("sleep_ms", 0) / 1000)
        if how.get("raise"):
            raise ValueError("a secret")
        if how.get("exit"):
            os._exit(3)
        if how.get("error"):
            error = pb_utils.TritonError(how["error"], pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        numbers = numpy.array([int(request.is_cancelled()), len(how.get("s", "")), how.get("i", 0)], numpy.int64)
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", numbers)])

    def finalize(self):
        time.sleep(600 if os.environ.get("HANG_IN_FINALIZE") else 0)
"""
STREAM = """
import json, pathlib, time
import numpy
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            self.answer(request.get_response_sender(), json.loads(request.parameters()))

    def answer(self, sender, how):
        for index in range(how["count"]):
            if sender.is_cancelled():
                pathlib.Path(how["mark"]).write_text(str(index))
                break
            if index == how.get("error_at"):
                error = pb_utils.TritonError(how["error"], pb_utils.TritonError.UNAVAILABLE)
                answer = pb_utils.InferenceResponse(error=error)
                sender.send(answer, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                return
            last = how.get("flag_last") and index == how["count"] - 1
            answer = pb_utils.InferenceResponse([pb_utils.Tensor("y", numpy.array([index], numpy.int64))])
            sender.send(answer, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0)
            if last:
                return
            time.sleep(how.get("sleep_ms", 0) / 1000)
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
BROKEN = """
class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("no weights here\\nand a second line")
"""


def write_model(repository: Path, name: str, code: str, tensors: str, more: str = "") -> None:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(code)
    text = f'name: "{name}" backend: "python" max_batch_size: 0 instance_group [{{ kind: KIND_CPU count: 1 }}]\n'
    (folder.parent / "config.pbtxt").write_text(text + tensors + more)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    echo = [f'{{ name: "{name}" data_type: TYPE_{kind} dims: [ -1 ] optional: true }}' for name, kind in TYPES.items()]
    output = [each.replace(" optional: true", "") for each in echo]
    write_model(root, "echo", ECHO, f"input [{','.join(echo)}] output [{','.join(output)}]")
    small = """\
input [{ name: "x" data_type: TYPE_INT64 dims: [ 1 ] }]
output [{ name: "y" data_type: TYPE_INT64 dims: [ -1 ] }]
"""
    write_model(root, "modes", MODES, small)
    write_model(root, "stream", STREAM, small, "model_transaction_policy { decoupled: true }")
    write_model(root, "broken", BROKEN, small)
    return root


# --- what must not be left ----------------------------------------------------------------------------------------


def processes(server_id: str) -> list[int]:
    mark = f"{SERVER_ID_VARIABLE}={server_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found += [int(entry.name)] if mark in (entry / "environ").read_bytes().split(b"\0") else []
            except OSError:  # it ended, or it is a zombie that its new parent has not collected
                continue
    return found


def traces(server_id: str) -> list[str]:
    return [
        *(f"pid {pid}" for pid in processes(server_id)),
        *map(str, Path("/dev/shm").glob(f"{server_id}*")),
        *map(str, Path("/tmp").glob(f"{server_id}*")),
    ]


def wait_until_gone(server_id: str, since: float) -> None:
    while left := traces(server_id):
        assert time.monotonic() - since < GONE_S, left
        time.sleep(0.05)


def wait_for(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def server(repository: Path) -> Iterator[TritonServer]:
    """A server for one test."""
    with TritonServer() as one:
        one.start([repository])
        server_id = one.server_id
        yield one
    assert traces(server_id) == []


@pytest.fixture(scope="module")
def shared(repository: Path) -> Iterator[TritonServer]:
    """A server for the calls, with every model loaded."""
    with TritonServer() as one:
        one.start([repository])
        server_id = one.server_id
        load(one, "echo", "modes", "stream")
        yield one
    assert traces(server_id) == []


def load(server: TritonServer, *models: str) -> None:
    async def all_of_them() -> None:
        async with Control(server.grpc_url) as control:
            for model in models:
                await control.load_model(model)

    asyncio.run(all_of_them())


def call(server: TritonServer, use: Callable[[TritonBackend], Awaitable[T]]) -> T:
    async def once() -> T:
        backend = TritonBackend(server.grpc_url)
        try:
            return await use(backend)
        finally:
            await backend.close()

    return asyncio.run(once())


def modes(timeout_s: float | None = 20, **how: str | int | bool) -> InferRequest:
    return InferRequest("modes", {"x": np.zeros(1, np.int64)}, how, timeout_s=timeout_s)


def stream(timeout_s: float | None = 20, **how: str | int | bool) -> InferRequest:
    return InferRequest("stream", {"x": np.zeros(1, np.int64)}, how, timeout_s=timeout_s)


# --- the process --------------------------------------------------------------------------------------------------


def test_a_stop_leaves_nothing(repository: Path) -> None:
    lines: list[str] = []
    server = TritonServer()
    server.start([repository], log=lines.append)
    server_id, guard, urls = server.server_id, server.guard_pid, (server.http_url, server.grpc_url, server.metrics_url)
    assert server.running
    assert {guard, server.pid} <= set(processes(server_id))
    assert os.getsid(server.pid) == guard  # a terminal's Ctrl-C does not reach it
    load(server, "modes")  # a worker, its shared memory, and a process that the worker started
    assert len(processes(server_id)) == 4
    assert list(Path("/dev/shm").glob(f"{server_id}-*-*"))
    since = time.monotonic()
    server.stop(timeout_s=8)
    assert time.monotonic() - since < 8
    assert traces(server_id) == []
    assert not server.running
    assert server.exit_code == 0
    assert server.log_tail
    assert lines == []
    server.stop()
    for url in urls:
        port = int(url.removesuffix("/metrics").rpartition(":")[2])
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_server_starts_again(repository: Path) -> None:
    server = TritonServer()
    for _ in range(2):
        with server:
            server.start([repository])
            asyncio.run(probe_server(server.grpc_url))
        assert not server.running


def test_two_servers_live_side_by_side(repository: Path) -> None:
    with TritonServer() as one, TritonServer() as other:
        one.start([repository])
        other.start([repository])
        ids = one.server_id, other.server_id

        async def both() -> None:
            await asyncio.gather(probe_server(one.grpc_url), probe_server(other.grpc_url))

        asyncio.run(both())
        one.stop()
        assert traces(ids[0]) == []
        assert other.running
        asyncio.run(probe_server(other.grpc_url))
    assert traces(ids[1]) == []


def test_a_started_server_does_not_start_twice(server: TritonServer, repository: Path) -> None:
    with pytest.raises(ServerProcessError, match="runs already"):
        server.start([repository])
    assert server.running


def test_a_server_that_was_never_started_says_so() -> None:
    server = TritonServer()
    assert not server.running
    assert server.exit_code is None
    server.stop()
    with pytest.raises(ServerProcessError, match="never started"):
        _ = server.grpc_url


def test_a_port_that_is_taken_is_told_before_the_start(repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerProcessError, match=f"port {port} for Triton's grpc is in use"):
            TritonServer().start([repository], grpc_port=port)


@pytest.mark.parametrize("lost", range(3))
def test_a_lost_race_for_a_port_is_run_again(repository: Path, monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        offers = [free_ports(3), free_ports(3)]
        offers[0][lost] = taken.getsockname()[1]
        monkeypatch.setattr(process, "free_ports", lambda count: offers.pop(0))
        with TritonServer() as server:
            server.start([repository])
            assert offers == []
            asyncio.run(probe_server(server.grpc_url))


def test_a_start_that_fails_tells_why(tmp_path: Path) -> None:
    program = tmp_path / "tritonserver"
    program.write_text(
        "#!/bin/sh\necho hello\necho 'E1121 01:09:26.000000 5270 main.cc:257] \"no luck today\"'\nexit 3\n"
    )
    program.chmod(0o755)
    server = TritonServer(install=dataclasses.replace(find_install(), binary=program))
    with pytest.raises(ServerProcessError, match=r"exit code 3\): no luck today") as caught:
        server.start([tmp_path])
    assert caught.value.exit_code == 3
    assert caught.value.log_tail[0] == "hello"
    assert caught.value.hint
    assert not server.running
    assert traces(server.server_id) == []


def test_a_missing_repository_is_told(tmp_path: Path) -> None:
    server = TritonServer()
    with pytest.raises(ServerProcessError, match="no model repository"):
        server.start([tmp_path / "missing"])
    assert not server.running


def test_asked_ports_are_used(repository: Path) -> None:
    http, grpc, metrics = free_ports(3)
    with TritonServer() as server:
        server.start([repository], http_port=http, grpc_port=grpc, metrics_port=metrics)
        assert server.grpc_url == f"127.0.0.1:{grpc}"
        assert server.metrics_url == f"http://127.0.0.1:{metrics}/metrics"


# --- the deaths ---------------------------------------------------------------------------------------------------

ORCHESTRATOR = """
import asyncio, json, os, sys, time
from pathlib import Path
import numpy as np
from orchestrator.engine.backend import InferRequest
from orchestrator.triton import Control, TritonBackend, TritonServer

repository, mark, fork = sys.argv[1:]
server = TritonServer()
server.start([Path(repository)], env=dict(HANG_IN_FINALIZE="1") if mark else {})

async def hang():
    async with Control(server.grpc_url) as control:
        await control.load_model("modes")
    if mark:
        request = InferRequest("modes", {"x": np.zeros(1, np.int64)}, {"mark": mark, "sleep_ms": 600_000})
        waiting = asyncio.create_task(TritonBackend(server.grpc_url).infer(request))
        while not os.path.exists(mark):
            await asyncio.sleep(0.02)
    if fork and os.fork() == 0:
        time.sleep(30)
        os._exit(0)
    print(json.dumps({"id": server.server_id, "pid": server.pid, "guard": server.guard_pid}), flush=True)
    await asyncio.sleep(600)

asyncio.run(hang())
"""


@pytest.fixture
def orchestrator(repository: Path, tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], Any]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*, hang: bool = False, fork: bool = False) -> tuple[subprocess.Popen[bytes], Any]:
        arguments = [str(repository), str(tmp_path / "mark") if hang else "", "1" if fork else ""]
        # A session of its own, so that what it forks can be ended with it.
        one = subprocess.Popen(
            [sys.executable, "-c", ORCHESTRATOR, *arguments], stdout=subprocess.PIPE, start_new_session=True
        )
        started.append(one)
        assert one.stdout
        return one, json.loads(one.stdout.readline())

    yield start
    for one in started:
        os.killpg(one.pid, signal.SIGKILL)
        one.wait()
        assert one.stdout
        one.stdout.close()


@pytest.mark.parametrize("hang", [False, True], ids=["idle", "hanging"])
def test_a_killed_orchestrator_leaves_nothing(orchestrator: Any, hang: bool) -> None:
    one, facts = orchestrator(hang=hang)
    since = time.monotonic()
    one.kill()
    wait_until_gone(facts["id"], since)


def test_a_fork_of_the_orchestrator_does_not_keep_the_server(orchestrator: Any) -> None:
    one, facts = orchestrator(fork=True)
    since = time.monotonic()
    one.kill()
    # The fork holds the other end of the guard's pipe for as long as it lives.
    wait_until_gone(facts["id"], since)


def test_a_killed_guard_takes_triton_along(server: TritonServer) -> None:
    load(server, "modes")
    server_id, since = server.server_id, time.monotonic()
    os.kill(server.guard_pid, signal.SIGKILL)
    assert server.wait(GONE_S) == -signal.SIGKILL
    wait_until_gone(server_id, since)
    assert not server.running


def test_a_killed_guard_of_a_hanging_model_takes_triton_along(server: TritonServer, tmp_path: Path) -> None:
    server_id = server.server_id
    load(server, "modes")

    async def kill_guard(backend: TritonBackend) -> None:
        mark = tmp_path / "mark"
        waiting = asyncio.create_task(backend.infer(modes(mark=str(mark), sleep_ms=600_000)))
        await asyncio.to_thread(wait_for, mark.exists)
        os.kill(server.guard_pid, signal.SIGKILL)
        with pytest.raises(BackendUnavailable):
            await waiting

    call(server, kill_guard)
    wait_until_gone(server_id, time.monotonic())


def test_a_killed_triton_is_seen_and_cleaned_up(server: TritonServer) -> None:
    load(server, "modes")
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(GONE_S) == 128 + signal.SIGKILL
    assert not server.running
    assert traces(server.server_id) == []


def test_a_hanging_model_does_not_prevent_a_stop(repository: Path, tmp_path: Path) -> None:
    server = TritonServer()
    server.start([repository], env={"HANG_IN_FINALIZE": "1"})
    load(server, "modes")

    async def stop(backend: TritonBackend) -> float:
        mark = tmp_path / "mark"
        waiting = asyncio.create_task(backend.infer(modes(mark=str(mark), sleep_ms=600_000)))
        await asyncio.to_thread(wait_for, mark.exists)
        since = time.monotonic()
        await asyncio.to_thread(server.stop, 8)
        took_s = time.monotonic() - since
        with pytest.raises(CallError):
            await waiting
        return took_s

    assert call(server, stop) < GONE_S
    assert traces(server.server_id) == []


def test_a_guard_that_does_not_answer_does_not_prevent_a_stop(server: TritonServer) -> None:
    load(server, "modes")
    os.kill(server.guard_pid, signal.SIGSTOP)
    server.stop(timeout_s=3)
    assert server.exit_code == -signal.SIGKILL
    wait_until_gone(server.server_id, time.monotonic())


def test_requests_in_flight_are_answered_at_a_stop(server: TritonServer, tmp_path: Path) -> None:
    load(server, "modes")

    async def stop(backend: TritonBackend) -> list[Any]:
        mark = tmp_path / "mark"
        waiting = asyncio.create_task(backend.infer(modes(mark=str(mark), sleep_ms=1000, i=5)))
        await asyncio.to_thread(wait_for, mark.exists)
        answer, _ = await asyncio.gather(waiting, asyncio.to_thread(server.stop, 8))
        return list(answer.outputs["y"])

    assert call(server, stop)[2] == 5


# --- probe and control --------------------------------------------------------------------------------------------


def test_the_probe_passes(shared: TritonServer) -> None:
    asyncio.run(probe_server(shared.grpc_url))


def test_the_probe_sees_tensors_that_change(server: TritonServer) -> None:
    (model,) = Path("/tmp").glob(f"{server.server_id}-*/probe/{PROBE_MODEL}/1/model.py")
    model.write_text(ECHO.replace("each.as_numpy()", "each.as_numpy()[:0]"))
    with pytest.raises(ServerProcessError, match="tensors change") as caught:
        asyncio.run(probe_server(server.grpc_url))
    assert "numpy" in (caught.value.hint or "")
    model.write_text(ECHO.replace("each.as_numpy()", "1 / 0"))
    with pytest.raises(ServerProcessError, match="do not answer"):
        asyncio.run(probe_server(server.grpc_url))


def test_control(server: TritonServer) -> None:
    async def use() -> None:
        async with Control(server.grpc_url, log_tail=lambda: server.log_tail) as control:
            assert await control.server_live()
            assert not await control.model_ready("echo")
            await control.load_model("echo")
            assert await control.model_ready("echo")
            metadata = await control.model_metadata("echo")
            assert [(each.name, each.shape) for each in metadata.inputs] == [(name, (-1,)) for name in TYPES]
            assert (await control.model_config("echo"))["backend"] == "python"
            (counters,) = await control.statistics("echo")
            assert (counters.inferences, counters.counts["success"]) == (0, 0)
            states = {each.name: each.state for each in await control.repository_index()}
            assert (states["echo"], states["modes"]) == ("READY", "")
            await control.unload_model("echo")
            assert not await control.model_ready("echo")
            await control.unload_model("never heard of")
            with pytest.raises(ServerProcessError, match="never heard of"):
                await control.model_metadata("never heard of")

    asyncio.run(use())


def test_a_config_can_be_given_with_a_load(server: TritonServer) -> None:
    config = {
        "name": "modes",
        "backend": "python",
        "max_batch_size": 0,
        "input": [{"name": "x", "data_type": "TYPE_INT64", "dims": [1]}],
        "output": [{"name": "z", "data_type": "TYPE_INT64", "dims": [-1]}],
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
    }

    async def use() -> None:
        async with Control(server.grpc_url) as control:
            await control.load_model("modes", json.dumps(config))
            assert [each.name for each in (await control.model_metadata("modes")).outputs] == ["z"]

    asyncio.run(use())


def test_a_model_that_fails_to_load_says_why_in_one_line(server: TritonServer) -> None:
    with pytest.raises(ServerProcessError) as caught:
        load(server, "broken")
    assert caught.value.message == "model 'broken' failed to load: RuntimeError: no weights here"
    assert any("model.py(4): initialize" in line for line in caught.value.log_tail)
    with pytest.raises(ServerProcessError, match="no usable model 'nowhere'"):
        load(server, "nowhere")


def test_a_server_that_is_not_there() -> None:
    async def use() -> None:
        url = f"127.0.0.1:{free_ports(1)[0]}"
        async with Control(url) as control:
            assert not await control.server_live()
            with pytest.raises(ServerProcessError):
                await control.load_model("echo", timeout_s=5)
        backend = TritonBackend(url)
        assert not await backend.ready("echo")
        with pytest.raises(BackendUnavailable):
            await backend.infer(modes(timeout_s=5))
        await backend.close()

    asyncio.run(use())


# --- calls --------------------------------------------------------------------------------------------------------


def echo(server: TritonServer, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return dict(call(server, lambda backend: backend.infer(InferRequest("echo", inputs, timeout_s=20))).outputs)


def test_the_transport_is_a_backend() -> None:
    backend: Backend = TritonBackend("127.0.0.1:1")
    assert backend


@pytest.mark.parametrize("name", sorted(set(TYPES) - {"BYTES"}))
@pytest.mark.parametrize("size", [0, 1, 1000])
def test_numbers_of_every_type(shared: TritonServer, name: str, size: int) -> None:
    sent = np.random.default_rng(7).integers(0, 100, size).astype(DATATYPES[name])
    (received,) = echo(shared, **{name: sent}).values()
    assert received.dtype == sent.dtype
    np.testing.assert_array_equal(received, sent)


@pytest.mark.parametrize(
    "items",
    [
        [],
        [b""],
        [b"", b"a", b""],
        [b"\x00", b"a\x00", b"\x00b\x00"],
        ["\u00fc\u20ac".encode(), b"\xff\xfe"],
        [b"x"] * 5000,
    ],
    ids=["none", "empty", "some empty", "NULs", "no UTF-8", "many"],
)
def test_bytes_of_any_content(shared: TritonServer, items: list[bytes]) -> None:
    (received,) = echo(shared, BYTES=text_tensor(*items)).values()
    assert received.tolist() == items


def test_ten_megabytes(shared: TritonServer) -> None:
    numbers = np.arange(2_500_000, dtype=np.float32)
    text = text_tensor(bytes(range(256)) * 40_000)
    received = echo(shared, FP32=numbers, BYTES=text)
    np.testing.assert_array_equal(received["FP32"], numbers)
    assert received["BYTES"].tolist() == text.tolist()


def test_arrays_that_are_not_contiguous(shared: TritonServer) -> None:
    numbers = np.arange(100, dtype=np.int32)[::-3]
    np.testing.assert_array_equal(echo(shared, INT32=numbers)["INT32"], numbers)


def test_parameters_reach_the_worker(shared: TritonServer) -> None:
    answer = call(shared, lambda backend: backend.infer(modes(s="\u00fcber", i=-(2**40), mark="")))
    assert answer.outputs["y"].tolist() == [0, 4, -(2**40)]


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"x": np.zeros(1, np.float64)}, "FP64"),
        ({"x": np.zeros(2, np.int64)}, "shape"),
        ({"nope": np.zeros(1, np.int64)}, "nope"),
        ({}, "missing required"),
    ],
)
@pytest.mark.parametrize("model", ["modes", "stream"])
def test_wrong_inputs_are_the_callers_fault(shared: TritonServer, model: str, inputs: Any, says: str) -> None:
    request = InferRequest(model, inputs, {"count": 1}, "an id", timeout_s=20)

    async def use(backend: TritonBackend) -> None:
        with pytest.raises(InvalidInput, match=says):
            await (backend.infer(request) if model == "modes" else anext(backend.stream(request)))

    call(shared, use)


def test_an_unknown_model(shared: TritonServer) -> None:
    async def use(backend: TritonBackend) -> None:
        request = InferRequest("never heard of", {"x": np.zeros(1)}, timeout_s=20)
        with pytest.raises(EndpointNotFound):
            await backend.infer(request)
        with pytest.raises(EndpointNotFound):
            await anext(backend.stream(request))
        assert not await backend.ready("never heard of")
        assert await backend.ready("modes")

    call(shared, use)


def test_a_model_that_is_not_loaded(server: TritonServer) -> None:
    async def use(backend: TritonBackend) -> None:
        async with Control(server.grpc_url) as control:
            await control.load_model("modes")
            await control.unload_model("modes")
        with pytest.raises(BackendUnavailable, match="not loaded"):
            await backend.infer(modes())
        with pytest.raises(BackendUnavailable, match="not loaded"):
            await anext(backend.stream(modes()))

    call(server, use)


def worker_error(code: str, **more: Any) -> str:
    details = {
        "code": code,
        "message": "as the worker said \u00fc",
        "problems": [],
        "status": None,
        "name": None,
        **more,
    }
    return f"a sentence\n\x1e{json.dumps(details)}"


def test_a_workers_error_arrives_as_it_was_raised(shared: TritonServer) -> None:
    problems = [{"type": "t", "loc": ["a", 0], "msg": "m"}]

    async def use(backend: TritonBackend) -> None:
        with pytest.raises(InvalidInput) as caught:
            await backend.infer(modes(error=worker_error("invalid_input", problems=problems)))
        assert list(caught.value.problems) == problems
        assert caught.value.message == "as the worker said \u00fc"
        parts = backend.stream(stream(count=5, error_at=2, error=worker_error("backend_unavailable")))
        assert [int((await anext(parts)).outputs["y"][0]) for _ in range(2)] == [0, 1]
        with pytest.raises(BackendUnavailable, match="as the worker said"):
            await anext(parts)

    call(shared, use)


def test_an_exception_in_a_model_is_not_shown(shared: TritonServer) -> None:
    async def use(backend: TritonBackend) -> None:
        with pytest.raises(ServiceFault) as caught:
            await backend.infer(modes(**{"raise": True}))
        assert "secret" not in str(caught.value)
        assert isinstance(caught.value.__cause__, StatusCause)
        assert "a secret" in caught.value.__cause__.text

    call(shared, use)


def test_a_dead_worker_is_unavailable(server: TritonServer) -> None:
    load(server, "modes")

    async def use(backend: TritonBackend) -> None:
        for how in ({"exit": True}, {}):
            with pytest.raises(BackendUnavailable, match="worker process has died"):
                await backend.infer(modes(**how))

    call(server, use)


def test_time_runs_out(shared: TritonServer) -> None:
    async def use(backend: TritonBackend) -> None:
        with pytest.raises(DeadlineExceeded):
            await backend.infer(modes(timeout_s=0.2, sleep_ms=1000))
        with pytest.raises(DeadlineExceeded):
            async for _ in backend.stream(stream(timeout_s=0.3, count=1000, sleep_ms=50, mark="/dev/null")):
                pass
        assert (await backend.infer(modes())).outputs  # the next one is not harmed

    call(shared, use)


def test_callers_that_leave_at_the_end_of_a_call_do_no_harm(server: TritonServer) -> None:
    load(server, "echo")
    random = np.random.default_rng(7)
    request = InferRequest("echo", {"FP32": np.zeros(1, np.float32)})

    async def leave(backend: TritonBackend, after_s: float, *, cancel: bool) -> None:
        with contextlib.suppress(DeadlineExceeded, asyncio.CancelledError):
            if not cancel:
                await backend.infer(dataclasses.replace(request, timeout_s=after_s))
                return
            task = asyncio.create_task(backend.infer(request))
            await asyncio.sleep(after_s)
            task.cancel()
            await task

    async def use(backend: TritonBackend) -> None:
        for index in range(3000):
            await leave(backend, random.uniform(0, 0.002), cancel=bool(index % 2))

    call(server, use)
    server.stop()
    # With gRPC's own deadlines and cancellations Triton crashed after one or two hundred of these.
    assert server.exit_code == 0


def test_a_call_that_nobody_waits_for_is_cancelled(shared: TritonServer, tmp_path: Path) -> None:
    async def use(backend: TritonBackend) -> None:
        mark = tmp_path / "first"
        first = asyncio.create_task(backend.infer(modes(mark=str(mark), sleep_ms=2500)))
        await asyncio.to_thread(wait_for, mark.exists)
        second = asyncio.create_task(backend.infer(modes(mark=str(tmp_path / "second"))))
        await asyncio.sleep(0.1)
        since = time.monotonic()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert time.monotonic() - since < 0.5  # the caller goes at once, Triton hears of it later
        assert not first.done()
        assert (await first).outputs
        assert not (tmp_path / "second").exists()

    call(shared, use)


@pytest.mark.parametrize("flag_last", [True, False])
@pytest.mark.parametrize("count", [0, 1, 200])
def test_a_stream_arrives_whole_and_ends(shared: TritonServer, count: int, flag_last: bool) -> None:
    async def use(backend: TritonBackend) -> list[int]:
        parts = backend.stream(stream(count=count, flag_last=flag_last, mark="/dev/null"))
        return [int(part.outputs["y"][0]) async for part in parts]

    assert call(shared, use) == list(range(count))


def test_a_stream_of_a_model_with_one_answer(shared: TritonServer) -> None:
    async def use(backend: TritonBackend) -> list[int]:
        return [int(part.outputs["y"][2]) async for part in backend.stream(modes(i=3))]

    assert call(shared, use) == [3]


def test_parts_of_a_stream_arrive_as_they_are_sent(shared: TritonServer) -> None:
    async def use(backend: TritonBackend) -> None:
        parts = backend.stream(stream(count=3, sleep_ms=700, mark="/dev/null"))
        await anext(parts)
        since = time.monotonic()
        await anext(parts)
        assert time.monotonic() - since > 0.3
        await parts.aclose()

    call(shared, use)


def test_a_closed_stream_ends_the_work(shared: TritonServer, tmp_path: Path) -> None:
    mark = tmp_path / "cancelled at"

    async def use(backend: TritonBackend) -> None:
        parts: AsyncGenerator[Any, None] = backend.stream(stream(count=1000, sleep_ms=20, mark=str(mark)))
        await anext(parts)
        await parts.aclose()
        await asyncio.to_thread(wait_for, mark.exists)

    call(shared, use)
    assert int(mark.read_text()) < 999


def test_streams_that_fail_or_are_left_early_do_no_harm(server: TritonServer) -> None:
    load(server, "stream")

    async def use(backend: TritonBackend) -> None:
        for _ in range(150):
            with pytest.raises(BackendUnavailable):
                await anext(backend.stream(stream(count=1, error_at=0, error=worker_error("backend_unavailable"))))
            parts = backend.stream(stream(count=2, mark="/dev/null"))
            await anext(parts)
            await parts.aclose()

    call(server, use)
    asyncio.run(probe_server(server.grpc_url))
    server.stop()
    # With the metadata triton_grpc_error it crashed; with a cancellation in the last moment it waited for ever.
    assert server.exit_code == 0


def test_a_stream_is_no_single_answer(shared: TritonServer) -> None:
    with pytest.raises(ServiceFault, match="call it as a stream"):
        call(shared, lambda backend: backend.infer(stream(count=1)))


def test_many_calls_at_once(shared: TritonServer) -> None:
    async def use(backend: TritonBackend) -> list[int]:
        answers = await asyncio.gather(*(backend.infer(modes(i=index)) for index in range(200)))
        return [int(answer.outputs["y"][2]) for answer in answers]

    assert call(shared, use) == list(range(200))


def test_calls_in_flight_fail_when_the_connection_closes(shared: TritonServer, tmp_path: Path) -> None:
    async def use() -> None:
        backend, mark = TritonBackend(shared.grpc_url), tmp_path / "mark"
        waiting = asyncio.create_task(backend.infer(modes(mark=str(mark), sleep_ms=500)))
        parts = backend.stream(stream(count=1000, sleep_ms=20, mark=str(tmp_path / "other")))
        await anext(parts)
        await asyncio.to_thread(wait_for, mark.exists)
        await backend.close()
        with pytest.raises(BackendUnavailable):
            await waiting
        with pytest.raises(BackendUnavailable):
            async for _ in parts:
                pass
        with pytest.raises(BackendUnavailable):
            await backend.infer(modes())
        assert not await backend.ready("modes")

    asyncio.run(use())
