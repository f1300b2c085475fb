"""Triton's HTTP messages, against what its gRPC messages say of the same tensors."""

import math
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from orchestrator import errors
from orchestrator.engine.backend import InferRequest, text_tensor
from orchestrator.engine.lifetime import CALL_PARAMETER
from orchestrator.errors import InvalidInput, ServiceFault
from orchestrator.triton import messages
from orchestrator.triton.faults import StatusCause, from_status
from orchestrator.triton.http_messages import encode_request, error_of_answer, has_path, parse_response
from orchestrator.triton.tensors import DATATYPES, datatype_of, pack

NUMBER = 2**62 + 1
HOST = "127.0.0.1:8000"
SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)


@st.composite
def tensors(draw: st.DrawFn) -> NDArray[Any]:
    name, shape = draw(st.sampled_from(sorted(DATATYPES))), draw(SHAPES)
    size = math.prod(shape)
    if name == "BYTES":
        items = draw(st.lists(st.binary(max_size=9), min_size=size, max_size=size))
        return text_tensor(*items).reshape(shape)
    dtype = DATATYPES[name]
    content = draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize))
    if name == "BOOL":
        content = bytes(each & 1 for each in content)
    array = np.frombuffer(content, dtype).reshape(shape)
    return array.T if draw(st.booleans()) else array


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
NAMED = st.dictionaries(NAMES, tensors(), max_size=3)
PARAMETERS = st.dictionaries(
    NAMES.filter(lambda name: name not in {CALL_PARAMETER, "binary_data_output"}),
    st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), NAMES),
    max_size=3,
)


def taken_apart(parts: list[bytes | memoryview]) -> tuple[str, dict[str, str], dict[str, Any], bytes]:
    """Request line, headers, document, tensors: as any HTTP server reads them."""
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    length = int(headers["Inference-Header-Content-Length"])
    assert int(headers["Content-Length"]) == len(body)
    return line, headers, orjson.loads(body[:length]), body[length:]


def same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and bytes(pack("", one)) == bytes(pack("", other))


@given(NAMED, PARAMETERS)
def test_a_request_says_what_that_of_grpc_says(inputs: Mapping[str, NDArray[Any]], parameters: dict[str, Any]) -> None:
    request = InferRequest("Service.api-1", inputs, parameters, "an id", outputs=("y", "z"))
    line, headers, document, content = taken_apart(encode_request(request, NUMBER, HOST))
    known = service_pb2.ModelInferRequest.FromString(messages.encode_request(request, NUMBER))
    assert line == f"POST /v2/models/{known.model_name}/infer HTTP/1.1"
    assert headers["Host"] == HOST
    assert document["id"] == known.id
    assert [(each["name"], each["datatype"], each["shape"]) for each in document["inputs"]] == [
        (each.name, each.datatype, list(each.shape)) for each in known.inputs
    ]
    assert [each["parameters"]["binary_data_size"] for each in document["inputs"]] == list(
        map(len, known.raw_input_contents)
    )
    assert content == b"".join(known.raw_input_contents)
    assert [each["name"] for each in document["outputs"]] == [each.name for each in known.outputs]
    assert all(each["parameters"] == {"binary_data": True} for each in document["outputs"])
    typed = {name: getattr(each, each.WhichOneof("parameter_choice")) for name, each in known.parameters.items()}
    assert {name: (type(value), value) for name, value in document["parameters"].items()} == {
        name: (type(value), value) for name, value in typed.items()
    }


@given(NAMED)
def test_an_answer_is_read_as_that_of_grpc(outputs: Mapping[str, NDArray[Any]]) -> None:
    message = service_pb2.ModelInferResponse(model_name="m", model_version="1", id="i")
    for name, array in outputs.items():
        message.outputs.add(name=name, datatype=datatype_of(name, array), shape=array.shape)
        message.raw_output_contents.append(bytes(pack(name, array)))
    known = messages.parse_response(message.SerializeToString()).outputs
    body, head_bytes = written(outputs)
    for own in (parse_response(body, head_bytes).outputs, parse_response(memoryview(body), head_bytes).outputs):
        assert list(own) == list(outputs)
        for name, array in outputs.items():
            assert same(own[name], known[name])
            assert same(own[name], np.ascontiguousarray(array).reshape(array.shape))


def written(outputs: Mapping[str, NDArray[Any]]) -> tuple[bytes, int]:
    """As Triton writes an answer."""
    content = {name: bytes(pack(name, array)) for name, array in outputs.items()}
    document = orjson.dumps(
        {
            "model_name": "m",
            "outputs": [
                {
                    "name": name,
                    "datatype": datatype_of(name, array),
                    "shape": array.shape,
                    "parameters": {"binary_data_size": len(content[name])},
                }
                for name, array in outputs.items()
            ],
        }
    )
    return document + b"".join(content.values()), len(document)


def test_small_tensors_lie_aligned_and_none_can_be_written_to() -> None:
    for count in range(1, 40):
        body, head_bytes = written({"n" * count: np.arange(3.0), "m": np.arange(3)})
        for array in parse_response(body, head_bytes).outputs.values():
            assert array.flags.aligned
            assert not array.flags.writeable
    (array,) = parse_response(memoryview(bytearray(body)).toreadonly(), head_bytes).outputs["m"].reshape(1, 3)
    assert not array.flags.writeable


def test_without_names_all_outputs_are_asked_for() -> None:
    _, _, document, content = taken_apart(encode_request(InferRequest("m", {}), 7, HOST))
    assert document == {"id": "", "inputs": [], "parameters": {CALL_PARAMETER: 7, "binary_data_output": True}}
    assert content == b""


def test_numbers_are_not_copied() -> None:
    array = np.ones(8, np.float32)
    view = encode_request(InferRequest("m", {"x": array}), 7, HOST)[1]
    array[0] = 5
    assert np.frombuffer(view, np.float32)[0] == 5


def test_a_dtype_that_triton_lacks_is_refused() -> None:
    with pytest.raises(InvalidInput, match="complex64"):
        encode_request(InferRequest("m", {"x": np.zeros(1, np.complex64)}), 7, HOST)


@pytest.mark.parametrize(
    ("model", "expected"),
    [("Iris", True), ("A.b_c-1", True), ("\u00dcber", False), ("a b", False), ("a/b", False), ("", False)],
)
def test_names_that_triton_would_not_decode_go_by_grpc(model: str, expected: bool) -> None:
    assert has_path(model) is expected


@pytest.mark.parametrize(
    ("body", "head_bytes"),
    [
        (b"", None),
        (b"<html>", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"outputs":[{"name":"y","datatype":"INT8","shape":[1],"data":[1]}]}', None),
        (b'{"outputs":[]}x', 14),
        (b'{"outputs":[]}', 13),
        (written({"y": np.ones(2, np.int8)})[0][:-1], written({"y": np.ones(2, np.int8)})[1]),
        (written({"y": np.ones(2, np.int8)})[0] + b"x", written({"y": np.ones(2, np.int8)})[1]),
    ],
)
def test_an_answer_that_is_none_is_a_fault(body: bytes, head_bytes: int | None) -> None:
    with pytest.raises(ServiceFault):
        parse_response(body, head_bytes)


@pytest.mark.parametrize(
    ("status", "code", "text", "kind"),
    [
        (404, "NOT_FOUND", "Request for unknown model: 'm' is not found", errors.EndpointNotFound),
        (404, "NOT_FOUND", "Request for unknown model: 'm' has no available versions", errors.BackendUnavailable),
        (400, "INVALID_ARGUMENT", "[request id: 7] unexpected inference input 'y' for model 'm'", InvalidInput),
        (500, "INTERNAL", "Stub process 'm_0_0' is not healthy.", errors.BackendUnavailable),
        (500, "INTERNAL", "a secret", ServiceFault),
        (501, "UNIMPLEMENTED", "HTTP end point doesn't support models with decoupled ...", ServiceFault),
        (503, "UNAVAILABLE", "[request id: 7] Exceeds maximum queue size", errors.Overloaded),
        (418, "UNKNOWN", "?", ServiceFault),
    ],
)
def test_statuses_become_the_errors_of_grpcs_codes(
    status: int, code: str, text: str, kind: type[errors.CallError]
) -> None:
    error = error_of_answer(status, orjson.dumps({"error": text}))
    assert type(error) is kind
    assert error.message == from_status(grpc.StatusCode[code], text).message
    cause = error.__cause__
    assert isinstance(cause, StatusCause)
    assert (cause.status.name, cause.text) == (code, text)


def test_an_error_that_is_no_json_is_kept_for_the_log() -> None:
    error = error_of_answer(500, memoryview(b"<html>\xff"))
    assert type(error) is ServiceFault
    assert isinstance(error.__cause__, StatusCause)
    assert error.__cause__.text == "<html>\ufffd"
