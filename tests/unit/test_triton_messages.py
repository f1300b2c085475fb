"""Tensors and inference messages, against protobuf's own reading of them."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from orchestrator.engine.backend import InferRequest, text_tensor
from orchestrator.errors import InvalidInput, ServiceFault
from orchestrator.triton import messages
from orchestrator.triton.tensors import DATATYPES, datatype_of, pack, unpack

NUMERIC = sorted(set(DATATYPES) - {"BYTES"})


def arrays(dtype: np.dtype[Any]) -> list[NDArray[Any]]:
    full = np.arange(24).reshape(4, 6).astype(dtype)
    return [full, full[::2, ::3], full.T, full[0, 0].reshape(()), np.empty((0, 3), dtype), full[:1]]


@pytest.mark.parametrize("name", NUMERIC)
def test_numbers_come_back_unchanged(name: str) -> None:
    for array in arrays(DATATYPES[name]):
        assert datatype_of("x", array) == name
        back = unpack("x", name, array.shape, bytes(pack("x", array)))
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


def test_contiguous_numbers_are_not_copied() -> None:
    array = np.ones(8, np.float32)
    view = pack("x", array)
    array[0] = 5
    assert np.frombuffer(view, np.float32)[0] == 5


@pytest.mark.parametrize(
    "items", [[], [b""], [b"", b"", b""], [b"\x00", b"a\x00b", b"\x00\x00"], [bytes(range(256)) * 50, b"x"]]
)
def test_bytes_come_back_unchanged(items: list[bytes]) -> None:
    packed = pack("x", text_tensor(*items))
    assert unpack("x", "BYTES", (len(items),), packed).tolist() == items


def test_text_goes_as_utf8() -> None:
    array = np.array([["\u00fc", b"\xff"]], dtype=object)
    assert unpack("x", "BYTES", (1, 2), pack("x", array)).tolist() == [["\u00fc".encode(), b"\xff"]]


def test_other_things_in_an_object_array_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"x\.1: .* not int"):
        pack("x", np.array([b"a", 5], dtype=object))


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "S3", ">f4"])
def test_a_dtype_that_triton_lacks_is_refused(dtype: str) -> None:
    with pytest.raises(InvalidInput, match="dtype"):
        datatype_of("x", np.zeros(1, dtype))


def test_bfloat16_is_read_as_float32() -> None:
    values = np.array([1.0, -2.5, 0.0], np.float32)
    back = unpack("x", "BF16", (3,), (values.view("<u4") >> 16).astype("<u2").tobytes())
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        ("FP32", (3,), bytes(8)),
        ("FP32", (1,), bytes(3)),
        ("NEW8", (1,), bytes(1)),
        ("BYTES", (2,), b"\x01\x00\x00\x00a"),
        ("BYTES", (1,), b"\x09\x00\x00\x00a"),
        ("BYTES", (1,), b"\x01\x00\x00\x00ab"),
    ],
)
def test_bytes_that_are_no_such_tensor_are_a_fault(datatype: str, shape: tuple[int, ...], data: bytes) -> None:
    with pytest.raises(ServiceFault, match="'x'"):
        unpack("x", datatype, shape, data)


def test_a_request_is_what_protobuf_reads() -> None:
    inputs = {"a": np.ones((2, 3), np.float16), "b": text_tensor(b"x", b""), "c": np.zeros((0, 2), np.int64)}
    parameters: dict[str, str | int | bool] = {"s": "\u00fc", "i": -(2**40), "t": True, "f": False}
    data = messages.encode_request(InferRequest("m", inputs, parameters, "id-1"))
    message = service_pb2.ModelInferRequest.FromString(data)
    assert (message.model_name, message.id) == ("m", "id-1")
    assert [(each.name, each.datatype, list(each.shape)) for each in message.inputs] == [
        ("a", "FP16", [2, 3]),
        ("b", "BYTES", [2]),
        ("c", "INT64", [0, 2]),
    ]
    assert list(message.raw_input_contents) == [bytes(pack(name, array)) for name, array in inputs.items()]
    assert message.parameters["s"].string_param == "\u00fc"
    assert message.parameters["i"].int64_param == -(2**40)
    assert message.parameters["t"].WhichOneof("parameter_choice") == "bool_param"
    assert message.parameters["f"].WhichOneof("parameter_choice") == "bool_param"


@pytest.mark.parametrize("count", [0, 1, 31, 32, 5000, 600_000])
def test_a_large_response_is_read_like_a_small_one(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {"n": np.arange(count, dtype=np.float32), "t": text_tensor(b"a" * count, b"\x00")}
    data = response(outputs).SerializeToString()
    for threshold in (0, math.inf):
        monkeypatch.setattr(messages, "_BY_HAND_BYTES", threshold)
        answer = messages.parse_response(data)
        assert list(answer.outputs) == ["n", "t"]
        for name, array in outputs.items():
            np.testing.assert_array_equal(answer.outputs[name], array)


def test_an_unknown_field_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_BY_HAND_BYTES", 0)
    # Field 9 as a varint, field 30 with a tag of two bytes.
    data = response({"n": np.ones(2, np.int8)}).SerializeToString() + b"\x48\x05" + b"\xf2\x01\x01a"
    np.testing.assert_array_equal(messages.parse_response(data).outputs["n"], [1, 1])


def test_missing_content_is_a_fault() -> None:
    message = response({"n": np.ones(2, np.int8)})
    del message.raw_output_contents[:]
    with pytest.raises(ServiceFault, match="announced 1 outputs and sent 0"):
        messages.decode_response(message)


def response(outputs: dict[str, NDArray[Any]]) -> Any:
    message = service_pb2.ModelInferResponse(model_name="m", model_version="1", id="i")
    for name, array in outputs.items():
        message.outputs.add(name=name, datatype=datatype_of(name, array), shape=array.shape)
        message.raw_output_contents.append(bytes(pack(name, array)))
    return message
