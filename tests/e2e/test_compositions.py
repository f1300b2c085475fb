"""Services that call services on the real Triton: roots on the front-end and in Triton (BLS) pass the one table."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.compositions import CASES, PROBLEMS, STREAMS, Case, Problem, cases
from tests.e2e.serving import Serving, eventually

pytestmark = pytest.mark.e2e
ROOTS = ["Root", "RootInTriton", "SyncRoot", "SyncRootInFrontend"]
STREAMING = ["Root", "RootInTriton", "SyncStreams", "SyncStreamsInFrontend"]
ASYNC = ["Root", "RootInTriton"]
CLIENTS = 64


class Client:
    """The address of a running root, by httpx's interface."""

    def __init__(self, server: Serving) -> None:
        self.server = server
        self._http = httpx2.Client(base_url=server.url, timeout=60)

    def post(self, path: str, **sent: Any) -> Any:
        return self._http.post(path, **sent)

    def stream(self, path: str, **sent: Any) -> Any:
        return self._http.stream("POST", path, **sent)

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="module")
def http(request: pytest.FixtureRequest) -> Iterator[Client]:
    with Serving(f"composition:{request.param}") as server:
        client = Client(server)
        yield client
        client.close()
        assert server.stop() == 0


def of(roots: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("http", roots, indirect=True, scope="module")


@of(ROOTS)
@cases(CASES)
def test_the_same_answer_everywhere(http: Client, case: Case) -> None:
    case.check(http)


@of(ROOTS)
@cases(PROBLEMS)
def test_the_same_refusal_everywhere(http: Client, case: Problem) -> None:
    case.check(http)


@of(ROOTS)
def test_a_leaf_that_wants_to_exit_fails_one_call(http: Client) -> None:
    assert http.post("/fail", json={"how": "exit"}).status_code == 500
    assert http.post("/fail", json={"how": "none of these"}).json() == 0


@of(STREAMING)
@cases(STREAMS)
def test_the_same_chunks_everywhere(http: Client, case: Case) -> None:
    case.check(http)


@of(STREAMING)
def test_an_error_in_a_stream_has_its_status_or_breaks_it(http: Client) -> None:
    answer = http.post("/breaking", json={"after": 0})
    assert (answer.status_code, answer.json()["name"]) == (418, "Teapot")
    with pytest.raises(httpx2.RemoteProtocolError):
        http.post("/breaking", json={"after": 3})


@of(STREAMING)
def test_a_client_that_leaves_ends_the_leafs_stream(http: Client) -> None:
    before = talked(http)
    with http.stream("/endless", json={}) as answer:
        assert next(answer.iter_lines()) == "0"
    assert eventually(lambda: talked(http)["ended"] > before["ended"], 10)
    made = talked(http)["made"]
    assert not eventually(lambda: talked(http)["made"] > made, 0.5)


@of(ROOTS)
def test_a_stream_that_is_left_ends(http: Client) -> None:
    before = talked(http)
    assert http.post("/first", json={"of": 100_000}).json() == [0, 1, 2]
    assert eventually(lambda: talked(http)["ended"] > before["ended"], 10)
    assert talked(http)["made"] - before["made"] < 50_000


@of(ROOTS)
def test_the_roots_deadline_is_the_leafs(http: Client) -> None:
    before = talked(http)["ended"]
    answer = http.post("/slow", json={"wait_s": 60}, headers={"X-Request-Timeout": "0.5"})
    assert answer.status_code == 504
    assert eventually(lambda: talked(http)["ended"] > before, 10)


@of(ROOTS)
def test_many_graphs_at_once(http: Client) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda x: http.post("/parallel", json={"x": x}).json(), range(2 * CLIENTS)))
    assert answers == [[x + 10, 2 * x, x + 20] for x in range(2 * CLIENTS)]


@of(ASYNC)
def test_a_call_that_blocks_the_event_loop_works_all_the_same(http: Client) -> None:
    assert [http.post("/blocking", json={"x": n}).json() for n in range(3)] == [1, 2, 3]
    assert http.server.log.count("in a way that blocks all other calls meanwhile") == 1


@of(ASYNC)
def test_calls_of_a_batchable_leaf_are_merged_across_requests(http: Client) -> None:
    before = http.post("/scored").json()
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda n: http.post("/score", json={"rows": [[n]]}).json(), range(4 * CLIENTS)))
    assert answers == [[[2.0 * n]] for n in range(4 * CLIENTS)]
    after = http.post("/scored").json()
    calls, rows = after["calls"] - before["calls"], after["rows"] - before["rows"]
    print(f"\n{rows} rows in {calls} calls of the leaf's method")
    assert rows == 4 * CLIENTS
    assert calls < rows * 0.7


def talked(http: Client) -> Any:
    return http.post("/talked").json()
