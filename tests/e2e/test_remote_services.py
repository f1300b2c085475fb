"""`depends(url=...)` as it is served: from a worker of Triton's and from the front-end, to another server."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.serving import Serving, eventually
from tests.integration.live import live_server
from tests.services.remote import Far

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def far() -> Iterator[httpx2.Client]:
    with live_server(Far) as url, httpx2.Client(base_url=url, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture(scope="module", params=["InTriton", "OnFrontend"])
def near(request: pytest.FixtureRequest, far: httpx2.Client) -> Iterator[httpx2.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAR_URL", str(far.base_url))
        server = Serving(f"remote_near:{request.param}")
    with server, httpx2.Client(base_url=server.url, trust_env=False, timeout=20) as client:
        yield client


def test_what_calls_inherit(near: httpx2.Client) -> None:
    headers = {"x-request-id": "one-of-mine", "traceparent": TRACE, "x-request-timeout": "9"}
    seen = near.post("/seen", headers=headers).json()
    assert (seen["id"], seen["trace"]) == ("one-of-mine", TRACE)
    assert 0 < seen["left_s"] < 9


def test_errors_keep_their_class(near: httpx2.Client) -> None:
    answer = near.post("/fail")
    assert (answer.status_code, answer.json()["detail"]) == (429, "too much")


def test_who_goes_ends_the_work_over_there(near: httpx2.Client, far: httpx2.Client) -> None:
    name = f"gone {near.base_url}"
    with pytest.raises(httpx2.ReadTimeout):
        near.post("/wait", json={"name": name}, timeout=1)
    assert eventually(lambda: name in far.post("/seen").json()["ended"], 10)
