"""What the front-end answers beside calls: health, metrics, documents."""

import re
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from orchestrator.testing import local_client
from tests.services.greeter import Greeter
from tests.services.kinds import Kinds
from tests.services.mixed import Mixed
from tests.services.rows import Rows


@pytest.fixture(scope="module")
def kinds() -> Iterator[TestClient]:
    with local_client(Kinds) as client:
        yield client


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_a_running_service_is_alive_and_ready(kinds: TestClient, path: str) -> None:
    answer = kinds.get(path)
    assert (answer.status_code, answer.text.strip()) == (200, "")


@pytest.mark.parametrize("given", ["abc-123", "a" * 128, "id with spaces"])
def test_the_callers_request_id_comes_back(kinds: TestClient, given: str) -> None:
    assert kinds.post("/nothing", headers={"X-Request-ID": given}).headers["x-request-id"] == given
    assert kinds.post("/nowhere", headers={"X-Request-ID": given}).json()["request_id"] == given


@pytest.mark.parametrize("given", [None, "", "a" * 129, "tab\tinside", b"\xff"])
def test_a_request_without_a_usable_id_gets_a_new_one(kinds: TestClient, given: str | bytes | None) -> None:
    headers = [] if given is None else [(b"X-Request-ID", given if isinstance(given, bytes) else given.encode())]
    ids = {kinds.post("/nothing", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


def test_metrics_count_calls_by_api_and_status() -> None:
    with local_client(Kinds) as client:
        for value in (1, 2, "x"):
            client.post("/integer", json={"value": value})
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = {
        (sample.name, sample.labels.get("api"), sample.labels.get("status")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["orchestrator_requests_total", "integer", "200"] == 2
    assert samples["orchestrator_requests_total", "integer", "400"] == 1
    assert samples["orchestrator_request_duration_seconds_count", "integer", None] == 3
    assert samples["orchestrator_requests_in_progress", "integer", None] == 0


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_pages_work_without_the_internet(kinds: TestClient, path: str) -> None:
    page = kinds.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    links = re.findall(r'(?:src|href|url)\s*[=:]\s*["\']([^"\']+)["\']', page.text)
    assert links
    for link in links:
        assert not re.match(r"(https?:)?//", link), link
        if not link.startswith("data:"):
            assert kinds.get(re.sub(r"^\./?|^/?", "/", link)).status_code == 200, link


def test_no_page_names_another_host(kinds: TestClient) -> None:
    for path in ("/docs", "/redoc"):
        assert re.findall(r"https?://[\w.-]+", kinds.get(path).text) == []


def test_the_document_has_every_api_with_its_types_defaults_and_failures(kinds: TestClient) -> None:
    document = kinds.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "Kinds"
    operation = document["paths"]["/limits/both"]["post"]
    body = operation["requestBody"]["content"]["application/json"]
    assert body["schema"]["properties"]["small"] == {"type": "integer", "minimum": 1, "maximum": 10, "default": 3}
    assert "required" not in body["schema"]
    assert set(operation["responses"]) >= {"200", "400", "413", "415", "500", "503", "504"}
    assert document["paths"]["/text"]["post"]["summary"] == "The same text."
    assert set(document["components"]["schemas"]) >= {"Problem", "Point"} or "Point" in str(document)
    assert {"/livez", "/readyz", "/healthz", "/metrics"} <= set(document["paths"])


@pytest.mark.parametrize("service", [Kinds, Mixed, Rows, Greeter])
def test_every_example_in_the_document_is_a_call_that_works(service: type) -> None:
    with local_client(service) as client:
        for path, methods in client.get("/openapi.json").json()["paths"].items():
            if "post" in methods and path != "/anything":  # its example is null, which FastAPI leaves out
                example = methods["post"]["requestBody"]["content"]["application/json"]["example"]
                assert client.post(path, json=example).status_code == 200, (path, example)


def test_every_reference_in_the_document_has_its_target(kinds: TestClient) -> None:
    document = kinds.get("/openapi.json")
    schemas = document.json()["components"]["schemas"]
    for name in re.findall(r'"\$ref":\s*"([^"]+)"', document.text):
        assert name.startswith("#/components/schemas/")
        assert name.rsplit("/", 1)[-1] in schemas
