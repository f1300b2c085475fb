"""The operator's API: what is refused before anything has happened is a problem document with our codes."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from orchestrator.deployment import Deployer, Serving
from orchestrator.sdk.graph import read_service
from orchestrator.server.operator import create_operator_app
from orchestrator.spec import Placement, ServiceSpec
from tests.services.greeter import Greeter


def refusal(service: ServiceSpec, path: str, body: Any, *, reloads: bool = False) -> tuple[int, str, str]:
    """Status, code and sentence of what a server answers that has no Triton yet, so that nothing can happen."""
    deployer = Deployer(
        Serving(Path("/nowhere"), service, reloads),
        connect=lambda: pytest.fail("Triton is not to be asked"),
        store=lambda: pytest.fail("the store is not to be asked"),
        resolve=lambda *_: pytest.fail("no model is to be looked up"),
    )

    async def ask() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=create_operator_app(deployer, "http://127.0.0.1:3000"))
        async with httpx2.AsyncClient(transport=transport, base_url="http://operator") as http:
            return await http.post(path, json=body)

    answer = asyncio.run(ask())
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == answer.status_code
    return answer.status_code, document["type"].removeprefix("urn:orchestrator:error:"), document["detail"]


@pytest.fixture(scope="module")
def greeter() -> ServiceSpec:
    return read_service(Greeter, "greeter:Greeter").spec


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        ("/deploy", {"model": "iris:1"}, 409, "deployment", "Greeter uses no stored model"),
        ("/deploy", {"model": "iris:"}, 400, "invalid_input", "no version after the colon"),
        ("/deploy", {"model": 3}, 400, "invalid_input", "cannot be read"),
        ("/deploy", {}, 400, "invalid_input", "cannot be read"),
        ("/deploy-code", {"spec": {}, "folder": "/", "sources": "", "files": 0}, 400, "invalid_input", "one version"),
        ("/rollback", {"name": "iris"}, 409, "deployment", "nothing here is named 'iris'"),
        ("/nothing", {}, 404, "http", "POST /nothing: Not Found"),
        ("/status", {}, 405, "http", "Method Not Allowed"),
    ],
)
def test_a_refusal_is_a_problem(greeter: ServiceSpec, path: str, body: Any, status: int, code: str, words: str) -> None:
    found = refusal(greeter, path, body)
    assert found[:2] == (status, code)
    assert words in found[2]


@pytest.mark.parametrize(
    ("placement", "reloads", "words"),
    [
        (Placement.FRONTEND, False, "runs on the front-end"),
        (Placement.FRONTEND, True, "--reload, which takes new code"),
        (Placement.TRITON, True, "--reload, which takes new code"),
    ],
)
def test_code_that_cannot_be_exchanged_is_refused_with_the_reason(
    greeter: ServiceSpec, placement: Placement, reloads: bool, words: str
) -> None:
    service = greeter.model_copy(update={"placement": placement})
    body = {"spec": greeter.model_dump(mode="json", exclude_defaults=True), "folder": "/", "sources": "", "files": 0}
    status, code, detail = refusal(service, "/deploy-code", body, reloads=reloads)
    assert (status, code) == (409, "deployment")
    assert words in detail
