"""The `Backend` over Triton's gRPC."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from orchestrator.engine.backend import InferRequest, InferResponse
from orchestrator.errors import BackendUnavailable
from orchestrator.triton.channel import open_channel
from orchestrator.triton.faults import from_status
from orchestrator.triton.messages import decode_response, encode_request, parse_response

__all__ = ["TritonBackend"]

_SERVICE = "/inference.GRPCInferenceService/"
_READY_S = 2.0
_SETTLE_S = 0.05


class TritonBackend:
    """Runs inferences on a Triton server (implements `engine.backend.Backend`).

    It belongs to the event loop of its first call, and connects then.

    Args:
        grpc_url: `host:port`.
    """

    def __init__(self, grpc_url: str) -> None:
        self._url = grpc_url
        self._calls: _Calls | None = None
        self._closed = False

    async def open(self) -> None:
        """Nothing to do: the connection is made with the first call."""

    async def infer(self, request: InferRequest) -> InferResponse:
        """Runs a model that gives one answer. Fixed-size outputs are read-only arrays.

        Raises:
            CallError: see `Backend`.
        """
        data = encode_request(request)
        try:
            answer: bytes = await self._open().infer(data, timeout=request.timeout_s)
        except grpc.aio.AioRpcError as exc:
            error = from_status(exc.code(), exc.details() or "")
            raise error from error.__cause__
        except asyncio.CancelledError:
            self._raise_if_closed()
            raise
        return parse_response(answer)

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        """Runs a model that gives any number of answers, over a connection's stream of its own.

        Closing the generator cancels the inference. `request.timeout_s` is for the whole stream.

        Raises:
            CallError: see `Backend`.
        """
        # One message and then the end: Triton closes its side after the last answer.
        call = self._open().stream(
            iter((encode_request(request),)),
            timeout=request.timeout_s,
            # Not with the metadata triton_grpc_error: it gives an error a code, and crashes Triton 24.10 once in some
            # hundred errors. The text suffices: our worker's says which error it is, and Triton's own are known.
        )
        try:
            async for message in call:
                if message.error_message:
                    await _settle(call)
                    raise from_status(grpc.StatusCode.UNKNOWN, message.error_message)
                answer = message.infer_response
                if answer.outputs:
                    yield decode_response(answer)
        except GeneratorExit:
            await _settle(call)
            raise
        except grpc.aio.AioRpcError as exc:
            error = from_status(exc.code(), exc.details() or "")
            raise error from error.__cause__
        except asyncio.CancelledError:
            self._raise_if_closed()
            raise
        finally:
            call.cancel()  # does nothing to a stream that has ended

    async def ready(self, model: str) -> bool:
        """Whether Triton says that the model is loaded. It says so with a dead worker, too: probe to be sure."""
        try:
            answer = await self._open().ready(service_pb2.ModelReadyRequest(name=model), timeout=_READY_S)
        except (grpc.aio.AioRpcError, BackendUnavailable):
            return False
        except asyncio.CancelledError:
            if self._closed:
                return False
            raise
        return bool(answer.ready)

    async def close(self) -> None:
        """Closes the connection; calls in flight fail with `BackendUnavailable`."""
        self._closed = True
        if self._calls is not None:
            await self._calls.channel.close()

    def _open(self) -> "_Calls":
        if self._closed:
            raise BackendUnavailable("the connection to Triton is closed")
        if self._calls is None:
            self._calls = _Calls(open_channel(self._url))
        return self._calls

    def _raise_if_closed(self) -> None:
        """Tells our own `close`, which gRPC reports as a cancellation, from one of the caller's task."""
        task = asyncio.current_task()
        if self._closed and task is not None and not task.cancelling():
            raise BackendUnavailable("the connection to Triton was closed during the call")


async def _settle(call: Any) -> None:
    """Lets a stream that is about to end do so.

    A cancellation that crosses the end of a stream leaves its request in flight in Triton for ever, and the server's
    exit then takes its whole time limit (24.10). Who closes a stream has often just read its last answer.
    """
    with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError):
        async with asyncio.timeout(_SETTLE_S):
            async for _ in call:
                pass


class _Calls:
    """A channel and the three methods that are called over it."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        # No serializers where `messages.py` does it; gRPC would also swallow what they raise.
        self.infer = channel.unary_unary(f"{_SERVICE}ModelInfer")
        self.stream = channel.stream_stream(
            f"{_SERVICE}ModelStreamInfer", response_deserializer=service_pb2.ModelStreamInferResponse.FromString
        )
        self.ready = channel.unary_unary(
            f"{_SERVICE}ModelReady",
            request_serializer=service_pb2.ModelReadyRequest.SerializeToString,
            response_deserializer=service_pb2.ModelReadyResponse.FromString,
        )
