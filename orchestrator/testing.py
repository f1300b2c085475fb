"""For tests of your own services: the same front-end, without Triton.

from orchestrator.testing import local_client

def test_greet():
    with local_client(Greeter) as client:
        assert client.post("/greet", json={"name": "Ada"}).text == "Hello, Ada"
"""

from collections.abc import Generator
from contextlib import contextmanager

from starlette.testclient import TestClient

from orchestrator.errors import DefinitionError
from orchestrator.sdk import read_service
from orchestrator.sdk.alias import install_bentoml
from orchestrator.server import FrontendOptions, create_app, extension_of
from orchestrator.spec import Placement
from orchestrator.worker.local_graph import LocalGraph

__all__ = ["install_bentoml", "local_client"]


@contextmanager
def local_client(service: type, *, options: FrontendOptions | None = None) -> Generator[TestClient, None, None]:
    """An HTTP client of a service that runs in this process; so do the models and services that it calls.

    Args:
        service: a class with `@orchestrator.service`.
        options: limits of the front-end.

    Yields:
        A client with `get`, `post` ... (httpx's interface); errors come as answers, never as exceptions.

    Raises:
        DefinitionError: the class cannot be served, or its `__init__` failed.
    """
    definition = read_service(service, f"{service.__module__}:{service.__qualname__}")
    if definition.spec.placement is Placement.COMMAND:
        raise DefinitionError(f"{definition.spec.name} is a process of its own", hint="`orchestrator serve` runs it")
    backend = LocalGraph(definition.graph)
    extension = extension_of(service, backend.locals[definition.spec.name].running.instance)
    others = [each.spec for each in definition.others]
    app = create_app(definition.spec, backend, others=others, options=options, extension=extension)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
