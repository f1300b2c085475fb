"""The user's code fails: the caller learns that, the log learns why."""

import logging
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

import orchestrator
from orchestrator.testing import local_client
from tests.integration.test_calls import problem_of
from tests.services.faulty import Faulty


@pytest.fixture(scope="module")
def faulty() -> Iterator[TestClient]:
    with local_client(Faulty) as client:
        yield client


def test_an_exception_is_a_500_whose_id_is_in_the_log_and_whose_words_are_not_in_the_answer(
    faulty: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = faulty.post("/fail", json={"secret": "hunter2"})
    problem = problem_of(answer, 500)
    assert problem["type"] == "urn:orchestrator:error:service_fault"
    assert "hunter2" not in answer.text
    assert "faulty.py" not in answer.text
    logged = [r for r in caplog.records if r.levelno == logging.ERROR and problem["request_id"] in r.getMessage()]
    assert len(logged) == 1
    assert "RuntimeError: the password is hunter2" in caplog.text
    assert 'raise RuntimeError(f"the password' in caplog.text


def test_the_callers_own_id_is_the_one_in_the_log(faulty: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    faulty.post("/fail", json={"secret": "x"}, headers={"X-Request-ID": "from-the-caller"})
    assert "from-the-caller" in caplog.text


def test_a_bug_in_a_validator_is_a_fault_too(faulty: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    problem = problem_of(faulty.post("/validate", json={"value": "anything"}), 500)
    assert "Faulty.validate failed with AttributeError" in problem["detail"]
    assert problem["request_id"] in caplog.text


@pytest.mark.parametrize("route", ["/lie", "/overflow"])
def test_a_result_that_the_annotation_does_not_allow_is_the_services_fault(faulty: TestClient, route: str) -> None:
    answer = faulty.post(route)
    assert problem_of(answer, 500)["type"] == "urn:orchestrator:error:output_mismatch"
    assert "not a number" not in answer.text


def test_the_users_own_call_errors_have_their_status(faulty: TestClient) -> None:
    refused = faulty.post("/refuse")
    assert problem_of(refused, 429)["detail"] == "come back later"
    assert refused.headers["retry-after"] == "7"
    blamed = problem_of(faulty.post("/blame", json={"value": 1}), 400)
    assert blamed["errors"] == [{"type": "value_error", "loc": ["value"], "msg": "I do not like it"}]


def test_a_call_that_takes_too_long_is_a_504(faulty: TestClient) -> None:
    assert "0.2 seconds" in problem_of(faulty.post("/sleep"), 504)["detail"]


def test_a_failure_does_not_stay() -> None:
    with local_client(Faulty) as client:
        for _ in range(3):
            problem_of(client.post("/fail", json={"secret": "x"}), 500)
        assert client.get("/readyz").status_code == 200


def test_a_service_whose_init_fails_does_not_start() -> None:
    @orchestrator.service
    class Broken:
        def __init__(self) -> None:
            raise OSError("no model file")

        @orchestrator.api
        def run(self) -> None: ...

    with pytest.raises(orchestrator.errors.DefinitionError, match="no model file"), local_client(Broken):
        raise AssertionError("it started")
