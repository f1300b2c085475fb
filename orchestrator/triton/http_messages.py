"""Triton's inference messages over HTTP: our request -> head and body, an answer -> our response. No network in here.

A body is a JSON document and, behind it, the tensors as they lie in memory (Triton's binary tensor extension).
"""

import re
from typing import Any, Final

import grpc
import orjson

from orchestrator.engine.backend import InferRequest, InferResponse
from orchestrator.engine.lifetime import CALL_PARAMETER
from orchestrator.errors import CallError, ServiceFault
from orchestrator.triton.faults import from_status
from orchestrator.triton.tensors import datatype_of, pack, unpack

__all__ = ["encode_request", "error_of_answer", "has_path", "parse_response"]

_PATH_NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""Triton's statuses. 400 is also what it makes of UNKNOWN, ALREADY_EXISTS and CANCELLED, which only our workers send."""


def has_path(model: str) -> bool:
    """Whether Triton understands a model's name in a path: it does not decode what is escaped."""
    return _PATH_NAME.fullmatch(model) is not None


def encode_request(request: InferRequest, number: int, host: str) -> list[bytes | memoryview]:
    """A whole HTTP request in pieces: the head with the document, then the tensors, uncopied.

    Args:
        request: of a model that `has_path`.
        number: the call's on the cancel board.
        host: for the header of that name.

    Raises:
        InvalidInput: a tensor is of a type that Triton does not know.
    """
    inputs: list[dict[str, Any]] = []
    tensors: list[bytes | memoryview] = []
    size = 0
    for name, array in request.inputs.items():
        data = pack(name, array)
        inputs.append(
            {
                "name": name,
                "datatype": datatype_of(name, array),
                "shape": array.shape,
                "parameters": {"binary_data_size": len(data)},
            }
        )
        tensors.append(data)
        size += len(data)
    parameters = {**request.parameters, CALL_PARAMETER: number}
    document: dict[str, Any] = {"id": request.request_id, "inputs": inputs, "parameters": parameters}
    if request.outputs:
        document["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in request.outputs]
    else:
        parameters["binary_data_output"] = True
    content = orjson.dumps(document)
    head = (
        f"POST /v2/models/{request.model}/infer HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n"
        f"Inference-Header-Content-Length: {len(content)}\r\nContent-Length: {len(content) + size}\r\n\r\n"
    )
    return [head.encode() + content, *tensors]


def parse_response(body: bytes | memoryview, head_bytes: int | None) -> InferResponse:
    """The outputs of an answer.

    Args:
        body: `bytes`, whose tensors are copied out, so that they lie aligned; or a read-only view of a large body, which they
            become views of.
        head_bytes: length of the document in front of the tensors; None where it is all of it.

    Raises:
        ServiceFault: a tensor is not what the document says, or there is no such document.
    """
    at = len(body) if head_bytes is None else head_bytes
    outputs = {}
    try:
        for output in orjson.loads(body[:at])["outputs"]:
            size = output["parameters"]["binary_data_size"]
            name = output["name"]
            outputs[name] = unpack(name, output["datatype"], output["shape"], body[at : at + size])
            at += size
    except (KeyError, TypeError, ValueError) as error:
        raise ServiceFault(f"Triton's answer cannot be read: {type(error).__name__}: {error}") from error
    if at != len(body):
        raise ServiceFault(f"Triton announced {at} bytes and sent {len(body)}")
    return InferResponse(outputs)


def error_of_answer(status: int, body: bytes | memoryview) -> CallError:
    """The error of an answer that is none, as gRPC would have it: its `__cause__` is a `StatusCause`."""
    content = bytes(body)
    try:
        text = str(orjson.loads(content)["error"])
    except (KeyError, TypeError, ValueError):  # of Triton's HTTP library, which knows no JSON
        text = content.decode(errors="replace")
    return from_status(_CODES.get(status, grpc.StatusCode.UNKNOWN), text)
