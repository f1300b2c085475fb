"""Every error that a call can end in, as HTTP and as the text that Triton carries."""

import inspect
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import errors
from orchestrator.errors import (
    BackendUnavailable,
    CallError,
    DeploymentError,
    InvalidInput,
    OrchestratorError,
    Overloaded,
    ServiceFault,
)
from orchestrator.server.problems import PROBLEM_SCHEMA, problem_of
from orchestrator.worker.faults import SEPARATOR, error_text

STATUSES = {
    "invalid_input": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "endpoint_not_found": 404,
    "payload_too_large": 413,
    "unsupported_media": 415,
    "overloaded": 429,
    "cancelled": 499,
    "service_fault": 500,
    "output_mismatch": 500,
    "backend_unavailable": 503,
    "deadline_exceeded": 504,
    "request_failed": 500,
    "deployment": 409,
}
LEAVES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, OrchestratorError) and not cls.__subclasses__()
]
CALL_LEAVES = [cls for cls in LEAVES if issubclass(cls, CallError)]


@pytest.mark.parametrize("cls", [*CALL_LEAVES, DeploymentError])
def test_every_error_of_a_call_has_its_status(cls: type[OrchestratorError]) -> None:
    assert problem_of(cls("no"), "id").status == STATUSES[cls.code]


@pytest.mark.parametrize("cls", [cls for cls in LEAVES if not issubclass(cls, CallError | DeploymentError)])
def test_every_other_error_is_the_servers(cls: type[OrchestratorError]) -> None:
    assert problem_of(cls("no"), "id").status == 500


@pytest.mark.parametrize("cls", LEAVES)
def test_the_body_of_every_error_has_the_same_keys(cls: type[OrchestratorError]) -> None:
    reply = problem_of(cls("it broke", hint="mend it"), "id-1")
    assert reply.media_type == "application/problem+json"
    body = json.loads(reply.body)
    assert set(body) - {"errors", "name"} == set(PROBLEM_SCHEMA["required"])
    assert set(body) <= set(PROBLEM_SCHEMA["properties"])
    assert ("errors" in body) == (cls is InvalidInput)
    assert body["type"] == f"urn:orchestrator:error:{cls.code}"
    assert body["status"] == reply.status
    assert body["detail"] == body["error"] == "it broke (mend it)"
    assert body["request_id"] == "id-1"
    assert body["title"]


def test_invalid_input_names_every_field() -> None:
    problems: list[dict[str, Any]] = [
        {"type": "missing", "loc": ["a", 0], "msg": "Field required"},
        {"type": "x", "loc": [], "msg": "y"},
    ]
    assert json.loads(problem_of(InvalidInput("no", problems=problems), "").body)["errors"] == problems


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Overloaded("no", retry_after_s=7.4), "8"),
        (Overloaded("no", retry_after_s=0.01), "1"),
        (BackendUnavailable("no"), "1"),
    ],
)
def test_what_may_be_retried_says_when(error: CallError, seconds: str) -> None:
    assert problem_of(error, "").headers["Retry-After"] == seconds


def test_an_error_of_the_users_own_has_its_parents_status() -> None:
    class Sold(errors.EndpointNotFound):
        code = "sold"

    reply = problem_of(Sold("gone"), "")
    assert (reply.status, json.loads(reply.body)["type"]) == (404, "urn:orchestrator:error:sold")


def test_an_answer_survives_text_that_is_no_unicode() -> None:
    problem: dict[str, Any] = {"type": "x", "loc": ["\ud800", object()], "msg": "y"}
    error = InvalidInput("bad \ud800", problems=[problem])
    body = json.loads(problem_of(error, "").body)
    assert body["detail"] == "bad ?"
    assert body["errors"][0]["loc"][0] == "?"


def tail_of(text: str) -> dict[str, Any]:
    _, mark, tail = text.partition(SEPARATOR)
    assert mark
    read = json.loads(tail)
    assert isinstance(read, dict)
    return read


@pytest.mark.parametrize("cls", CALL_LEAVES)
def test_the_workers_text_says_which_error_it_was(cls: type[CallError]) -> None:
    text = error_text(cls("it broke", hint="mend it"))
    assert text.startswith("it broke (mend it)")
    tail = tail_of(text)
    assert (tail["code"], tail["message"]) == (cls.code, "it broke")


def test_the_workers_text_carries_the_problems() -> None:
    assert tail_of(error_text(InvalidInput.at(["a", 0], "too big", kind="less_than")))["problems"] == [
        {"type": "less_than", "loc": ["a", 0], "msg": "too big"}
    ]


@given(st.text(max_size=50).map(lambda text: text * 200), st.integers(0, 60))
def test_the_workers_text_is_short_and_its_tail_can_be_read_whatever_the_error_says(message: str, count: int) -> None:
    problems = [{"type": "x", "loc": [message[:500], 1], "msg": message}] * count
    text = error_text(InvalidInput(message, problems=problems, hint=message))
    assert len(text.encode()) <= 4000
    assert tail_of(text)["code"] == "invalid_input"


def test_a_long_sentence_is_cut_and_says_so() -> None:
    text = error_text(ServiceFault("long " * 1000))
    assert "…" in text.partition(SEPARATOR)[0]
    assert len(text.encode()) <= 4000
