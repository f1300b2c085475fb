"""One call on its way to a backend and back."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.engine import InferRequest, InferResponse, Invoker
from orchestrator.errors import CallError, EndpointNotFound, InvalidInput, OutputMismatch
from orchestrator.sdk import read_service
from tests.services.kinds import Kinds
from tests.services.mixed import Mixed
from tests.services.rows import Rows

Answer = Callable[[InferRequest], dict[str, NDArray[Any]]]


class FakeBackend:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.requests: list[InferRequest] = []

    async def open(self) -> None: ...

    async def infer(self, request: InferRequest) -> InferResponse:
        self.requests.append(request)
        return InferResponse(self._answer(request))

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        yield await self.infer(request)

    async def ready(self, model: str) -> bool:
        return model == "Rows"

    async def close(self) -> None: ...


def total(request: InferRequest) -> dict[str, NDArray[Any]]:
    return {"result": request.inputs["rows"].sum(axis=1, keepdims=True)}


def call(service: type, backend: FakeBackend, api: str, arguments: dict[str, Any], **options: Any) -> Any:
    invoker = Invoker(read_service(service, "m:S").spec.called(), backend)
    return asyncio.run(invoker.call(api, arguments, **options)).value


def test_a_call_of_more_rows_than_a_batch_goes_in_parts_and_comes_back_whole() -> None:
    backend = FakeBackend(total)
    rows = np.arange(20 * 4, dtype=np.float32).reshape(20, 4)
    assert np.array_equal(call(Rows, backend, "total", {"rows": rows}), rows.sum(axis=1))
    assert [len(request.inputs["rows"]) for request in backend.requests] == [8, 8, 4]


def test_a_request_names_model_and_id_and_the_shorter_of_both_time_limits() -> None:
    backend = FakeBackend(total)
    rows = np.zeros((1, 4), np.float32)
    for timeout_s in (None, 0.25):
        call(Rows, backend, "total", {"rows": rows}, request_id="id-1", timeout_s=timeout_s)
    assert [(r.model, r.request_id, r.timeout_s) for r in backend.requests] == [
        ("Rows", "id-1", 0.5),
        ("Rows", "id-1", 0.25),
    ]


def test_a_call_without_rows_is_refused_with_the_arguments_name() -> None:
    for service, api, empty in (
        (Rows, "total", {"rows": np.zeros((0, 4), np.float32)}),
        (Mixed, "upper", {"words": []}),
    ):
        with pytest.raises(InvalidInput, match="a batch needs at least one row") as caught:
            call(service, FakeBackend(total), api, empty)
        assert caught.value.problems[0]["loc"] == list(empty)


def test_an_unknown_api_is_not_found() -> None:
    with pytest.raises(EndpointNotFound, match="service Kinds has no API 'nope'"):
        call(Kinds, FakeBackend(total), "nope", {})


def wrong_shape(request: InferRequest) -> dict[str, NDArray[Any]]:
    rows = request.inputs["rows"]
    return {"result": np.zeros((len(rows), len(rows)), np.float32)}


def one_part_only(request: InferRequest) -> dict[str, NDArray[Any]]:
    return total(request) if len(request.inputs["rows"]) == 8 else {}


@pytest.mark.parametrize("answer", [lambda _: {}, lambda _: {"other": np.zeros(1)}, wrong_shape, one_part_only])
def test_an_answer_that_is_not_the_result_is_a_mismatch(answer: Answer) -> None:
    with pytest.raises(OutputMismatch):
        call(Rows, FakeBackend(answer), "total", {"rows": np.zeros((10, 4), np.float32)})


def test_an_error_of_the_backend_comes_through_as_it_is() -> None:
    def fail(_: InferRequest) -> dict[str, NDArray[Any]]:
        raise CallError("from below")

    with pytest.raises(CallError, match="from below"):
        call(Rows, FakeBackend(fail), "total", {"rows": np.zeros((10, 4), np.float32)})
