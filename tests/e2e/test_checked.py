"""Checks, time limits and the user's own errors, through the real Triton."""

from collections.abc import Iterator

import httpx2
import pytest

from orchestrator.client import Client
from orchestrator.errors import RequestFailed
from tests.e2e.serving import Serving

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving("checked:Checked") as serving:
        yield serving


def test_a_call_that_takes_too_long_is_a_504(server: Serving) -> None:
    assert httpx2.post(f"{server.url}/sleep", json={"seconds": 0}).text == "slept"
    answer = httpx2.post(f"{server.url}/sleep", json={"seconds": 2})
    assert answer.status_code == 504
    assert "error" in answer.json()


def test_the_users_own_error_keeps_its_status_and_name_on_its_way(server: Serving) -> None:
    with Client(server.url) as client, pytest.raises(RequestFailed) as caught:
        client.call("refuse", what="the seat")
    assert (caught.value.status, caught.value.name, caught.value.message) == (409, "Conflict", "the seat is taken")


def test_the_services_own_checks_answer_for_it(server: Serving) -> None:
    assert "checked_up" in httpx2.get(f"{server.url}/metrics").text
    assert httpx2.get(f"{server.url}/readyz").status_code == 200
    assert httpx2.post(f"{server.url}/sink").json() is None
    assert httpx2.get(f"{server.url}/readyz").status_code == 503
    assert httpx2.get(f"{server.url}/livez").status_code == 200
