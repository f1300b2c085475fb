"""Services that call services answer the same in one process as on Triton: the table is the one of `tests/e2e`."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from orchestrator.testing import local_client
from tests.compositions import CASES, PROBLEMS, STREAMS, Case, Problem, cases
from tests.e2e.serving import eventually
from tests.services import composition

ROOTS = ["Root", "SyncRoot"]
STREAMING = ["Root", "SyncStreams"]


@pytest.fixture(scope="module")
def http(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    with local_client(getattr(composition, request.param)) as client:
        yield client


def of(roots: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("http", roots, indirect=True, scope="module")


@of(ROOTS)
@cases(CASES)
def test_the_same_answer_everywhere(http: TestClient, case: Case) -> None:
    case.check(http)


@of(ROOTS)
@cases(PROBLEMS)
def test_the_same_refusal_everywhere(http: TestClient, case: Problem) -> None:
    case.check(http)


@of(STREAMING)
@cases(STREAMS)
def test_the_same_chunks_everywhere(http: TestClient, case: Case) -> None:
    case.check(http)


@of(STREAMING)
def test_an_error_before_the_first_chunk_has_its_status(http: TestClient) -> None:
    answer = http.post("/breaking", json={"after": 0})
    assert (answer.status_code, answer.json()["name"]) == (418, "Teapot")


@of(ROOTS)
def test_a_stream_that_is_left_ends(http: TestClient) -> None:
    before = talked(http)
    assert http.post("/first", json={"of": 100_000}).json() == [0, 1, 2]
    assert eventually(lambda: talked(http)["ended"] > before["ended"], 5)
    assert talked(http)["made"] - before["made"] < 50_000


@of(ROOTS)
def test_the_roots_deadline_is_the_leafs(http: TestClient) -> None:
    before = talked(http)["ended"]
    answer = http.post("/slow", json={"wait_s": 60}, headers={"X-Request-Timeout": "0.3"})
    assert answer.status_code == 504
    assert eventually(lambda: talked(http)["ended"] == before + 1, 5)


def talked(http: TestClient) -> Any:
    return http.post("/talked").json()
