"""Imports that only a worker needs, and the instance of the running call."""

import pytest

import orchestrator
from orchestrator.errors import DefinitionError
from orchestrator.sdk import importing as module
from orchestrator.testing import local_client


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_demanded", False)
    monkeypatch.setattr(module, "_left_out", [])


def test_a_process_that_only_reads_the_service_goes_on_without_it() -> None:
    with orchestrator.importing():
        import not_there_at_all  # type: ignore[import-not-found]  # noqa: F401


def test_a_worker_does_not() -> None:
    module.demand_imports()
    with pytest.raises(ModuleNotFoundError), orchestrator.importing():
        import not_there_at_all  # noqa: F401


def test_nor_does_a_process_that_read_it_first() -> None:
    with orchestrator.importing():
        import not_there_at_all  # noqa: F401
    with pytest.raises(DefinitionError, match="No module named 'not_there_at_all', and this process runs the service"):
        module.demand_imports()


def test_other_errors_come_through() -> None:
    with pytest.raises(ZeroDivisionError), orchestrator.importing():
        _ = 1 / 0


@orchestrator.service
class Current:
    def __init__(self) -> None:
        self.before = orchestrator.get_current_service()

    @orchestrator.api
    def sync(self) -> bool:
        return orchestrator.get_current_service() is self and self.before is None

    @orchestrator.api
    async def asynchronous(self) -> bool:
        return orchestrator.get_current_service() is self


def test_the_current_service_is_the_calls_own() -> None:
    assert orchestrator.get_current_service() is None
    with local_client(Current) as client:
        assert client.post("/sync").json() is True
        assert client.post("/asynchronous").json() is True
