"""The places that a model store can be in."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store import Store
from tests.contract.stores import Place, PostgreSQL, Workers, bucket_server, postgresql

PLACES = ["sqlite+folder", "postgresql+folder", "sqlite+s3", "postgresql+s3"]


@pytest.fixture(scope="session")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as started:
        yield started


@pytest.fixture(scope="session")
def bucket() -> Iterator[dict[str, str]]:
    with bucket_server() as environment:
        yield environment


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with Workers(tmp_path_factory.mktemp("workers")) as started:
        yield started


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Every place in turn; a test may ask for some of them with `indirect`."""
    database, objects = request.param.split("+")
    found = Place(request.param, tmp_path / "home")
    if objects == "s3":
        found.environment = request.getfixturevalue("bucket")
        found.objects = f"s3://models/{uuid.uuid4().hex}"
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
    if database == "sqlite":
        yield found
        return
    with request.getfixturevalue("server").database() as url:
        found.database = url
        yield found


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with place.open() as opened:
        yield opened
