"""The `Backend` over Triton's gRPC."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from orchestrator.engine.backend import InferRequest, InferResponse
from orchestrator.errors import BackendUnavailable
from orchestrator.triton.channel import open_channel
from orchestrator.triton.faults import from_status
from orchestrator.triton.messages import decode_response, encode_request, is_final, parse_response

__all__ = ["TritonBackend"]

_SERVICE = "/inference.GRPCInferenceService/"
_READY_S = 2.0


class TritonBackend:
    """Runs inferences on a Triton server (implements `engine.backend.Backend`).

    It belongs to the event loop of its first call, and connects then.

    Args:
        grpc_url: `host:port`.
    """

    def __init__(self, grpc_url: str) -> None:
        self._url = grpc_url
        self._channel: Any = None
        self._closed = False

    async def infer(self, request: InferRequest) -> InferResponse:
        """Runs a model that gives one answer. Fixed-size outputs are read-only arrays.

        Raises:
            CallError: see `Backend`.
        """
        data = encode_request(request)
        try:
            return await self._call("ModelInfer")(data, timeout=request.timeout_s)  # type: ignore[no-any-return]
        except grpc.aio.AioRpcError as exc:
            raise from_status(exc.code(), exc.details() or "") from None
        except asyncio.CancelledError:
            self._raise_if_closed()
            raise

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        """Runs a model that gives any number of answers, over a connection's stream of its own.

        Closing the generator cancels the inference. `request.timeout_s` is for the whole stream.

        Raises:
            CallError: see `Backend`.
        """
        data = encode_request(request, stream=True)

        # One message and then the end: Triton closes its side after the last answer.
        call = self._call("ModelStreamInfer")(
            iter((data,)),
            timeout=request.timeout_s,
            # Without it an error in mid-stream comes as a text without a code.
            metadata=(("triton_grpc_error", "true"),),
        )
        try:
            async for message in call:
                if message.error_message:
                    raise from_status(*await self._end_of(call, message.error_message))
                answer = message.infer_response
                if answer.outputs:
                    yield decode_response(answer)
                if is_final(answer) or not answer.outputs:
                    return
        except grpc.aio.AioRpcError as exc:
            raise from_status(exc.code(), exc.details() or "") from None
        except asyncio.CancelledError:
            self._raise_if_closed()
            raise
        finally:
            call.cancel()

    async def ready(self, model: str) -> bool:
        """Whether Triton says that the model is loaded. It says so with a dead worker, too: probe to be sure."""
        try:
            answer = await self._call("ModelReady")(
                service_pb2.ModelReadyRequest(name=model).SerializeToString(), timeout=_READY_S
            )
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
        if self._channel is not None:
            await self._channel.close()
