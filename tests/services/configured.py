"""A service that is configured in its code, and that looks at its environment while it is imported and while it answers."""

import os

import orchestrator

MODE_AT_IMPORT = os.environ.get("MODE", "none")


@orchestrator.service(
    traffic={"timeout": 10},
    envs=[{"name": "FROM_CODE", "value": "code"}, {"name": "ONLY_BUILT", "value": "x", "stage": "build"}],
    labels={"team": "vision"},
    monitoring={"enabled": True},
)
class Configured:
    @orchestrator.api
    def environment(self, name: str) -> str:
        return os.environ.get(name, "none")

    @orchestrator.api
    def mode_at_import(self) -> str:
        return MODE_AT_IMPORT


@orchestrator.service(cmd=["python", "-m", "http.server"])
class Command:
    """A process of its own."""
