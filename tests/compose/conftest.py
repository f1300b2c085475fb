"""Runs with `make compose-test` alone: it starts a Docker engine, and takes minutes."""

from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "compose: docker-compose.yml on a real engine (runs in `make compose-test`)")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if config.getoption("markexpr") == "compose" else True
