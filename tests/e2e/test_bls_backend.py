"""Calls from worker to worker inside the real Triton: answers, streams, and the faults of either side."""

import asyncio
import contextlib
import inspect
import json
import os
import textwrap
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from orchestrator.engine.backend import InferRequest
from orchestrator.engine.heartbeat import SERVER_ID_VARIABLE
from orchestrator.triton import Control, TritonBackend, TritonServer

pytestmark = pytest.mark.e2e

# --- the models ---------------------------------------------------------------------------------------------------

PLAIN = """
import json, os, time
import numpy
import triton_python_backend_utils as pb_utils
from pathlib import Path
from orchestrator.engine.board import BOARD_VARIABLE, BoardReader
from orchestrator.engine.lifetime import lifetime_of
from orchestrator.errors import CallError, InvalidInput, RequestFailed
from orchestrator.worker.stub import error_response

class TritonPythonModel:
    def initialize(self, args):
        self.board = BoardReader(Path(os.environ[BOARD_VARIABLE]))

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        how = json.loads(request.parameters())
        if how.get("die"):
            os._exit(3)
        if how.get("invalid"):
            return error_response(InvalidInput.at(["x"], "is odd"))
        if how.get("failed"):
            return error_response(RequestFailed("no tea", status=418, name="Teapot"))
        if how.get("raise"):
            raise ValueError("a secret")
        gone = lifetime_of(how, board=self.board, gone=lambda: False).gone
        end = time.monotonic() + how.get("sleep_ms", 0) / 1000
        while time.monotonic() < end and not gone():
            time.sleep(0.005)
        if how.get("mark"):
            Path(how["mark"]).write_text(f"gone {gone()} parameter {how.get('call', 0) > 0}")
        (x,) = request.inputs()
        text = numpy.empty(1, dtype=object)
        text[0] = json.dumps({name: how[name] for name in ("text", "number", "flag") if name in how}).encode()
        outputs = [pb_utils.Tensor("y", x.as_numpy() * 2), pb_utils.Tensor("text", text)]
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse([each for each in outputs if each.name() in wanted])
"""
STREAM = """
import asyncio, json, os, threading, time
import numpy
import triton_python_backend_utils as pb_utils
from pathlib import Path
from orchestrator.errors import CallCancelled, CallError, RequestFailed
from orchestrator.worker.bls_answers import Answers
from orchestrator.worker.stub import error_response

class TritonPythonModel:
    def initialize(self, args):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            try:
                answers = Answers.to_caller_of(request)
            except CallError as error:
                sender.send(error_response(error), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                continue
            if answers is None:
                tensor = pb_utils.Tensor("y", numpy.zeros(1, numpy.int64))
                sender.send(pb_utils.InferenceResponse([tensor]), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                continue
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            asyncio.run_coroutine_threadsafe(self.answer(request, answers), self.loop)

    async def answer(self, request, answers):
        how = json.loads(request.parameters())
        x = request.inputs()[0].as_numpy()
        index = 0
        try:
            await asyncio.sleep(how.get("first_ms", 0) / 1000)
            for index in range(how["count"]):
                if index == how.get("die_at"):
                    os._exit(3)
                if index == how.get("error_at"):
                    raise RequestFailed("no more tea", status=418, name="Teapot")
                if answers.gone():
                    raise CallCancelled("")
                data = numpy.empty(1, dtype=object)
                data[0] = b"x" * how.get("bytes", 1)
                await answers.send({"y": numpy.array([index, int(x.sum())]), "data": data})
                if how.get("sleep_us"):
                    await asyncio.sleep(how["sleep_us"] / 1e6)
            await answers.end()
        except CallError as error:
            await answers.end(error)
        if how.get("mark"):
            Path(how["mark"]).write_text(str(index))
"""
CALLER = """
import asyncio, json, os, threading
import numpy
import triton_python_backend_utils as pb_utils
from orchestrator.engine.backend import InferRequest
from orchestrator.errors import CallError
from orchestrator.worker.bls import BlockingBlsBackend, BlsBackend
from orchestrator.worker.executor import drive

def calling(request, backend):
    names = {}
    how = json.loads(request.parameters())
    exec(how["code"], names)
    return names[how["name"]](backend, **json.loads(how["arguments"]))

def response(outcome):
    text = numpy.empty(1, dtype=object)
    text[0] = json.dumps(outcome).encode()
    return pb_utils.InferenceResponse([pb_utils.Tensor("text", text)])
"""
ON_LOOP = (
    CALLER
    + """
class TritonPythonModel:
    def initialize(self, args):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.backend = BlsBackend()
        try:
            drive(self.backend.infer(InferRequest("plain", {})))
        except CallError as error:
            self.refused = str(error)
        self.backend.refused = self.refused
        self.backend.start()

    def execute(self, requests):
        for request in requests:
            asyncio.run_coroutine_threadsafe(self.answer(request, request.get_response_sender()), self.loop)

    async def answer(self, request, sender):
        try:
            outcome = await calling(request, self.backend)
        except BaseException as error:
            outcome = {"unexpected": repr(error)}
        sender.send(response(outcome), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def finalize(self):
        self.backend.stop()
"""
)
IN_PLACE = (
    CALLER
    + """
class TritonPythonModel:
    def initialize(self, args):
        self.backend = BlockingBlsBackend()
        self.backend.start()

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        try:
            return response(drive(calling(request, self.backend)))
        except BaseException as error:
            return response({"unexpected": repr(error)})

    def finalize(self):
        self.backend.stop()
"""
)


def write_model(repository: Path, name: str, code: str, outputs: str, more: str = "") -> None:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(code)
    (folder.parent / "config.pbtxt").write_text(
        f'name: "{name}" backend: "python" max_batch_size: 0 instance_group [{{ kind: KIND_CPU count: 1 }}]\n'
        f'input [{{ name: "x" data_type: TYPE_INT64 dims: [ -1 ] }}]\noutput [{outputs}]\n{more}'
    )


MODELS = ("plain", "stream", "on_loop", "in_place")


class Running:
    """A server with all models."""

    def __init__(self, server: TritonServer) -> None:
        self.server = server

    def load(self, *models: str) -> None:
        async def all_of_them() -> None:
            async with Control(self.server.grpc_url) as control:
                for model in models:
                    await control.load_model(model)

        asyncio.run(all_of_them())

    def run(self, scenario: Callable[..., Coroutine[Any, Any, Any]], *, place: str = "on_loop", **arguments: Any) -> Any:
        """What a scenario gives that runs inside of a worker."""
        parameters = {
            "code": PREAMBLE + textwrap.dedent(inspect.getsource(scenario)),
            "name": scenario.__name__,
            "arguments": json.dumps(arguments),
        }
        request = InferRequest(place, {"x": np.zeros(1, np.int64)}, parameters, timeout_s=120)

        async def once() -> Any:
            backend = TritonBackend(self.server.grpc_url)
            try:
                if place == "in_place":
                    response = await backend.infer(request)
                else:
                    (response,) = [each async for each in backend.stream(request)]
            finally:
                await backend.close()
            return json.loads(response.outputs["text"][0])

        outcome = asyncio.run(once())
        assert "unexpected" not in outcome, outcome
        return outcome

    def worker(self, model: str) -> psutil.Process:
        """The process of a model's only instance."""
        for process in psutil.process_iter(["cmdline"]):
            with contextlib.suppress(psutil.Error):
                line = " ".join(process.info["cmdline"] or [])
                if f"/{model}/1/model.py" in line and process.environ().get(SERVER_ID_VARIABLE) == self.server.server_id:
                    return process
        raise AssertionError(f"{model} has no worker")


PREAMBLE = """
import asyncio, gc, os, time
import numpy
from contextlib import aclosing
from pathlib import Path
from orchestrator.engine.backend import InferRequest
from orchestrator.errors import *

X = numpy.arange(3)

def asked(model, timeout_s=None, runs_on=None, outputs=(), **parameters):
    return InferRequest(model, {"x": X}, parameters, timeout_s=timeout_s, outputs=outputs, runs_on=runs_on)

def memory_kb():
    gc.collect()
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(lines[name].split()[0]) for name in ("RssAnon", "RssShmem"))

def error_of(error):
    return [type(error).__name__, error.message]
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    numbers = '{ name: "y" data_type: TYPE_INT64 dims: [ -1 ] }'
    text = '{ name: "text" data_type: TYPE_STRING dims: [ -1 ] }'
    decoupled = "model_transaction_policy { decoupled: true }"
    write_model(root, "plain", PLAIN, f"{numbers}, {text}")
    write_model(root, "stream", STREAM, numbers, decoupled)
    write_model(root, "on_loop", ON_LOOP, text, decoupled)
    write_model(root, "in_place", IN_PLACE, text)
    return root


def started(repository: Path) -> Iterator[Running]:
    with TritonServer() as server:
        server.start([repository])
        server_id = server.server_id
        running = Running(server)
        running.load(*MODELS)
        yield running
    assert not [name for name in os.listdir("/dev/shm") if name.startswith(server_id)]


@pytest.fixture(scope="module")
def shared(repository: Path) -> Iterator[Running]:
    """A server for the tests that break nothing."""
    yield from started(repository)


@pytest.fixture
def broken(repository: Path) -> Iterator[Running]:
    """A server for one test."""
    yield from started(repository)


both = pytest.mark.parametrize("place", ["on_loop", "in_place"])

# --- one answer ---------------------------------------------------------------------------------------------------


@both
def test_a_call_has_its_tensors_and_parameters(shared: Running, place: str) -> None:
    async def scenario(backend: Any) -> Any:
        request = asked("plain", outputs=("y", "text"), text="käse", number=-(2**62), flag=True)  # type: ignore[name-defined]  # noqa: F821
        response = await backend.infer(request)
        one = await backend.infer(asked("plain", outputs=("y",)))  # type: ignore[name-defined]  # noqa: F821
        return [response.outputs["y"].tolist(), response.outputs["text"][0].decode(), list(one.outputs)]

    y, text, names = shared.run(scenario, place=place)
    assert (y, json.loads(text)) == ([0, 2, 4], {"text": "käse", "number": -(2**62), "flag": True})
    assert names == ["y"]
