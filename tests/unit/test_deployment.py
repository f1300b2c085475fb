"""Hooks that run once, before any worker starts."""

import pytest

import orchestrator
from orchestrator.cli.deployment import run_deployment_hooks
from orchestrator.errors import DefinitionError
from orchestrator.sdk import read_service

RAN: list[str] = []


@orchestrator.service
class Deployed:
    @orchestrator.api
    def run(self) -> int:
        return 1

    @staticmethod
    @orchestrator.on_deployment
    def first() -> None:
        RAN.append("first")

    @orchestrator.on_deployment
    async def second() -> None:  # type: ignore[misc]  # BentoML's users write it without self
        RAN.append("second")

    @orchestrator.on_deployment
    def third(cls) -> None:  # it gets the class
        RAN.append(cls.__name__)  # type: ignore[attr-defined]


@orchestrator.service
class Broken:
    @orchestrator.api
    def run(self) -> int:
        return 1

    @staticmethod
    @orchestrator.on_deployment
    def fails() -> None:
        raise RuntimeError("no disk")


def test_they_run_in_order_sync_and_async_and_without_an_instance() -> None:
    RAN.clear()
    run_deployment_hooks(read_service(Deployed, "m:Deployed"))
    assert RAN == ["first", "second", "Deployed"]


def test_one_that_fails_stops_the_start_and_names_its_line() -> None:
    with pytest.raises(DefinitionError, match=r"test_deployment\.py:\d+: Broken\.fails failed: RuntimeError: no disk"):
        run_deployment_hooks(read_service(Broken, "m:Broken"))
