"""Calls of one Triton over gRPC and over HTTP: the same answers, the same errors, the same release of who leaves."""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import numpy as np
import psutil
import pytest

from orchestrator.engine.backend import Backend, InferRequest, text_tensor
from orchestrator.errors import BackendUnavailable, CallError, DeadlineExceeded, Overloaded
from orchestrator.triton import Control, StatusCause, TritonBackend, TritonServer
from orchestrator.triton.command import free_ports
from orchestrator.triton.tensors import DATATYPES
from tests.e2e.serving import Serving

pytestmark = pytest.mark.e2e
T = TypeVar("T")
TRANSPORTS = ["grpc", "http"]
ECHO = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        return pb_utils.InferenceResponse([pb_utils.Tensor(each.name(), each.as_numpy()) for each in request.inputs()])
"""
MODES = """
import json, os, pathlib, time
import numpy
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request, json.loads(request.parameters())) for request in requests]

    def answer(self, request, how):
        if "mark" in how:
            pathlib.Path(how["mark"]).touch()
        time.sleep(how.get("sleep_ms", 0) / 1000)
        if how.get("raise"):
            raise ValueError("a secret")
        if how.get("exit"):
            os._exit(3)
        if "error" in how:
            error = pb_utils.TritonError(how["error"], getattr(pb_utils.TritonError, how["code"]))
            return pb_utils.InferenceResponse(error=error)
        text = json.dumps({name: value for name, value in how.items() if name != "call"}, sort_keys=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", numpy.array([text.encode()], object))])
"""
REFUSES = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            error = pb_utils.InferenceResponse(error=pb_utils.TritonError("no"))
            request.get_response_sender().send(error, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
X = np.zeros(1, np.int64)
SMALL = """\
input [{ name: "x" data_type: TYPE_INT64 dims: [ 1 ] }]
output [{ name: "y" data_type: TYPE_STRING dims: [ -1 ] }]
"""


def write_model(repository: Path, name: str, code: str, tensors: str, batch: int = 0) -> None:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(code)
    text = f'name: "{name}" backend: "python" max_batch_size: {batch} instance_group [{{ kind: KIND_CPU count: 1 }}]\n'
    (folder.parent / "config.pbtxt").write_text(text + tensors)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    types = {name: "STRING" if name == "BYTES" else name for name in DATATYPES}
    echo = [
        f'{{ name: "{name}" data_type: TYPE_{kind} dims: [ -1, -1 ] optional: true }}' for name, kind in types.items()
    ]
    output = [each.replace(" optional: true", "") for each in echo]
    write_model(root, "echo", ECHO, f"input [{','.join(echo)}] output [{','.join(output)}]")
    write_model(root, "modes", MODES, SMALL)
    write_model(root, "stream", MODES, SMALL + "model_transaction_policy { decoupled: true }")
    write_model(root, "refuses", REFUSES, SMALL + "model_transaction_policy { decoupled: true }")
    write_model(root, "queue", MODES, SMALL + "dynamic_batching { default_queue_policy { max_queue_size: 1 } }", 1)
    return root


def load(server: TritonServer, *models: str) -> None:
    async def all_of_them() -> None:
        async with Control(server.grpc_url) as control:
            for model in models:
                await control.load_model(model)

    asyncio.run(all_of_them())


@pytest.fixture
def server(repository: Path) -> Iterator[TritonServer]:
    """A server for one test."""
    with TritonServer() as one:
        one.start([repository])
        load(one, "echo", "modes")
        yield one


@pytest.fixture(scope="module")
def shared(repository: Path) -> Iterator[TritonServer]:
    with TritonServer() as one:
        one.start([repository])
        load(one, "echo", "modes", "stream", "refuses", "queue")
        yield one


@contextlib.asynccontextmanager
async def opened(server: TritonServer, transport: str) -> AsyncIterator[TritonBackend]:
    """A Backend over one transport only: nothing listens where gRPC would call."""
    if transport == "grpc":
        backend = TritonBackend(server.grpc_url, board=server.call_board)
    else:
        nowhere = f"127.0.0.1:{free_ports(1)[0]}"
        backend = TritonBackend(nowhere, board=server.call_board, http_url=server.http_url)
    try:
        yield backend
    finally:
        await backend.close()


def over(server: TritonServer, transport: str, use: Callable[[TritonBackend], Awaitable[T]]) -> T:
    async def once() -> T:
        async with opened(server, transport) as backend:
            return await use(backend)

    return asyncio.run(once())


def modes(timeout_s: float | None = 20, model: str = "modes", **how: str | int | bool) -> InferRequest:
    return InferRequest(model, {"x": X}, how, "an id", timeout_s=timeout_s)


# --- answers


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_it_is_a_backend(transport: str) -> None:
    backend: Backend = TritonBackend("127.0.0.1:1", http_url="http://127.0.0.1:2" if transport == "http" else None)
    asyncio.run(backend.close())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_tensors_of_every_type_and_size(shared: TritonServer, transport: str) -> None:
    async def use(backend: TritonBackend) -> None:
        random = np.random.default_rng(7)
        for shape in ((0, 3), (1, 1), (3, 5), (40, 1000), (300, 1000)):
            numbers = random.integers(0, 100, shape)
            inputs = {name: numbers.astype(dtype) for name, dtype in DATATYPES.items() if name != "BYTES"}
            inputs["BYTES"] = text_tensor(*(random.bytes(each % 7) for each in numbers.ravel())).reshape(shape)
            received = (await backend.infer(InferRequest("echo", inputs, timeout_s=60))).outputs
            assert set(received) == set(inputs)
            for name, array in inputs.items():
                assert received[name].dtype == array.dtype
                np.testing.assert_array_equal(received[name], array)
        several = {"INT32": np.arange(100, dtype=np.int32)[::-3].reshape(2, -1).T, "FP32": np.ones((2, 2), np.float32)}
        asked = InferRequest("echo", several, timeout_s=20, outputs=("INT32",))
        received = (await backend.infer(asked)).outputs
        assert list(received) == ["INT32"]
        np.testing.assert_array_equal(received["INT32"], several["INT32"])

    over(shared, transport, use)


def test_parameters_reach_the_worker_alike(shared: TritonServer) -> None:
    how: dict[str, Any] = {"s": '\u00fcber "x"\n', "i": -(2**63), "j": 2**62 + 1, "t": True, "f": False, "empty": ""}
    answers = [
        over(shared, each, lambda backend: backend.infer(modes(**how))).outputs["y"].tolist() for each in TRANSPORTS
    ]
    said = [json.loads(answer[0]) for answer in answers]
    assert {**said[0], "binary_data_output": True} == {**said[1], "binary_data_output": True}
    assert {name: said[1][name] for name in how} == how


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_many_calls_at_once(shared: TritonServer, transport: str) -> None:
    async def use(backend: TritonBackend) -> list[int]:
        answers = await asyncio.gather(*(backend.infer(modes(i=index)) for index in range(300)))
        return [json.loads(answer.outputs["y"][0])["i"] for answer in answers]

    assert over(shared, transport, use) == list(range(300))


def test_a_stream_that_ended_with_an_error_leaves_nothing_behind(shared: TritonServer) -> None:
    """What is left holds a place in the queue, and the next call of a caller who waits for each answer would be refused."""
    left: list[asyncio.Future[Any]] = []

    async def use(backend: TritonBackend) -> None:
        for _ in range(50):
            with pytest.raises(CallError):
                await anext(backend.stream(InferRequest("refuses", {"x": X}, runs_on=left.append)))

    over(shared, "grpc", use)
    assert not left


def test_a_front_end_calls_over_http() -> None:
    with Serving("queued:Sync") as server:
        for number in range(3):
            arguments = {"name": f"by http {number}", "seconds": 0}
            assert httpx2.post(f"{server.url}/work", json=arguments, timeout=60).status_code == 200
        port = int(server.triton["http"].rpartition(":")[2])
        ends = [each.raddr for each in psutil.Process(server.process.pid).net_connections("tcp") if each.raddr]
        assert [end.port for end in ends].count(port) == 1  # kept, and used again


# --- faults


def worker_error(code: str, **more: Any) -> str:
    details = {"code": code, "message": "as the worker said \u00fc", "problems": [], **more}
    return f"a sentence\n\x1e{json.dumps(details)}"


PROBLEMS = [{"type": "t", "loc": ["a", 0], "msg": "m"}]
FAULTS = {
    "unknown model": modes(model="nope"),
    "wrong dtype": InferRequest("modes", {"x": np.zeros(1)}, request_id="7"),
    "wrong shape": InferRequest("modes", {"x": np.zeros(2, np.int64)}, request_id="7"),
    "wrong rank": InferRequest("modes", {"x": np.zeros((1, 1), np.int64)}),
    "wrong name": InferRequest("modes", {"nope": X}),
    "missing": InferRequest("modes", {}),
    "more than there are": InferRequest("modes", {"x": X, "nope": X}),
    "wrong output": InferRequest("modes", {"x": X}, outputs=("nope",)),
    "no type of Triton's": InferRequest("modes", {"x": np.zeros(1, np.complex64)}),
    "no bytes": InferRequest("modes", {"x": np.array([5], object)}),
    "a model that streams": modes(model="stream"),
    "an exception": InferRequest("modes", {"x": X}, {"raise": True}),
    "time runs out": modes(timeout_s=0.2, sleep_ms=500),
    **{
        f"the worker's {code}": modes(error=worker_error(own, problems=PROBLEMS, status=418, name="Teapot"), code=code)
        for code, own in (
            ("INVALID_ARG", "invalid_input"),
            ("NOT_FOUND", "endpoint_not_found"),
            ("UNAVAILABLE", "overloaded"),
            ("CANCELLED", "cancelled"),
            ("INTERNAL", "request_failed"),
            ("UNKNOWN", "from the future"),
            ("UNSUPPORTED", "output_mismatch"),
            ("ALREADY_EXISTS", "deadline_exceeded"),
        )
    },
    "a long text": modes(error="\u20ac" * 1300, code="INTERNAL"),
    **{
        f"another model's {code}": modes(error="it cannot", code=code)
        for code in ("INTERNAL", "NOT_FOUND", "INVALID_ARG", "UNAVAILABLE", "UNSUPPORTED")
    },
}


async def fault(backend: TritonBackend, request: InferRequest) -> CallError:
    try:
        await backend.infer(request)
    except CallError as error:
        return error
    raise AssertionError("it was answered")


def told(error: CallError) -> dict[str, Any]:
    """What callers see of it, and what was sent along. The status behind it may differ: HTTP has fewer of them."""
    seen = {"kind": type(error), **vars(error)}
    if isinstance(error.__cause__, StatusCause):
        seen["details"] = error.__cause__.details
    return seen


@pytest.mark.parametrize("what", FAULTS)
def test_faults_are_told_alike(shared: TritonServer, what: str) -> None:
    by_grpc, by_http = (over(shared, each, lambda backend: fault(backend, FAULTS[what])) for each in TRANSPORTS)
    assert told(by_http) == told(by_grpc)


def test_a_full_queue_is_told_alike(shared: TritonServer) -> None:
    async def use(backend: TritonBackend) -> list[CallError]:
        request = dataclasses.replace(modes(model="queue", sleep_ms=300), inputs={"x": X.reshape(1, 1)})
        answers = await asyncio.gather(*(backend.infer(request) for _ in range(8)), return_exceptions=True)
        return [answer for answer in answers if isinstance(answer, CallError)]

    for errors in (over(shared, each, use) for each in TRANSPORTS):
        assert errors
        assert {type(error) for error in errors} == {Overloaded}
        assert {error.message for error in errors} == {"the model's queue is full"}


def test_models_and_workers_that_are_gone_are_told_alike(server: TritonServer) -> None:
    async def of_both(*requests: InferRequest) -> list[CallError]:
        async with opened(server, "grpc") as grpc, opened(server, "http") as http:
            return [await fault(each, request) for request in requests for each in (grpc, http)]

    async def unload() -> None:
        async with Control(server.grpc_url) as control:
            await control.unload_model("echo")

    asyncio.run(unload())
    inside, inside_too = asyncio.run(
        of_both(InferRequest("echo", {"FP32": np.zeros((1, 1), np.float32)}, timeout_s=20))
    )
    assert told(inside) == told(inside_too)
    assert isinstance(inside, BackendUnavailable)
    died = over(server, "http", lambda backend: fault(backend, modes(exit=True)))
    afterwards = asyncio.run(of_both(modes()))
    assert [told(each) for each in afterwards] == [told(died)] * 2
    assert isinstance(died, BackendUnavailable)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_triton_that_dies_takes_its_calls_along_and_is_not_there_then(
    server: TritonServer, transport: str, tmp_path: Path
) -> None:
    async def use(backend: TritonBackend) -> None:
        await backend.infer(modes())
        mark = tmp_path / "mark"
        waiting = asyncio.create_task(backend.infer(modes(mark=str(mark), sleep_ms=600_000)))
        while not mark.exists():
            await asyncio.sleep(0.01)
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(BackendUnavailable) as inside:
            await waiting
        assert isinstance(inside.value.__cause__, StatusCause)
        assert "failed to connect" not in inside.value.__cause__.text  # it may have been begun
        if transport == "grpc":
            await asyncio.sleep(0.5)  # it sends once more on what it does not know to be lost
        for _ in range(2):
            with pytest.raises(BackendUnavailable) as later:
                await backend.infer(modes())
            assert isinstance(later.value.__cause__, StatusCause)
            assert "failed to connect to all addresses" in later.value.__cause__.text
        assert not await backend.ready("modes")

    over(server, transport, use)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_triton_that_was_started_again_is_found(repository: Path, transport: str) -> None:
    with TritonServer() as server:
        server.start([repository], hold=True)
        load(server, "modes")

        async def use(backend: TritonBackend) -> None:
            await asyncio.gather(*(backend.infer(modes()) for _ in range(20)))
            os.kill(server.pid, signal.SIGKILL)
            while server.ended is None:
                await asyncio.sleep(0.02)
            await asyncio.to_thread(server.restart)
            await asyncio.to_thread(load, server, "modes")
            await asyncio.sleep(1.5 if transport == "grpc" else 0)  # gRPC's pause between two tries
            for _ in range(20):
                await backend.infer(modes())

        over(server, transport, use)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_calls_in_flight_are_answered_at_a_stop(server: TritonServer, transport: str, tmp_path: Path) -> None:
    async def stop(backend: TritonBackend) -> list[Any]:
        mark = tmp_path / "mark"
        waiting = asyncio.create_task(backend.infer(modes(mark=str(mark), sleep_ms=1000, i=5)))
        while not mark.exists():
            await asyncio.sleep(0.01)
        answer, _ = await asyncio.gather(waiting, asyncio.to_thread(server.stop, 8))
        return list(answer.outputs["y"])

    assert json.loads(over(server, transport, stop)[0])["i"] == 5


# --- callers who leave


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_who_leaves_is_released_at_once_and_the_rest_is_told(
    shared: TritonServer, transport: str, tmp_path: Path
) -> None:
    async def use(backend: TritonBackend) -> None:
        held: list[asyncio.Future[Any]] = []
        mark = tmp_path / "mark"
        request = dataclasses.replace(modes(mark=str(mark), sleep_ms=1000), runs_on=held.append)
        task = asyncio.create_task(backend.infer(request))
        while not mark.exists():
            await asyncio.sleep(0.01)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(DeadlineExceeded):
            await backend.infer(dataclasses.replace(modes(timeout_s=0.05), runs_on=held.append))
        assert time.monotonic() - began < 0.9
        assert [each.done() for each in held] == [False, False]
        await asyncio.wait_for(asyncio.gather(*held), 20)
        assert time.monotonic() - began > 0.5
        assert (await backend.infer(modes())).outputs

    over(shared, transport, use)


def test_callers_that_leave_at_the_end_of_a_call_do_no_harm(server: TritonServer) -> None:
    random = np.random.default_rng(7)
    request = InferRequest("echo", {"FP32": np.zeros((1, 1), np.float32)})

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

    over(server, "http", use)
    server.stop()
    assert server.exit_code == 0
