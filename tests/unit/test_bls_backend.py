"""Calls from inside Triton, with a stand-in for what only Triton's worker process has; the real one is in tests/e2e."""

import asyncio
import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from orchestrator.engine.answers import ANSWERS_PARAMETER, Answers
from orchestrator.engine.backend import InferRequest
from orchestrator.engine.board import BOARD_VARIABLE, BoardReader, create_board
from orchestrator.engine.heartbeat import SERVER_ID_VARIABLE
from orchestrator.engine.lifetime import CALL_PARAMETER
from orchestrator.errors import BackendUnavailable, DeadlineExceeded, ServiceFault
from orchestrator.worker.executor import drive

REQUEST = InferRequest("m", {"x": np.zeros(1)}, {"a": 1})
CODES = ("UNKNOWN", "INTERNAL", "NOT_FOUND", "INVALID_ARG", "UNAVAILABLE", "UNSUPPORTED", "ALREADY_EXISTS", "CANCELLED")


class Response:
    def __init__(self, error: str | None = None) -> None:
        self._error = error

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> Any:
        return SimpleNamespace(code=lambda: 1, message=lambda: self._error)

    def output_tensors(self) -> list[Any]:
        return [SimpleNamespace(name=lambda: "y", as_numpy=lambda: np.ones(1))]


class Triton:
    """What Triton does with requests: `serve` answers them, in the threads that call."""

    def __init__(self) -> None:
        self.serve: Callable[[Any], Response] = lambda request: Response()
        self.requests: list[Any] = []

    def module(self) -> ModuleType:
        triton = self

        class InferenceRequest(SimpleNamespace):
            def exec(self, decoupled: bool = False) -> Any:
                triton.requests.append(self)
                response = triton.serve(self)
                return iter([response]) if decoupled else response

        module = ModuleType("triton_python_backend_utils")
        module.__dict__.update(
            InferenceRequest=InferenceRequest,
            Tensor=lambda name, array: array,
            PreferredMemory=lambda kind: kind,
            TRITONSERVER_MEMORY_CPU=0,
            TritonModelException=RuntimeError,
            TritonError=SimpleNamespace(**{name: code for code, name in enumerate(CODES)}),
        )
        return module


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Triton]:
    stand_in = Triton()
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stand_in.module())
    create_board(tmp_path / "calls")
    monkeypatch.setenv(BOARD_VARIABLE, str(tmp_path / "calls"))
    monkeypatch.delenv(SERVER_ID_VARIABLE, raising=False)
    yield stand_in
    for name in ("bls", "bls_calls"):
        sys.modules.pop(f"orchestrator.worker.{name}", None)


@pytest.fixture
def bls(triton: Triton) -> Any:
    for name in ("bls", "bls_calls"):
        sys.modules.pop(f"orchestrator.worker.{name}", None)
    return importlib.import_module("orchestrator.worker.bls")


@pytest.fixture
def calls(bls: Any) -> Iterator[Any]:
    calls = bls.BlsCalls()
    calls.start()
    yield calls
    calls.stop()


def test_no_call_before_the_start_and_after_the_stop(bls: Any, triton: Triton) -> None:
    backend = bls.BlockingBlsBackend()
    for _ in range(2):
        for call in (backend.infer(REQUEST), anext(backend.stream(REQUEST))):
            with pytest.raises(ServiceFault, match="m was called while the service starts or stops"):
                drive(_awaited(call))
        assert drive(backend.ready("m")) is False
        backend.start()
        backend.stop()
    assert triton.requests == []


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


@pytest.mark.parametrize("failure", [None, "a secret"])
def test_a_call_is_on_the_board_until_its_end(
    bls: Any, calls: Any, triton: Triton, tmp_path: Path, failure: str | None
) -> None:
    reader = BoardReader(tmp_path / "calls")
    waited = []

    def serve(request: Any) -> Response:
        waited.append(not reader.left(request.parameters[CALL_PARAMETER]))
        return Response(failure)

    triton.serve = serve
    if failure is None:
        drive(bls.BlockingBlsBackend(calls).infer(REQUEST))
    else:
        with pytest.raises(ServiceFault):
            drive(bls.BlockingBlsBackend(calls).infer(REQUEST))
    (request,) = triton.requests
    assert waited == [True]
    assert request.parameters["a"] == 1
    assert reader.left(request.parameters[CALL_PARAMETER])


@pytest.mark.parametrize("board", [None, "nowhere"])
def test_a_call_without_a_board_goes_without(
    bls: Any, triton: Triton, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, board: str | None
) -> None:
    if board is None:
        monkeypatch.delenv(BOARD_VARIABLE)
    else:
        monkeypatch.setenv(BOARD_VARIABLE, str(tmp_path / board))
    backend = bls.BlockingBlsBackend()
    backend.start()
    drive(backend.infer(REQUEST))
    assert triton.requests[0].parameters == {"a": 1}
    backend.stop()


def test_many_threads_share_the_board(bls: Any, calls: Any, triton: Triton) -> None:
    backend = bls.BlockingBlsBackend(calls)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: drive(backend.infer(REQUEST)), range(400)))
    numbers = [request.parameters[CALL_PARAMETER] for request in triton.requests]
    assert len(set(numbers)) == 400
    assert len({request.request_id for request in triton.requests}) == 400


@pytest.mark.parametrize("on_loop", [True, False])
def test_who_has_no_time_left_is_released_at_once(bls: Any, calls: Any, triton: Triton, on_loop: bool) -> None:
    release = threading.Event()
    triton.serve = lambda request: (release.wait(20), Response())[1]
    running: list[Any] = []
    late = InferRequest("m", {}, timeout_s=0.1, runs_on=running.append)

    async def ask() -> None:
        with pytest.raises(DeadlineExceeded):
            await bls.BlsBackend(calls).infer(late)
        (ending,) = running
        assert not ending.done()
        release.set()
        await asyncio.wait_for(ending, 5)

    began = time.monotonic()
    if on_loop:
        asyncio.run(ask())
    else:
        with pytest.raises(DeadlineExceeded):
            drive(bls.BlockingBlsBackend(calls).infer(late))
        release.set()
    assert time.monotonic() - began < 10


def test_a_call_that_waits_for_a_thread_is_never_made_when_its_caller_goes(bls: Any, triton: Triton) -> None:
    release = threading.Event()
    triton.serve = lambda request: (release.wait(20), Response())[1]

    async def ask() -> None:
        backend = bls.BlsBackend()
        backend.start()
        running = [asyncio.create_task(backend.infer(REQUEST)) for _ in range(bls.MODEL_CALLS)]
        await asyncio.sleep(0.1)
        assert len(triton.requests) == bls.MODEL_CALLS
        told: list[Any] = []
        with pytest.raises(DeadlineExceeded):
            await backend.infer(InferRequest("m", {}, timeout_s=0.05, runs_on=told.append))
        left = asyncio.create_task(backend.infer(REQUEST))
        stays = asyncio.create_task(backend.infer(REQUEST))
        await asyncio.sleep(0.05)
        left.cancel()
        await asyncio.wait((left,))
        backend.stop()
        with pytest.raises(BackendUnavailable, match="stops"):
            await stays
        release.set()
        await asyncio.gather(*running)
        assert told == []
        assert len(triton.requests) == bls.MODEL_CALLS

    asyncio.run(ask())


@pytest.mark.parametrize("on_loop", [True, False])
def test_a_stream_that_begins_too_late_finds_nobody(bls: Any, calls: Any, triton: Triton, on_loop: bool) -> None:
    release = threading.Event()
    connected: list[Answers] = []

    def serve(request: Any) -> Response:
        release.wait(20)
        answers = Answers.to_caller(request.parameters)
        assert answers is not None
        connected.append(answers)
        return Response()

    triton.serve = serve
    late = InferRequest("m", {}, timeout_s=0.05)

    async def ask(backend: Any) -> None:
        with pytest.raises(DeadlineExceeded):
            await anext(backend.stream(late))

    if on_loop:
        asyncio.run(ask(bls.BlsBackend(calls)))
    else:
        drive(ask(bls.BlockingBlsBackend(calls)))
    release.set()
    calls.pool.shutdown()
    assert connected[0].gone()
    connected[0].close()
    assert ANSWERS_PARAMETER in triton.requests[0].parameters


def test_a_call_that_met_a_dead_worker_is_repeated_for_as_long_as_somebody_waits(
    bls: Any, calls: Any, triton: Triton, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = Response("Stub process 'm_0_0' is not healthy.")
    monkeypatch.setattr(calls, "_may_have_begun", lambda request_id: False)
    triton.serve = lambda request: died if len(triton.requests) < 3 else Response()
    backend = bls.BlockingBlsBackend(calls)
    assert list(drive(backend.infer(REQUEST)).outputs) == ["y"]
    assert len(triton.requests) == 3
    assert len({request.request_id for request in triton.requests}) == 1
    triton.serve = lambda request: died
    began = time.monotonic()
    with pytest.raises(BackendUnavailable, match="has died"):
        drive(backend.infer(InferRequest("m", {}, timeout_s=0.3)))
    assert time.monotonic() - began < 1.5
    monkeypatch.setattr(calls, "_may_have_begun", lambda request_id: True)
    triton.requests.clear()
    with pytest.raises(BackendUnavailable):
        drive(backend.infer(REQUEST))
    assert len(triton.requests) == 1
