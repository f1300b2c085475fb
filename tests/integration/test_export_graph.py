"""`orchestrator export` of services that call each other: one repository with all of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.triton.control import Control
from tests import onnx_models
from tests.e2e.graphs import LEAF, write_graph, write_leaf
from tests.integration.test_config_cli import run

GRAPH = ["Left", "Left.tell", "Left.shout", "Right", "Right.tell", "Right.shout"]


def export(folder: Path, *options: Any, service: str = "root:Root", **env: str) -> dict[str, Any]:
    done = run(
        "export", service, "--working-dir", folder, "--repository", folder / "repository", "--json", *options, **env
    )
    assert done.returncode in (0, 1), done.stderr
    return dict(json.loads(done.stdout))


def models_in(folder: Path) -> set[str]:
    return {path.parent.name for path in (folder / "repository").glob("*/config.pbtxt")}


def test_all_services_that_triton_runs_are_written_dependencies_first(tmp_path: Path) -> None:
    write_graph(tmp_path, "a")
    outcome = export(tmp_path)
    assert outcome["models"] == GRAPH, "the root is on the front-end"
    assert models_in(tmp_path) == set(GRAPH)
    assert outcome["service"]["name"] == "Root"
    assert [each["name"] for each in outcome["others"]] == ["Left", "Right"]
    assert export(tmp_path, "--check")["differences"] == []
    write_graph(tmp_path, "a", root=SYNC_ROOT)
    assert export(tmp_path)["models"] == [*GRAPH, "Root"]
