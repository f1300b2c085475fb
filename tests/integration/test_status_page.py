"""The status page and its document, without a browser: where they are, what they say, and whom they leave alone."""

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import orchestrator
from orchestrator.testing import local_client
from tests.integration.live import live_server
from tests.services.kinds import Kinds
from tests.services.shown import AtHome, Shown

theirs = FastAPI()


@theirs.get("/")
def home() -> str:
    return "mine"


@orchestrator.service
@orchestrator.asgi_app(theirs, path="/")
class MountedAtHome:
    @orchestrator.api
    def one(self) -> int:
        return 1


@orchestrator.service(path_prefix="/inner", metrics={"enabled": False})
class Inner:
    @orchestrator.api
    def one(self) -> int:
        return 1


@orchestrator.service(traffic={"max_concurrency": 1})
class Full:
    @orchestrator.api
    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


@orchestrator.service
class NotReady:
    @orchestrator.api
    def one(self) -> int:
        return 1

    def __is_ready__(self) -> bool:
        return False


@pytest.fixture(scope="module")
def kinds() -> Iterator[TestClient]:
    with local_client(Kinds) as client:
        yield client


def is_page(answer: httpx2.Response) -> bool:
    return answer.status_code == 200 and 'src="docs/status/main.js"' in answer.text


def document_of(service: type) -> dict[str, Any]:
    with local_client(service) as client:
        return dict(client.get("/status.json").json())


@pytest.mark.parametrize(("path", "root"), [("/", "./"), ("/docs/status", "../")])
def test_the_page_finds_its_files_from_both_of_its_places(kinds: TestClient, path: str, root: str) -> None:
    page = kinds.get(path)
    assert is_page(page)
    assert f'<base href="{root}">' in page.text
    assert page.headers["cache-control"] == "no-cache"
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text.replace(f'<base href="{root}">', ""))
    assert len(links) > 10
    for link in links:
        assert kinds.get(f"/{link}").status_code == 200, link


def test_the_files_name_no_other_host_and_are_asked_for_again(kinds: TestClient) -> None:
    links = set(re.findall(r'(?:src|href)="(docs/status/[^"]+)"', kinds.get("/").text))
    seen: set[str] = set()
    while links - seen:
        link = (links - seen).pop()
        seen.add(link)
        file = kinds.get(f"/{link}")
        assert file.headers["cache-control"] == "no-cache"
        assert kinds.get(f"/{link}", headers={"If-None-Match": file.headers["etag"]}).status_code == 304
        assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)[\w.-]+", file.text) == []
        assert re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", file.text) is None
        links |= {f"docs/status/{name}" for name in re.findall(r'from "\./([\w.]+)"', file.text)}
    assert {link for link in seen if link.endswith(".js")} <= set(
        re.findall(r'(?:src|href)="(docs/status/\w+\.js)"', kinds.get("/").text)
    ), "each is named by the page itself, so that none waits for another"


def test_what_a_service_has_at_the_same_place_comes_first() -> None:
    with local_client(AtHome) as client:
        assert client.post("/").text == "mine"
        assert client.get("/").status_code == 405
        assert client.post("/status.json").text == "mine, too"
        assert client.get("/status.json").json()["service"] == "AtHome"
        assert is_page(client.get("/docs/status"))
    with local_client(MountedAtHome) as client:
        assert client.get("/").json() == "mine"
        assert is_page(client.get("/docs/status"))


def test_a_prefix_moves_it_and_metrics_that_are_off_are_not_told_here() -> None:
    with local_client(Inner) as client:
        assert is_page(client.get("/inner/"))
        assert client.get("/inner/docs/status/main.js").status_code == 200
        document = client.get("/inner/status.json").json()
        assert document["counters"] is None
        assert client.get("/status.json").status_code == 404


def test_the_document_says_what_is_served() -> None:
    document = document_of(Shown)
    assert document["service"] == "Shown"
    assert document["health"] == {"state": "serving", "reason": ""}
    root, counter = document["services"]
    assert (root["name"], root["root"], root["placement"]) == ("Shown", True, "frontend")
    assert root["calls"] == [{"attribute": "counter", "service": "Counter", "url": None}]
    assert (counter["name"], counter["root"], counter["placement"]) == ("Counter", False, "triton")
    story = next(api for api in root["apis"] if api["name"] == "story")
    assert story == {
        "name": "story",
        "route": "/story",
        "doc": "Waits in its middle until it is told to go on.",
        "stream": True,
        "batches": False,
    }
    assert [(model["name"], model["kind"], model["versions"]) for model in document["models"]] == [
        ("Counter", "service", [])
    ]


def test_counters_are_those_of_the_metrics_page() -> None:
    with local_client(Kinds) as client:
        for value in (1, 2, "x"):
            client.post("/integer", json={"value": value})
        document = client.get("/status.json").json()
        page = client.get("/metrics").text
    counted = document["counters"]["apis"]["integer"]
    assert counted["statuses"] == {"200": 2, "400": 1}
    assert counted["buckets"][-1] == 3
    assert document["counters"]["bounds_s"][-1] is None
    for bound, count in zip(document["counters"]["bounds_s"][:-1], counted["buckets"], strict=False):
        assert f'duration_seconds_bucket{{api="integer",le="{bound}",service="Kinds"}} {count}' in page
    assert sum(sum(api["statuses"].values()) for api in document["counters"]["apis"].values()) == 3


def test_many_readers_cost_one_document() -> None:
    with local_client(Kinds) as client:
        documents = [client.get("/status.json").json() for _ in range(5)]
        assert len({document["at_s"] for document in documents}) < 5
        time.sleep(1)
        assert client.get("/status.json").json()["at_s"] > documents[-1]["at_s"]


def test_a_full_service_still_shows_how_it_is() -> None:
    with live_server(Full) as url, httpx2.Client(base_url=url, timeout=30) as client:
        answers: list[httpx2.Response] = []
        ask = lambda: answers.append(httpx2.post(f"{url}/wait", json={"seconds": 4}, timeout=30))  # noqa: E731
        calls = [threading.Thread(target=ask) for _ in range(3)]
        for call in calls:
            call.start()
        try:
            end = time.monotonic() + 10
            while not answers and time.monotonic() < end:  # the first one that got no place
                time.sleep(0.02)
            assert answers[0].status_code == 429
            assert is_page(client.get("/"))
            time.sleep(1)  # until an older document counts no more
            document = client.get("/status.json").json()
            assert document["counters"]["apis"]["wait"]["in_progress"] >= 1
            assert document["counters"]["queue"]["refused"] >= 1
        finally:
            for call in calls:
                call.join()


def test_a_service_that_is_not_ready_is_told_as_such() -> None:
    assert document_of(NotReady)["health"] == {"state": "down", "reason": "the service is not ready"}
