"""Calls from worker to worker inside the real Triton: answers, streams, and the faults of either side."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from orchestrator.engine.backend import InferRequest
from orchestrator.engine.heartbeat import SERVER_ID_VARIABLE
from orchestrator.errors import CallCancelled, CallError, InvalidInput
from orchestrator.triton import Control, TritonBackend, TritonServer

pytestmark = pytest.mark.e2e

SCENARIOS = Path(__file__).with_name("bls_scenarios.py")

# --- the models ---------------------------------------------------------------------------------------------------

PLAIN = """
import json, os, time
import numpy
import triton_python_backend_utils as pb_utils
from pathlib import Path
from orchestrator.engine.board import BOARD_VARIABLE, BoardReader
from orchestrator.engine.heartbeat import Heartbeat
from orchestrator.engine.lifetime import lifetime_of
from orchestrator.errors import CallError, InvalidInput, RequestFailed
from orchestrator.worker.stub import error_response

class TritonPythonModel:
    def initialize(self, args):
        self.board = BoardReader(Path(os.environ[BOARD_VARIABLE]))
        self.beat = Heartbeat()
        self.beat.turn()

    def execute(self, requests):
        self.beat.begin([request.request_id() for request in requests])
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
from orchestrator.engine.answers import Answers
from orchestrator.worker.faults import error_text
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
            await answers.end(error_text(error))
        if how.get("mark"):
            Path(how["mark"]).write_text(str(index))
"""
CALLER = """
import asyncio, importlib.util, json, os, threading
import numpy
import triton_python_backend_utils as pb_utils
from orchestrator.engine.backend import InferRequest
from orchestrator.errors import CallError
from orchestrator.worker.bls import BlockingBlsBackend, BlsBackend
from orchestrator.worker.executor import drive

found = importlib.util.spec_from_file_location("scenarios", os.environ["BLS_SCENARIOS"])
scenarios = importlib.util.module_from_spec(found)
found.loader.exec_module(scenarios)

def calling(request, backend):
    how = json.loads(request.parameters())
    return getattr(scenarios, how["scenario"])(backend, **json.loads(how["arguments"]))

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

    def __init__(self, server: TritonServer, repository: Path) -> None:
        self.server = server
        self.repository = repository

    def load(self, *models: str) -> None:
        """Loads models, also where Triton believes that it has them."""
        for model in models:
            (self.repository / model / "1" / "model.py").touch()

        async def all_of_them() -> None:
            async with Control(self.server.grpc_url) as control:
                for model in models:
                    await control.load_model(model)

        asyncio.run(all_of_them())

    def run(self, scenario: str, *, place: str = "on_loop", timeout_s: float = 120, **arguments: Any) -> Any:
        """What a scenario of `bls_scenarios.py` gives that runs inside of a worker."""
        parameters = {"scenario": scenario, "arguments": json.dumps(arguments)}
        request = InferRequest(place, {"x": np.zeros(1, np.int64)}, parameters, timeout_s=timeout_s)

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
        assert not isinstance(outcome, dict), outcome
        return outcome

    def worker(self, model: str) -> psutil.Process:
        """The process of a model's only instance."""
        for process in psutil.process_iter(["cmdline"]):
            with contextlib.suppress(psutil.Error):
                line = " ".join(process.info["cmdline"] or [])
                if (
                    f"/{model}/1/model.py" in line
                    and process.environ().get(SERVER_ID_VARIABLE) == self.server.server_id
                ):
                    return process
        raise AssertionError(f"{model} has no worker")


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
        server.start([repository], env={"BLS_SCENARIOS": str(SCENARIOS)})
        server_id = server.server_id
        running = Running(server, repository)
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


def eventually(condition: Callable[[], Any], within_s: float = 10.0) -> Any:
    """What a condition gives once it is true."""
    end = time.monotonic() + within_s
    while not (outcome := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return outcome


# --- one answer ---------------------------------------------------------------------------------------------------


@both
def test_a_call_has_its_tensors_and_parameters(shared: Running, place: str) -> None:
    y, text, names = shared.run("echo", place=place)
    assert (y, json.loads(text)) == ([0, 2, 4], {"text": "käse", "number": -(2**62), "flag": True})
    assert names == ["y"]


@both
def test_errors_are_those_of_the_worker(shared: Running, place: str) -> None:
    assert shared.run("failing", place=place, invalid=True) == ["InvalidInput", "x: is odd"]
    assert shared.run("failing", place=place, failed=True) == ["RequestFailed", "no tea", 418, "Teapot"]
    assert shared.run("failing", place=place, **{"raise": True}) == ["ServiceFault", "the service failed"]
    kind, _ = shared.run("failing", place=place, model="none")
    assert kind in {"BackendUnavailable", "EndpointNotFound"}
    assert shared.run("failing", place=place, model="on_loop")[0] == "ServiceFault"


def test_no_call_while_the_worker_starts(shared: Running) -> None:
    assert shared.run("refused").startswith("plain was called while the service starts or stops")


@both
def test_readiness_is_what_triton_says(shared: Running, place: str) -> None:
    assert shared.run("readiness", place=place) == [True, True, False]


@both
def test_who_runs_out_of_time_is_released_and_the_worker_told(shared: Running, place: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    error, released_s, running = shared.run("late", place=place, mark=str(mark))
    assert error == ["DeadlineExceeded", "the model did not answer in time"]
    assert released_s < 1.5  # of three seconds
    assert running == (1 if place == "on_loop" else 0)
    assert eventually(lambda: mark.exists() and mark.read_text()) == "gone True parameter True"


def test_a_cancelled_call_is_told_to_the_worker(shared: Running, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    assert shared.run("cancelled", mark=str(mark)) is True
    assert eventually(lambda: mark.exists() and mark.read_text()) == "gone True parameter True"


# --- streams ------------------------------------------------------------------------------------------------------


@both
def test_a_stream_has_its_chunks_in_order(shared: Running, place: str) -> None:
    for count, size in ((0, 1), (1, 1), (1000, 10), (20, 3_000_000)):
        wrong, seconds = shared.run("whole", place=place, streams=1, count=count, bytes=size)
        assert wrong == []
        print(f"{place}: {count} chunks of {size} bytes in {seconds:.3f} s")


@both
def test_a_stream_that_fails_fails_after_its_chunks(shared: Running, place: str) -> None:
    teapot = ["RequestFailed", "no more tea", 418, "Teapot"]
    assert shared.run("failing_after", place=place, count=5, error_at=0) == [[], teapot]
    assert shared.run("failing_after", place=place, count=5, error_at=3) == [[0, 1, 2], teapot]


@both
def test_a_service_with_one_answer_may_give_it_on_a_stream(shared: Running, place: str) -> None:
    assert shared.run("one_answer", place=place) == [[0, 3]]


@both
@pytest.mark.parametrize("model", ["plain", "on_loop"])
def test_a_model_that_is_no_service_has_no_stream(shared: Running, place: str, model: str) -> None:
    kind, message = shared.run("failing", place=place, model=model, streams=True)
    assert (kind, message) == (
        "ServiceFault",
        "the model streams its answers in a way that cannot be called from inside Triton",
    )


@pytest.mark.parametrize(("name", "error"), [("x", InvalidInput), ("orchestrator-answers-x", CallCancelled)])
def test_a_client_of_triton_cannot_have_answers_sent_elsewhere(
    shared: Running, name: str, error: type[CallError]
) -> None:
    async def once() -> None:
        backend = TritonBackend(shared.server.grpc_url)
        try:
            request = InferRequest("stream", {"x": np.zeros(1, np.int64)}, {"answers_to": name}, timeout_s=20)
            async for _ in backend.stream(request):
                pass
        finally:
            await backend.close()

    with pytest.raises(error):
        asyncio.run(once())


@both
def test_an_answer_on_a_stream_costs_little_more(shared: Running, place: str) -> None:
    plain_s, stream_s = shared.run("pace", place=place, calls=300)
    print(f"{place}: {plain_s * 1e3:.2f} ms a call with one answer, {stream_s * 1e3:.2f} ms as a stream of one")
    assert stream_s < 10 * plain_s


def test_many_streams_at_once(shared: Running) -> None:
    wrong, seconds = shared.run("whole", streams=50, count=100)
    assert wrong == []
    print(f"50 streams of 100 chunks at once: {seconds:.2f} s")
    wrong, seconds = shared.run("whole", streams=50, count=10, first_ms=500)
    assert wrong == []
    print(f"50 streams that begin after 0.5 s: {seconds:.2f} s")
    assert seconds < 10  # one after the other they would take 25


def test_short_streams_do_not_wear_it_out(shared: Running) -> None:
    """Triton's own way for several answers ends the calling process within seconds of this."""
    wrong, seconds = shared.run("whole", streams=32, rounds=100, count=2)
    assert wrong == []
    print(f"3200 streams of 2 chunks, 32 at once: {seconds:.2f} s")
    rounds = [shared.run("failing_after", count=3, error_at=1)[0] for _ in range(20)]
    assert rounds == [[0]] * 20


@both
def test_a_long_stream_takes_no_memory(shared: Running, place: str) -> None:
    seen, before, after, seconds = shared.run("long", place=place, count=100_000)
    print(f"{place}: {seen} chunks in {seconds:.1f} s, {before} kB after a tenth of them and {after} kB after all")
    assert seen == 100_000
    assert after - before < 10_000  # all of them are 5 MB of content, and take 170 MB by Triton's own way


@both
def test_a_worker_waits_for_who_reads_slowly(shared: Running, place: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    shared.run("slowly", place=place, mark=str(mark))
    made = int(eventually(lambda: mark.exists() and mark.read_text()))
    print(f"{place}: {made} chunks were made where 5 were read")
    assert 5 <= made < 2000


@pytest.mark.parametrize(("place", "streams"), [("on_loop", 50), ("in_place", 1)])
def test_streams_that_are_left_end(shared: Running, place: str, streams: int, tmp_path: Path) -> None:
    told, ended = shared.run("abandoned", place=place, streams=streams, marks=str(tmp_path))
    assert (told, ended) == ((streams, streams) if place == "on_loop" else (0, 0))
    made = eventually(lambda: len(list(tmp_path.iterdir())) == streams and [*map(_number, tmp_path.iterdir())])
    assert max(made) < 3000
    assert shared.run("whole", place=place, streams=1, count=10)[0] == []


def _number(path: Path) -> int:
    return int(path.read_text() or 0)


@both
@pytest.mark.parametrize("parameters", [{"sleep_us": 1000}, {}, {"first_ms": 5000}], ids=["slow", "fast", "silent"])
def test_a_stream_that_is_out_of_time_ends(
    shared: Running, place: str, parameters: dict[str, int], tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    error, seconds = shared.run("out_of_time", place=place, mark=str(mark), **parameters)
    assert error == ["DeadlineExceeded", "the model did not answer in time"]
    assert seconds < 3
    eventually(mark.exists)


# --- the deaths ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "streams"), [("on_loop", 20), ("in_place", 1)])
def test_a_stream_whose_worker_dies_is_an_error(broken: Running, place: str, streams: int, tmp_path: Path) -> None:
    died = ["BackendUnavailable", "the model's worker process has died"]
    mark = tmp_path / "mark"
    worker = broken.worker("stream")
    killed = 0.0

    def kill() -> None:
        nonlocal killed
        eventually(mark.exists)
        killed = time.monotonic()
        worker.send_signal(signal.SIGKILL)

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill)
        errors = broken.run("many_until", place=place, streams=streams, mark=str(mark))
        seconds = time.monotonic() - killed
        killing.result()
    assert errors == [died] * streams
    print(f"{place}: {streams} readers were told of the death within {seconds:.3f} s")
    assert seconds < 5
    assert broken.run("failing_after", place=place, count=3) == [[], died]  # it is dead for good
    broken.load("stream")
    assert broken.run("failing_after", place=place, count=3, die_at=2) == [[0, 1], died]
    broken.load("stream")
    assert broken.run("failing_after", place=place, count=3) == [[0, 1, 2], None]
    worker = broken.worker("stream")
    with ThreadPoolExecutor(1) as pool:
        silent = pool.submit(broken.run, "failing_after", place=place, count=3, first_ms=30_000)
        time.sleep(0.5)
        worker.send_signal(signal.SIGKILL)
        assert silent.result(10) == [[], died]  # nothing has come from it yet


def test_a_worker_goes_on_when_its_callers_die(broken: Running, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    caller, worker = broken.worker("on_loop"), broken.worker("stream")
    files = worker.num_fds()

    def kill() -> None:
        eventually(mark.exists)
        caller.send_signal(signal.SIGKILL)

    with ThreadPoolExecutor(2) as pool:
        killing = pool.submit(kill)
        calling = pool.submit(broken.run, "many_until", timeout_s=3, streams=40, mark=str(mark))
        killing.result()
        for _ in range(3):
            assert broken.run("whole", place="in_place", streams=1, count=500)[0] == []
        with pytest.raises(CallError):
            calling.result()
    eventually(lambda: worker.num_fds() <= files)
    broken.load("on_loop")
    assert broken.run("whole", streams=40, count=50)[0] == []


@both
def test_a_call_that_met_a_dead_worker_waits_for_the_next(broken: Running, place: str) -> None:
    broken.worker("plain").send_signal(signal.SIGKILL)
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(broken.run, "echo", place=place)
        time.sleep(0.5)
        assert not calling.done()
        broken.load("plain")
        assert calling.result()[0] == [0, 2, 4]
    began = time.monotonic()
    assert broken.run("failing", place=place, die=True) == ["BackendUnavailable", "the model's worker process has died"]
    assert time.monotonic() - began < 3.5  # it has begun, and is not given to another
