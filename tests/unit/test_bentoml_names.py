"""BentoML's exceptions, markers and base class, as a service uses them."""

import logging
from http import HTTPStatus
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import Field

from orchestrator import bentoml
from orchestrator.bentoml.exceptions import BentoMLException, InvalidArgument, NotFound, StateException
from orchestrator.bentoml.validators import FileSchema, PILImageEncoder, TensorSchema
from orchestrator.errors import RequestFailed
from orchestrator.sdk import read_service
from orchestrator.testing import local_client
from orchestrator.validators import ContentType, DType, Shape


class Refused(BentoMLException):
    error_code = HTTPStatus.METHOD_NOT_ALLOWED


class Careless(InvalidArgument):
    def __init__(self, first: str, second: str) -> None:  # never calls the base class's
        self.second = second


class Given(bentoml.IODescriptor):
    rows: Annotated[np.ndarray, DType("float32"), Shape((-1, 2))]  # type: ignore[type-arg]
    factor: float = Field(2.0, gt=0)


class Made(bentoml.IODescriptor):
    total: float


@bentoml.service
class Errors:
    @bentoml.api
    def fail(self, how: str) -> str:
        raise {
            "custom": Refused("not like this"),
            "inherited": Careless("first words", "second words"),
            "given": BentoMLException("taken", error_code=HTTPStatus.CONFLICT),
            "not found": NotFound("gone"),
            "server": BentoMLException("a secret"),
            "unavailable": bentoml.exceptions.ServiceUnavailable("a secret"),
            "state": StateException("a secret"),
        }[how]

    @bentoml.api(input_spec=Given, output_spec=Made)
    def add(self, rows: Any, factor: float) -> Any:
        assert rows.dtype == np.float32
        return Made(total=float(rows.sum() * factor))


@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("custom", 405, "not like this"),
        ("inherited", 400, "first words"),
        ("given", 409, "taken"),
        ("not found", 404, "gone"),
    ],
)
def test_a_code_below_500_carries_its_message(how: str, status: int, message: str) -> None:
    with local_client(Errors) as client:
        answer = client.post("/fail", json={"how": how})
    assert (answer.status_code, answer.json()["error"]) == (status, message)


@pytest.mark.parametrize(("how", "status"), [("server", 500), ("unavailable", 503), ("state", 500)])
def test_a_code_from_500_up_keeps_its_message_in_the_log(
    how: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "orchestrator.worker"), local_client(Errors) as client:
        answer = client.post("/fail", json={"how": how})
    assert answer.status_code == status
    assert "secret" not in answer.text
    assert "secret" in caplog.text


def test_the_name_of_the_class_goes_along() -> None:
    with local_client(Errors) as client:
        assert client.post("/fail", json={"how": "custom"}).json()["name"] == "Refused"


def test_an_exception_is_what_bentomls_users_expect() -> None:
    error = BentoMLException("m", error_code=418)
    assert (error.message, str(error), error.error_code, error.status) == ("m", "m", 418, 418)
    assert isinstance(error, RequestFailed)
    assert BentoMLException.error_mapping[404] is NotFound
    assert BentoMLException.error_mapping[400] is InvalidArgument


def test_a_descriptor_is_the_arguments_or_the_result() -> None:
    spec = read_service(Errors, "x:Errors").spec.api("add")
    assert [(a.name, a.required) for a in spec.arguments] == [("rows", True), ("factor", False)]
    with local_client(Errors) as client:
        assert client.post("/add", json={"rows": [[1, 2]]}).json() == {"total": 6.0}
        assert client.post("/add", json={"rows": [[1, 2]], "factor": -1}).status_code == 400


def test_the_other_markers_say_the_same() -> None:
    both = TensorSchema(dtype="float32", shape=(2, -1))
    assert isinstance(both, DType)
    assert isinstance(both, Shape)
    assert (both.dtype, both.dimensions) == ("float32", (2, -1))
    assert TensorSchema(shape=(2,)) == Shape((2,))
    assert TensorSchema("numpy-array", "int8") == DType("int8")
    assert FileSchema(content_type="image/*") == ContentType("image/*")

    @bentoml.service
    class Marked:
        @bentoml.api
        def run(
            self,
            rows: Annotated[np.ndarray, TensorSchema(dtype="float32", shape=(2, -1))],  # type: ignore[type-arg]
            free: Annotated[np.ndarray, TensorSchema(), PILImageEncoder(), FileSchema()],  # type: ignore[type-arg]
        ) -> str:
            return ""

    rows, free = read_service(Marked, "x:Marked").spec.api("run").arguments
    assert (rows.value.dtype, rows.value.shape) == ("FP32", (2, -1))
    assert (free.value.dtype, free.value.shape) == (None, None)
