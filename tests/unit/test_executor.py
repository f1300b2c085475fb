"""Calls that come in together: which share a call of the method, and who gets the blame."""

import logging
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

import orchestrator
from orchestrator.codec import Layout
from orchestrator.errors import (
    CallError,
    EndpointNotFound,
    InvalidInput,
    OutputMismatch,
    Overloaded,
    ServiceFault,
)
from orchestrator.sdk import Definition, read_service
from orchestrator.validators import Shape
from orchestrator.worker.executor import Answer, Executor, Prepared, WorkerCall, drive, run_now
from orchestrator.worker.running import Running

Rows = Annotated[NDArray[np.float64], Shape((-1, 2))]
Outcome = Any
"""The result's plain form, or the error."""


class Worker:
    """What a worker does with a batch, without Triton."""

    def __init__(self, service: type) -> None:
        self.definition: Definition = read_service(service, f"m:{service.__name__}")
        self.running = Running(self.definition)
        self.executor = Executor(self.running)

    def call(self, api: str, arguments: Mapping[str, Any], request_id: str = "") -> WorkerCall:
        packed = self.layout(api).pack(arguments)
        return WorkerCall(packed.tensors, packed.parameters, request_id)

    def layout(self, api: str) -> Layout:
        return Layout.of(self.definition.spec, self.definition.spec.api(api))

    def run(self, *calls: WorkerCall) -> list[Answer | CallError]:
        outcomes: list[Answer | CallError | None] = []
        prepared: list[Prepared] = []
        for call in calls:
            try:
                prepared.append(self.executor.prepare(call))
                outcomes.append(None)
            except CallError as error:
                outcomes.append(error)
        answers = iter(drive(self.executor.run(prepared, run_now(self.running.instance))))
        return [next(answers) if outcome is None else outcome for outcome in outcomes]

    def plains(self, api: str, *calls: WorkerCall) -> list[Outcome]:
        layout = self.layout(api)
        return [
            answer if isinstance(answer, CallError) else layout.unpack_result(answer.tensors[layout.result_name])
            for answer in self.run(*calls)
        ]


@orchestrator.service
class Adder:
    """Adds 10 to every row, and remembers how many rows came at once."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    @orchestrator.api(batchable=True, max_batch_size=5)
    def add(self, x: list[int], by: list[int] = [10]) -> list[int]:  # noqa: B006
        self.seen.append(len(x))
        if -1 in x:
            raise ValueError("no negatives")
        if -2 in x:
            raise Overloaded("too much")
        return [number + 10 for number in x]


def adder() -> tuple[Worker, list[int]]:
    worker = Worker(Adder)
    seen: list[int] = worker.running.instance.seen
    return worker, seen


def test_calls_that_come_together_share_one_call_of_the_method() -> None:
    worker, seen = adder()
    calls = [worker.call("add", {"x": x}) for x in ([1], [2, 3], [4])]
    assert worker.plains("add", *calls) == [[11], [12, 13], [14]]
    assert seen == [4]


def test_a_merged_call_never_has_more_rows_than_allowed() -> None:
    worker, seen = adder()
    calls = [worker.call("add", {"x": [n] * n}) for n in (3, 2, 4, 2, 5)]
    assert worker.plains("add", *calls) == [[n + 10] * n for n in (3, 2, 4, 2, 5)]
    assert seen == [5, 4, 2, 5]


def test_one_bad_item_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    worker, seen = adder()
    calls = [worker.call("add", {"x": [x]}, f"id{x}") for x in (1, -1, 3)]
    first, bad, last = worker.plains("add", *calls)
    assert (first, last) == ([11], [13])
    assert isinstance(bad, ServiceFault)
    assert seen == [3, 1, 1, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "Adder.add failed on request id-1: ValueError: no negatives"
    ]


def test_calls_with_other_arguments_given_are_not_merged() -> None:
    worker, seen = adder()
    calls = [worker.call("add", {"x": [1]}), worker.call("add", {"x": [2], "by": [1]}), worker.call("add", {"x": [3]})]
    assert worker.plains("add", *calls) == [[11], [12], [13]]
    assert sorted(seen) == [1, 2]


@orchestrator.service
class Shapes:
    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    @orchestrator.api(batchable=True, batch_dim=1)
    def same(self, x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        self.seen.append(x.shape)
        return x


def test_arrays_of_other_shapes_or_types_are_not_merged() -> None:
    worker = Worker(Shapes)
    arrays: list[NDArray[Any]] = [np.ones((2, 1)), np.ones((3, 1)), np.ones((2, 2)), np.ones((2, 1), np.int8)]
    plains = worker.plains("same", *(worker.call("same", {"x": array}) for array in arrays))
    assert all(np.array_equal(plain, array) for plain, array in zip(plains, arrays, strict=True))
    assert sorted(worker.running.instance.seen) == [(2, 1), (2, 3), (3, 1)]


@orchestrator.service
class Miscounting:
    @orchestrator.api(batchable=True)
    def drop(self, x: Rows) -> Rows:
        return x[:-1]

    @orchestrator.api(batchable=True)
    def nothing(self, x: Rows) -> Rows:
        return None  # type: ignore[return-value]

    @orchestrator.api(batchable=True)
    def squeeze(self, x: Rows) -> Rows:
        return x[:, 0]


@pytest.mark.parametrize(
    ("api", "message"),
    [
        ("drop", "was given 3 rows and returned 2"),
        ("nothing", "returned no rows"),
        ("squeeze", r"annotation does not allow: expected an array of shape \[-1, 2\] .* got \[3\]"),
    ],
)
def test_a_method_must_return_the_rows_that_it_was_given(api: str, message: str) -> None:
    worker = Worker(Miscounting)
    (error,) = worker.run(worker.call(api, {"x": np.zeros((3, 2))}))
    assert isinstance(error, OutputMismatch)
    with pytest.raises(OutputMismatch, match=f"Miscounting.{api} .*{message}"):
        raise error


def test_a_wrong_number_of_rows_does_not_go_to_another_call() -> None:
    worker = Worker(Miscounting)
    calls = [worker.call("drop", {"x": np.zeros((2, 2))}), worker.call("drop", {"x": np.ones((2, 2))})]
    assert [type(answer) for answer in worker.run(*calls)] == [OutputMismatch, OutputMismatch]


def buggy(value: Any) -> Any:
    """A validator with a bug of its own."""
    return value.missing


ONE_DEFAULT = [1]
"""Enough for the decorator, which takes one; no more for calls."""


@orchestrator.service
class Several:
    @orchestrator.api
    def small(self, x: Annotated[int, Field(le=10)]) -> int:
        return x

    @orchestrator.api
    def fail(self, secret: str) -> str:
        raise KeyError(secret)

    @orchestrator.api
    def refuse(self) -> str:
        raise InvalidInput.at(["x"], "not like this")

    @orchestrator.api
    def lie(self) -> dict[str, int]:
        return {"password": "hunter2"}  # type: ignore[dict-item]

    @orchestrator.api
    def validate(self, x: Annotated[int, BeforeValidator(buggy)]) -> int:
        return x

    @orchestrator.api
    def fill(self, x: int = Field(default_factory=ONE_DEFAULT.pop)) -> int:
        return x


def test_calls_of_several_apis_are_answered_in_the_order_they_came() -> None:
    worker = Worker(Several)
    calls = [worker.call("small", {"x": 1}), worker.call("refuse", {}), worker.call("small", {"x": 3})]
    one, refused, three = worker.run(*calls)
    assert isinstance(one, Answer)
    assert isinstance(three, Answer)
    assert isinstance(refused, InvalidInput)
    assert (one.tensors["small.result"].tolist(), three.tensors["small.result"].tolist()) == ([1], [3])


def test_an_argument_that_the_annotation_refuses_is_named() -> None:
    worker = Worker(Several)
    (error,) = worker.run(worker.call("small", {"x": 11}))
    assert isinstance(error, InvalidInput)
    assert [(p["loc"], p["type"]) for p in error.problems] == [(["x"], "less_than_equal")]


def test_the_users_own_call_errors_reach_the_caller_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    worker, _ = adder()
    bad, good = worker.plains("add", worker.call("add", {"x": [-2]}), worker.call("add", {"x": [1]}))
    assert isinstance(bad, Overloaded)
    assert (bad.message, good) == ("too much", [11])
    assert caplog.records == []


def test_any_other_error_is_a_fault_whose_words_go_to_the_log_only(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(Several)
    (error,) = worker.run(worker.call("fail", {"secret": "hunter2"}, "id-7"))
    assert isinstance(error, ServiceFault)
    assert error.message == "Several.fail failed with KeyError; the server's log explains it under the request's id"
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.ERROR, "orchestrator.worker")
    assert "id-7" in record.getMessage()
    assert "raise KeyError(secret)" in caplog.text
    assert "orchestrator/worker/executor.py" not in caplog.text


@pytest.mark.parametrize(
    ("api", "arguments", "error"), [("validate", {"x": b'"v"'}, "AttributeError"), ("fill", {}, "IndexError")]
)
def test_a_bug_in_a_validator_or_a_default_fails_that_call_only(
    api: str, arguments: dict[str, Any], error: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(Several)
    bad, good = worker.run(worker.call(api, arguments, "id-8"), worker.call("small", {"x": 1}))
    assert isinstance(bad, ServiceFault)
    assert error in bad.message
    assert isinstance(good, Answer)
    assert "id-8" in caplog.text


def test_a_result_that_the_annotation_does_not_allow_is_not_shown() -> None:
    worker = Worker(Several)
    (error,) = worker.run(worker.call("lie", {}))
    assert isinstance(error, OutputMismatch)
    assert error.message.startswith("Several.lie returned what its annotation does not allow: password: ")
    assert "hunter2" not in str(error)


def test_an_api_is_found_by_parameter_or_by_its_tensors_names() -> None:
    worker = Worker(Several)
    call = worker.call("small", {"x": 5})
    (answer,) = worker.run(WorkerCall(call.tensors, {}, ""))
    assert isinstance(answer, Answer)
    (error,) = worker.run(WorkerCall({}, {"api": "nope"}, ""))
    assert isinstance(error, EndpointNotFound)
    assert "it has small, fail" in error.message


def test_a_service_that_cannot_be_made_says_why(caplog: pytest.LogCaptureFixture) -> None:
    @orchestrator.service
    class Broken:
        def __init__(self) -> None:
            raise OSError("no model file")

        @orchestrator.api
        def run(self) -> None: ...

    with pytest.raises(orchestrator.errors.DefinitionError, match=r"Broken.__init__ failed: OSError: no model file"):
        Worker(Broken)
    assert "Traceback" in caplog.text
