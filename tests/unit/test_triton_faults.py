"""The table from gRPC statuses to our errors."""

import json
from typing import Any

import grpc
import pytest

from orchestrator import errors
from orchestrator.triton.control import load_reason
from orchestrator.triton.faults import TAIL_MARK, StatusCause, from_status

Code = grpc.StatusCode


def leaves() -> list[type[errors.CallError]]:
    return [errors.CallError, *errors.CallError.__subclasses__()]


def worker_text(details: dict[str, Any], before: str = "", behind: str = "") -> str:
    return f"{before}something for a person{TAIL_MARK}{json.dumps(details)}{behind}"


@pytest.mark.parametrize("kind", leaves(), ids=lambda kind: kind.__name__)
def test_a_workers_error_becomes_itself_again(kind: type[errors.CallError]) -> None:
    details = {"code": kind.code, "message": "it is broken: \u00fc", "problems": [], "status": 418, "name": "Teapot"}
    error = from_status(Code.INTERNAL, worker_text(details))
    assert type(error) is kind
    assert error.message == "it is broken: \u00fc"
    assert isinstance(error.__cause__, StatusCause)
    assert error.__cause__.details == details


def test_problems_of_an_input_survive() -> None:
    problems = [{"type": "int_parsing", "loc": ["body", 0], "msg": "no number"}]
    details = {"code": "invalid_input", "message": "bad", "problems": problems, "status": None, "name": None}
    error = from_status(Code.INVALID_ARGUMENT, worker_text(details, before="[request id: 7] ", behind="\n"))
    assert isinstance(error, errors.InvalidInput)
    assert list(error.problems) == problems


def test_words_behind_the_tail_do_no_harm() -> None:
    details = {"code": "overloaded", "message": "later"}
    assert isinstance(from_status(Code.UNAVAILABLE, worker_text(details, behind=" in ensemble 'x'")), errors.Overloaded)


@pytest.mark.parametrize("tail", ["{", "[]", "null", '{"code": "x"}', '{"code": 1, "message": 2}', ""])
def test_a_broken_tail_falls_back_to_the_table(tail: str) -> None:
    error = from_status(Code.DEADLINE_EXCEEDED, f"text{TAIL_MARK}{tail}")
    assert type(error) is errors.DeadlineExceeded


def test_an_unknown_code_is_a_service_fault() -> None:
    error = from_status(Code.INTERNAL, worker_text({"code": "from_the_future", "message": "m"}))
    assert type(error) is errors.ServiceFault
    assert error.message == "m"


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (Code.NOT_FOUND, "Request for unknown model: 'nope' is not found", errors.EndpointNotFound),
        (Code.NOT_FOUND, "Request for unknown model: 'm' has no available versions", errors.BackendUnavailable),
        (Code.UNKNOWN, "Request for unknown model: 'm' has no available versions", errors.BackendUnavailable),
        (Code.INTERNAL, "Stub process 'm_0_0' is not healthy.", errors.BackendUnavailable),
        (Code.UNAVAILABLE, "failed to connect to all addresses", errors.BackendUnavailable),
        (Code.UNAVAILABLE, "[request id: a] Exceeds maximum queue size", errors.Overloaded),
        (Code.RESOURCE_EXHAUSTED, "CPU allocation failed", errors.Overloaded),
        (Code.RESOURCE_EXHAUSTED, "Sent message larger than max (5 vs. 4)", errors.PayloadTooLarge),
        (Code.RESOURCE_EXHAUSTED, "Stream removed (received metadata size exceeds hard limit", errors.ServiceFault),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", errors.DeadlineExceeded),
        (Code.CANCELLED, "", errors.CallCancelled),
        (Code.INVALID_ARGUMENT, "x", errors.InvalidInput),
        (Code.UNIMPLEMENTED, "ModelInfer RPC doesn't support models with decoupled", errors.ServiceFault),
        (Code.INTERNAL, "boom", errors.ServiceFault),
        (Code.UNKNOWN, "", errors.ServiceFault),
        (Code.DATA_LOSS, "?", errors.ServiceFault),
    ],
)
def test_foreign_statuses_go_by_code_and_text(code: Any, text: str, kind: type[errors.CallError]) -> None:
    error = from_status(code, text)
    assert type(error) is kind
    assert isinstance(error.__cause__, StatusCause)
    assert (error.__cause__.status, error.__cause__.text) == (code, text)


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.name)
def test_every_code_has_an_error(code: Any) -> None:
    assert isinstance(from_status(code, "text"), errors.CallError)


def test_insides_are_not_shown_to_callers() -> None:
    text = (
        "Failed to process the request(s) for model 'm_0_0', message: ValueError: password\n\nAt:\n  /srv/model.py(3)"
    )
    error = from_status(Code.INTERNAL, text)
    assert type(error) is errors.ServiceFault
    assert "password" not in str(error)
    assert "password" in str(error.__cause__)


def test_what_the_caller_did_wrong_is_shown() -> None:
    error = from_status(Code.INVALID_ARGUMENT, "[request id: r 1] unexpected inference input 'y' for model 'm'")
    assert error.message == "unexpected inference input 'y' for model 'm'"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: RuntimeError: boom\nmore\n\nAt:\n"
            "  /m/1/model.py(3): initialize\n;\n",
            "RuntimeError: boom",
        ),
        (
            "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: SyntaxError: bad (model.py);\n",
            "SyntaxError: bad (model.py)",
        ),
        (
            "load failed for model 'm': at least one version must be available\n",
            "at least one version must be available",
        ),
        ("", ""),
    ],
)
def test_a_load_failure_is_told_in_one_line(text: str, reason: str) -> None:
    assert load_reason(text) == reason


def test_a_worker_that_dies_while_it_loads_is_explained() -> None:
    text = "version 1 is at UNAVAILABLE state: Internal: Stub process 'm_0_0' is not healthy.;\n"
    assert "worker process ended" in load_reason(text)
