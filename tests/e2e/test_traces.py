"""One request is one trace, seen by a receiver of OTLP, wherever the services of its graph run."""

import shutil
import uuid
from collections.abc import Iterator

import httpx2
import pytest

from tests.composed import place_composed
from tests.e2e.serving import SERVICES, Serving
from tests.integration.live import live_server
from tests.otlp import Receiver, receiver
from tests.services.remote import Far

pytestmark = pytest.mark.e2e
# The request, what the root does, its call of Middle and what that does, two calls of Leaf, each with what that does and
# its call of the model.
GRAPH_SPANS = 10


def made_up(*, sampled: bool = True) -> tuple[str, str, dict[str, str]]:
    """Trace and span of a caller of ours, and the header that says so."""
    trace, span = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    return trace, span, {"traceparent": f"00-{trace}-{span}-{'01' if sampled else '00'}"}


@pytest.fixture(scope="module")
def taken() -> Iterator[Receiver]:
    with receiver() as taken:
        yield taken


@pytest.fixture(scope="module", params=["Root", "RootInTriton"])
def server(
    request: pytest.FixtureRequest, taken: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    folder = place_composed(tmp_path_factory.mktemp("traced"))
    shutil.copy(SERVICES / "traced.py", folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in taken.environment.items():
            patch.setenv(name, value)
        serving = Serving(f"traced:{request.param}", working_dir=folder)
    with serving as server:
        yield server
        assert server.stop() == 0


@pytest.fixture(scope="module")
def http(server: Serving) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        yield client


def test_a_request_through_three_services_is_one_trace(http: httpx2.Client, taken: Receiver, server: Serving) -> None:
    trace, span, headers = made_up()
    answer = http.post("/through", json={"x": 4}, headers={**headers, "x-request-id": "mine"})
    assert (answer.status_code, answer.json()) == (200, 8)
    assert answer.headers["x-trace-id"] == trace
    seen = taken.trace(trace, GRAPH_SPANS)
    root = seen.named("POST /through").service
    assert seen.parents == {
        ("POST /through", ""),
        (f"{root}.through", "POST /through"),
        ("call Middle.twice", f"{root}.through"),
        ("Middle.twice", "call Middle.twice"),
        ("call Leaf.add", "Middle.twice"),
        ("Leaf.add", "call Leaf.add"),
        ("model Leaf.both", "Leaf.add"),
    }
    assert seen.named("POST /through").parent == span
    entry = seen.named("POST /through")
    assert (entry.kind, entry.attributes["http.response.status_code"], entry.attributes["request.id"]) == (
        2,
        200,
        "mine",
    )
    assert {each.kind for each in seen if each.name.startswith(("call", "model"))} == {3}
    assert not [each.name for each in seen if each.failed]
    leaf, middle = {each.process for each in seen if each.name == "Leaf.add"}, seen.named("Middle.twice").process
    assert leaf == {each.process for each in seen if each.name == "model Leaf.both"}
    assert len({entry.process, *leaf}) == 2
    assert (middle == entry.process) == (root == "Root"), "where the root runs, the middle does"
    by_id = {each.id: each for each in seen}
    for each in seen:  # one machine, one clock
        around = by_id.get(each.parent)
        assert around is None or around.start_s <= each.start_s <= each.end_s <= around.end_s + 0.5


def test_without_a_caller_of_ours_a_trace_begins(http: httpx2.Client, taken: Receiver) -> None:
    answer = http.post("/through", json={"x": 1})
    seen = taken.trace(answer.headers["x-trace-id"], GRAPH_SPANS)
    assert seen.named("POST /through").parent == ""


def test_a_trace_that_is_not_recorded_is_not_sent(http: httpx2.Client, taken: Receiver) -> None:
    ignored, _, headers = made_up(sampled=False)
    assert http.post("/through", json={"x": 1}, headers=headers).status_code == 200
    recorded, _, headers = made_up()
    assert http.post("/through", json={"x": 1}, headers=headers).status_code == 200
    taken.trace(recorded, GRAPH_SPANS)  # came later, and is there
    assert [each for each in taken.spans if each.trace == ignored] == []


@pytest.mark.parametrize(("how", "status"), [("refused", 418), ("fault", 500)])
def test_every_step_of_a_failure_is_marked_and_none_tells_the_secret(
    http: httpx2.Client, taken: Receiver, how: str, status: int
) -> None:
    trace, _, headers = made_up()
    assert http.post("/fail", json={"how": how}, headers=headers).status_code == status
    seen = taken.trace(trace, 6)
    failed = {each.name for each in seen if each.failed}
    assert failed >= {each.name for each in seen if not each.name.startswith("POST")}
    # What a caller did wrong is no fault of the server's.
    assert ("POST /fail" in failed) == (status == 500)
    assert "a secret" not in str(list(seen))


def test_the_step_of_a_stream_lasts_until_its_end(http: httpx2.Client, taken: Receiver) -> None:
    trace, _, headers = made_up()
    with http.stream("POST", "/count", json={"to": 4, "pause_s": 0.2}, headers=headers) as answer:
        assert answer.headers["x-trace-id"] == trace
        assert [int(line) for line in answer.iter_lines()] == [0, 1, 2, 3]
    seen = taken.trace(trace, 4)
    root = seen.named("POST /count").service
    assert seen.path("Leaf.count") == ["Leaf.count", "call Leaf.count", f"{root}.count", "POST /count"]
    for each in seen:
        assert each.end_s - each.start_s >= 0.55, each.name


def test_a_stream_that_breaks_off_is_marked(http: httpx2.Client, taken: Receiver, server: Serving) -> None:
    trace, _, headers = made_up()
    with pytest.raises(httpx2.RemoteProtocolError):
        http.post("/count", json={"to": 4, "break_after": 2}, headers=headers)
    seen = taken.trace(trace, 4)
    assert seen.named("POST /count").failed
    page = httpx2.get(f"{server.url}/metrics", trust_env=False).text
    root = seen.named("POST /count").service
    assert f'orchestrator_streams_failed_total{{api="count",service="{root}"}} 1.0' in page
    assert f'orchestrator_streams_in_progress{{api="count",service="{root}"}} 0.0' in page


def test_a_service_elsewhere_goes_on_with_the_trace(taken: Receiver) -> None:
    with live_server(Far) as url, pytest.MonkeyPatch.context() as patch:
        for name, value in {**taken.environment, "FAR_URL": url}.items():
            patch.setenv(name, value)
        with Serving("remote_near:InTriton") as server:
            trace, _, headers = made_up()
            answer = httpx2.post(f"{server.url}/seen", headers=headers, timeout=30, trust_env=False)
            seen = taken.trace(trace, 3)
            host = url.removeprefix("http://")
            assert seen.path(f"call {host}.seen") == [f"call {host}.seen", "InTriton.seen", "POST /seen"]
            # What the other server was told is this very step, so that its own steps hang below it.
            assert answer.json()["trace"] == f"00-{trace}-{seen.named(f'call {host}.seen').id}-01"
