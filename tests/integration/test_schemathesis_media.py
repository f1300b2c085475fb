"""As `test_schemathesis`, for files, tables, arrays, roots and streams."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from starlette.testclient import TestClient

from orchestrator.sdk import read_service
from orchestrator.testing import local_client
from tests.integration.test_schemathesis import CHECKS
from tests.services.media import Media, Streams

LEFT_OUT = {
    "answer",  # answers with whatever status it is given
    "frame", "columns", "root_frame",  # give back any table: one of integers over 64 bits is their own fault
    "forever", "late",  # never end
}  # fmt: skip
OPERATIONS = [
    (service, "POST", api.route)
    for service in (Media, Streams)
    for api in read_service(service, "m:S").spec.apis
    if api.name not in LEFT_OUT
] + [(Media, "GET", "/schema.json")]


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[type, TestClient]]:
    with local_client(Media) as media, local_client(Streams) as streams:
        yield {Media: media, Streams: streams}


@pytest.mark.parametrize(("service", "method", "path"), OPERATIONS)
def test_an_operation_does_what_the_document_says(
    clients: dict[type, TestClient], service: type, method: str, path: str
) -> None:
    client = clients[service]
    document = schemathesis.openapi.from_dict(client.get("/openapi.json").json())

    @given(document[path][method].as_strategy())
    @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def check(case: Any) -> None:
        if service is Streams and isinstance(case.body, dict):
            case.body = {name: value for name, value in case.body.items() if name not in ("count", "fail", "status")}
        request: Any = requests.Request(**case.as_transport_kwargs("http://testserver")).prepare()
        if b"//" in (request.body or b""):
            return  # a URL: a test of this kind fetches nothing
        answer = client.request(request.method, request.url, content=request.body, headers=request.headers)
        case.validate_response(answer, checks=CHECKS)

    check()
