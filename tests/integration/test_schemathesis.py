"""Whatever a caller makes of the OpenAPI document: no 5xx, and answers as the document says."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from orchestrator.sdk import read_service
from orchestrator.testing import local_client
from tests.services.kinds import Kinds
from tests.services.mixed import Mixed

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SERVICES: dict[str, type] = {"Kinds": Kinds, "Mixed": Mixed}
OPERATIONS = [
    (name, "POST", api.route) for name, service in SERVICES.items() for api in read_service(service, "m:S").spec.apis
] + [("Kinds", "GET", path) for path in ("/livez", "/readyz", "/healthz", "/metrics")]


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, TestClient]]:
    with local_client(Kinds) as kinds, local_client(Mixed) as mixed:
        yield {"Kinds": kinds, "Mixed": mixed}


@pytest.mark.parametrize(("service", "method", "path"), OPERATIONS)
def test_an_operation_does_what_the_document_says(
    clients: dict[str, TestClient], service: str, method: str, path: str
) -> None:
    client = clients[service]
    document = schemathesis.openapi.from_dict(client.get("/openapi.json").json())

    @given(document[path][method].as_strategy())
    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def check(case: Any) -> None:
        # Not `case.call`: it would start and stop the application, and its backend, with every call.
        request: Any = requests.Request(**case.as_transport_kwargs("http://testserver")).prepare()
        answer = client.request(request.method, request.url, content=request.body, headers=request.headers)
        case.validate_response(answer, checks=CHECKS)

    check()
