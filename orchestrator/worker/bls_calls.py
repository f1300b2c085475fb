"""Requests from a worker to the Triton that it belongs to (BLS). Only in a worker: `triton_python_backend_utils` is there."""

import contextlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import triton_python_backend_utils as pb_utils

from orchestrator.engine.answers import ANSWERS_PARAMETER, Listener
from orchestrator.engine.backend import InferRequest, Tensors
from orchestrator.engine.board import BOARD_VARIABLE, CallBoard
from orchestrator.engine.faults import WORKER_DIED, error_of_status
from orchestrator.engine.heartbeat import SERVER_ID_VARIABLE, was_begun
from orchestrator.engine.lifetime import CALL_PARAMETER
from orchestrator.errors import BackendUnavailable, ServiceFault

__all__ = ["MODEL_CALLS", "BlsCalls"]

T = TypeVar("T")
MODEL_CALLS: Final = 28
"""Calls of one worker: each holds a thread while it waits. Triton has 32 for one, and the worker's own answers, where it has
an event loop, need some of them, too."""
_AGAIN_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses before a call is made again that met a dead worker."""
_STATUSES: Final = {"INVALID_ARG": "INVALID_ARGUMENT", "UNSUPPORTED": "UNIMPLEMENTED"}
"""Triton's word -> gRPC's, where they differ."""


class BlsCalls:
    """What the calls of one worker have in common: a pool of threads, and a region of the cancel board.

    Triton allows calls only while the worker answers calls: not while it starts or stops. Safe for any thread.

    Attributes:
        pool: threads to wait in.
        serving: whether calls are possible.
    """

    def __init__(self) -> None:
        self.serving = False
        self.pool = ThreadPoolExecutor(MODEL_CALLS, thread_name_prefix="orchestrator-model")
        self._server_id = os.environ.get(SERVER_ID_VARIABLE)
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._board: CallBoard | None = None
        self._board_path = os.environ.get(BOARD_VARIABLE)
        codes = (
            "UNKNOWN",
            "INTERNAL",
            "NOT_FOUND",
            "INVALID_ARG",
            "UNAVAILABLE",
            "UNSUPPORTED",
            "ALREADY_EXISTS",
            "CANCELLED",
        )
        self._codes = {getattr(pb_utils.TritonError, name): _STATUSES.get(name, name) for name in codes}

    def start(self) -> None:
        """From now on calls are possible."""
        self.serving = True

    def stop(self) -> None:
        """No call begins any more; none is waited for."""
        self.serving = False
        self.pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._board_path = None
            if self._board is not None:
                self._board.close()
                self._board = None

    def check(self, model: str) -> None:
        """Lets a call through.

        Raises:
            ServiceFault: the worker starts or stops.
        """
        if not self.serving:
            raise ServiceFault(
                f"{model} was called while the service starts or stops, when nothing runs it",
                hint="call it in an API",
            )

    @contextlib.contextmanager
    def entered(self) -> Iterator[int]:
        """Inside, a call is on the cancel board: its caller waits. Gives its number; 0 where it is on none."""
        with self._lock:
            board = self._opened()
            number = board.enter() if board is not None else 0
        try:
            yield number
        finally:
            with self._lock:
                if board is not None and board is self._board:
                    board.leave(number)

    def answer(self, request: InferRequest, number: int = 0) -> Tensors:
        """Runs a model that gives one answer, and blocks until it is there.

        Args:
            number: the call's on the cancel board; 0 where it is on none.

        Raises:
            CallError: see `Backend`.
        """
        parameters = _parameters(request, number)

        def once(request_id: str) -> tuple[Any, Any]:
            response = self._message(request, request_id, parameters).exec()
            return response, response

        response = self._asked(request, once)
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}

    def begin(self, request: InferRequest, number: int = 0, *, decoupled: bool) -> socket.socket:
        """Has a service begin a call that it answers past Triton, and blocks until its worker has the request.

        Args:
            number: the call's on the cancel board; 0 where it is on none.
            decoupled: its model is.

        Returns:
            Where its frames arrive (`engine/frames.py`); does not block. An end without the last frame: the worker has died.

        Raises:
            CallError: see `Backend`.
        """

        def once(request_id: str) -> tuple[Any, socket.socket | None]:
            with Listener() as listener:
                parameters = {**_parameters(request, number), ANSWERS_PARAMETER: listener.name}
                message = self._message(request, request_id, parameters)
                # Always to its end: what is left unread stays in flight, and can end this process.
                responses = list(message.exec(decoupled=True)) if decoupled else [message.exec()]
                failed = next((each for each in responses if each.has_error()), None)
                return (failed, None) if failed is not None else (responses[-1], listener.accept())

        connected = self._asked(request, once)
        assert connected is not None
        return connected

    def is_ready(self, model: str) -> bool:
        """Whether Triton says that a model is loaded. It says so with a dead worker, too."""
        try:
            return self.serving and bool(pb_utils.is_model_ready(model))
        except pb_utils.TritonModelException:
            return False

    def _asked(self, request: InferRequest, once: Callable[[str], tuple[Any, T]]) -> T:
        """Makes a call until it has met a living worker.

        Args:
            once: makes it under a request's id; the response, and what to return where that is no error.
        """
        self.check(request.model)
        end = None if request.timeout_s is None else time.monotonic() + request.timeout_s
        request_id = request.request_id or f"{os.getpid()}-{next(self._numbers)}"
        for pause_s in (*_AGAIN_S, None):
            try:
                response, result = once(request_id)
            except pb_utils.TritonModelException as error:
                raise BackendUnavailable(f"{request.model}: Triton takes no call: {error}") from error
            if not response.has_error():
                return result
            failure = response.error()
            late = pause_s is None or (end is not None and time.monotonic() + pause_s > end)
            # A worker that has died is replaced soon. What it had begun is not given to the next: it may have been why.
            if late or not WORKER_DIED.search(failure.message()) or self._may_have_begun(request_id):
                raise error_of_status(self._codes.get(failure.code(), "UNKNOWN"), failure.message())
            time.sleep(pause_s or 0)
        raise AssertionError("the last try has no pause")

    def _may_have_begun(self, request_id: str) -> bool:
        return self._server_id is None or was_begun(self._server_id, request_id)

    def _message(self, request: InferRequest, request_id: str, parameters: Mapping[str, str | int | bool]) -> Any:
        return pb_utils.InferenceRequest(
            request_id=request_id,
            model_name=request.model,
            inputs=[pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in request.inputs.items()],
            requested_output_names=list(request.outputs),
            # Also of a model on a GPU: numpy has no other.
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
            parameters=dict(parameters),
        )

    def _opened(self) -> CallBoard | None:
        if self._board is None and self._board_path:
            path, self._board_path = Path(self._board_path), None
            with contextlib.suppress(OSError):  # of a Triton elsewhere, or it is full: such calls go without
                self._board = CallBoard(path)
        return self._board


def _parameters(request: InferRequest, number: int) -> dict[str, str | int | bool]:
    return {**request.parameters, CALL_PARAMETER: number} if number else dict(request.parameters)
