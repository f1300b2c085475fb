"""Imports that only a worker needs, and the instance of the running call."""

import pytest

import orchestrator
from orchestrator.errors import DefinitionError
from orchestrator.sdk import importing as module
from orchestrator.sdk.context import set_process_service
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
    @orchestrator.api
    def sync(self) -> bool:
        return orchestrator.get_current_service() is self

    @orchestrator.api
    async def asynchronous(self) -> bool:
        return orchestrator.get_current_service() is self


def test_the_current_service_is_the_calls_own_and_else_the_processes() -> None:
    with local_client(Current) as first, local_client(Current) as second:
        for client in (first, second):
            assert client.post("/sync").json() is True
            assert client.post("/asynchronous").json() is True
        assert type(orchestrator.get_current_service()) is Current


def test_without_a_service_there_is_none() -> None:
    set_process_service(None)
    with pytest.raises(RuntimeError, match="no service runs here"):
        orchestrator.get_current_service()
