"""The `Backend` over Triton's gRPC, and over its HTTP where that will do."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from orchestrator.engine.answers import ANSWERS_PARAMETER, HELD_PARAMETER, Listener, chunks_of, drained, receive
from orchestrator.engine.backend import InferRequest, InferResponse, RunsOn
from orchestrator.engine.board import CallBoard
from orchestrator.errors import BackendUnavailable, CallError, DeadlineExceeded
from orchestrator.triton.calls import Calls
from orchestrator.triton.channel import open_channel
from orchestrator.triton.faults import from_status
from orchestrator.triton.http_calls import HttpCalls
from orchestrator.triton.http_messages import has_path
from orchestrator.triton.messages import decode_response, encode_request, parse_response

__all__ = ["TritonBackend"]

_SERVICE = "/inference.GRPCInferenceService/"
_READY_S = 2.0
_CLOSE_S = 1.0
_ERROR_S = 0.1
_HELD_S = 0.002
"""How long one stream may keep the event loop from everything else."""


class TritonBackend:
    """Runs inferences on a Triton server (implements `engine.backend.Backend`).

    It belongs to the event loop of its first call, and connects then.

    Args:
        grpc_url: `host:port`.
        board: file of the cancel board that this server's workers read; None where they are on another machine, or where
            no service's model is called.
        http_url: as `http://127.0.0.1:8000`; single answers come over it where the call is on the board, in half the time
            of this process. None where there is only gRPC.
    """

    def __init__(self, grpc_url: str, *, board: Path | None = None, http_url: str | None = None) -> None:
        self._url = grpc_url
        self._board_path = board
        self._http = None if http_url is None else HttpCalls(http_url)
        self._connection: _Connection | None = None
        self._closed = False

    async def open(self) -> None:
        """Nothing to do: the connection is made with the first call."""

    async def infer(self, request: InferRequest) -> InferResponse:
        """Runs a model that gives one answer. Fixed-size outputs are read-only arrays.

        Who is cancelled while waiting, or runs out of time, is released at once. The worker reads it from the cancel board;
        where there is none Triton is told, a second later.

        Raises:
            CallError: see `Backend`.
        """
        connection = self._open()
        number = connection.enter()
        try:
            if self._http is not None and number and self._http.has_room and has_path(request.model):
                return await self._http.infer(request, number)
            call = connection.infer(encode_request(request, number))
            answer = await connection.calls.answer(call, request.timeout_s, told=number != 0, runs_on=request.runs_on)
        except grpc.aio.AioRpcError as exc:
            error = from_status(exc.code(), exc.details() or "")
            raise error from error.__cause__
        finally:
            connection.leave(number)
        return parse_response(answer)

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        """Runs a model that gives any number of answers, over a stream of its own.

        Closing the generator ends the inference soon after. `request.timeout_s` is for the whole stream. A worker on this
        machine waits for who is slow to ask for the next answer; any other one goes on, and Triton keeps its answers.

        Raises:
            CallError: see `Backend`.
        """
        if request.many and self._board_path is not None:
            async with contextlib.aclosing(self._stream_directly(request)) as responses:
                async for response in responses:
                    yield response
            return
        # One message and then the end: Triton closes its side after the last answer. No metadata triton_grpc_error: it
        # would give an error a code, and crashes Triton 24.10 once in some hundred errors. The text suffices: our
        # worker's says which error it is, and Triton's own are known.
        connection = self._open()
        number, taken = connection.enter(), 0
        try:
            call = connection.stream(iter((encode_request(request, number),)))
            reading = connection.calls.parts(call, request.timeout_s, told=number != 0, runs_on=request.runs_on)
            async with contextlib.aclosing(reading) as parts:
                async for message in parts:
                    if message.error_message:
                        await _end_of(parts)
                        raise from_status(grpc.StatusCode.UNKNOWN, message.error_message)
                    if message.infer_response.outputs:  # the last one may have none
                        yield decode_response(message.infer_response)
                        taken += 1
                        connection.consumed(number, taken)
        except grpc.aio.AioRpcError as exc:
            error = from_status(exc.code(), exc.details() or "")
            raise error from error.__cause__
        finally:
            connection.leave(number)

    async def _stream_directly(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        """The same past Triton, which would keep every answer until the end (`engine/answers.py`)."""
        connection = self._open()
        number = connection.enter()
        end = None if request.timeout_s is None else time.monotonic() + request.timeout_s
        rests = _Rests(request.runs_on)
        try:
            with Listener() as listener:
                named = {**request.parameters, ANSWERS_PARAMETER: listener.name, HELD_PARAMETER: True}
                begun = connection.stream(iter((encode_request(replace(request, parameters=named), number),)))
                reading = connection.calls.parts(begun, request.timeout_s, told=number != 0, runs_on=rests.add)
                async with contextlib.aclosing(reading) as parts:
                    async for message in parts:
                        if message.error_message:
                            raise from_status(grpc.StatusCode.UNKNOWN, message.error_message)
                        break  # Triton hears of the end, too: a stream of a service that calls others
                    connected = listener.accept()
                    listener.close()
                    async with contextlib.aclosing(self._chunks(connection, connected, end, rests)) as responses:
                        async for response in responses:
                            yield response
        except grpc.aio.AioRpcError as exc:
            error = from_status(exc.code(), exc.details() or "")
            raise error from error.__cause__
        finally:
            connection.leave(number)

    async def _chunks(
        self, connection: "_Connection", connected: socket.socket, end: float | None, rests: "_Rests"
    ) -> AsyncGenerator[InferResponse, None]:
        connection.streams.add(connected)
        ended, turn_at = False, time.monotonic() + _HELD_S
        try:
            async with contextlib.aclosing(chunks_of(partial(connection.received, connected, end))) as chunks:
                async for chunk in chunks:
                    yield InferResponse(chunk)
                    if time.monotonic() >= turn_at:  # thousands of chunks may be there already
                        await asyncio.sleep(0)
                        turn_at = time.monotonic() + _HELD_S
            ended = True
        except CallError as failure:
            ended = not isinstance(failure, DeadlineExceeded)
            raise
        finally:
            connection.streams.discard(connected)
            rests.ended = ended
            if ended:
                connected.close()
            else:
                rest = asyncio.ensure_future(drained(connected))
                rest.add_done_callback(lambda _: connected.close())  # also where it was cancelled before it had begun
                connection.keep(rest)
                rests.add(rest)

    async def server_ready(self) -> bool:
        """Whether the server takes calls now."""
        data = service_pb2.ServerReadyRequest().SerializeToString()
        try:
            connection = self._open()
            answer = await connection.calls.answer(connection.server_ready(data), _READY_S)
        except (grpc.aio.AioRpcError, CallError):
            return False
        return bool(service_pb2.ServerReadyResponse.FromString(answer).ready)

    async def ready(self, model: str) -> bool:
        """Whether Triton says that the model is loaded. It says so with a dead worker, too: probe to be sure."""
        data = service_pb2.ModelReadyRequest(name=model).SerializeToString()
        try:
            connection = self._open()
            answer = await connection.calls.answer(connection.ready(data), _READY_S)
        except (grpc.aio.AioRpcError, CallError):
            return False
        return bool(service_pb2.ModelReadyResponse.FromString(answer).ready)

    async def close(self) -> None:
        """Closes the connection; calls in flight fail with `BackendUnavailable`. It takes up to a second."""
        self._closed = True
        async with asyncio.TaskGroup() as closing:
            if self._http is not None:
                closing.create_task(self._http.close())
            if self._connection is not None:
                closing.create_task(self._connection.close())

    def _open(self) -> "_Connection":
        if self._closed:
            raise BackendUnavailable("the connection to Triton is closed")
        if self._connection is None:
            self._connection = _Connection(open_channel(self._url), self._board_path)
        return self._connection


class _Rests:
    """What is left to do of a stream that was left.

    Args:
        runs_on: see `InferRequest`.

    Attributes:
        ended: it has run to its end, or its worker has died: nothing is left, whatever Triton still has to say.
    """

    def __init__(self, runs_on: RunsOn | None) -> None:
        self.ended = False
        self._runs_on = runs_on

    def add(self, rest: "asyncio.Future[None]") -> None:
        if not self.ended and self._runs_on is not None:
            self._runs_on(rest)


async def _end_of(parts: AsyncGenerator[Any, None]) -> None:
    """Waits a moment for a stream's end behind its error: who leaves before holds a place that the next call may need."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_ERROR_S):
            async for _ in parts:
                pass


class _Connection:
    """A channel, the calls over it, and the three methods that are called.

    Attributes:
        streams: that go past Triton and are read.
    """

    def __init__(self, channel: Any, board: Path | None) -> None:
        self.channel = channel
        self.calls = Calls()
        self.streams: set[socket.socket] = set()
        self._closed = False
        self._board = None if board is None else CallBoard(board)
        # No serializers where `messages.py` does it; gRPC would also swallow what they raise.
        self.infer = channel.unary_unary(f"{_SERVICE}ModelInfer")
        self.ready = channel.unary_unary(f"{_SERVICE}ModelReady")
        self.server_ready = channel.unary_unary(f"{_SERVICE}ServerReady")
        self._rests: set[asyncio.Future[None]] = set()
        self.stream = channel.stream_stream(
            f"{_SERVICE}ModelStreamInfer", response_deserializer=service_pb2.ModelStreamInferResponse.FromString
        )

    def enter(self) -> int:
        """Enters a call on the board for as long as somebody waits for it.

        Returns:
            Its number; 0 where it is on none.
        """
        return 0 if self._board is None else self._board.enter()

    def leave(self, number: int) -> None:
        if self._board is not None:
            self._board.leave(number)

    def keep(self, rest: "asyncio.Future[None]") -> None:
        """The loop itself keeps no task alive."""
        self._rests.add(rest)
        rest.add_done_callback(self._rests.discard)

    def consumed(self, number: int, parts: int) -> None:
        """Lets the worker go on to so many parts and a window more."""
        if self._board is not None:
            self._board.consumed(number, parts)

    async def received(self, connected: socket.socket, end: float | None) -> bytes:
        """As `engine.answers.receive`, until this is closed.

        Raises:
            DeadlineExceeded: the caller's time is over.
            BackendUnavailable: `close` came first.
        """
        data = await receive(connected, end)
        if not data and self._closed:
            raise BackendUnavailable("the connection to Triton was closed during the call")
        return data

    async def close(self) -> None:
        self._closed = True
        for connected in self.streams:
            with contextlib.suppress(OSError):  # its worker has died
                connected.shutdown(socket.SHUT_RDWR)
        for rest in self._rests:
            rest.cancel()
        await asyncio.gather(*self._rests, return_exceptions=True)
        await self.calls.close()
        # Time to end for what is in flight, not to be cancelled in the moment of its end (see `calls.py`).
        await self.channel.close(grace=_CLOSE_S)
        if self._board is not None:
            self._board.close()
            self._board = None  # calls may end later
