"""`orchestrator export` of services that call each other: one repository with all of them."""

import json
from pathlib import Path
from typing import Any

from orchestrator.formats import MODEL_SPEC_FILE
from orchestrator.spec import NativeModelSpec
from tests.e2e.graphs import SYNC_ROOT, write_graph, write_leaf
from tests.e2e.versions import save_number
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


def test_a_leaf_that_has_changed_is_a_difference_of_the_whole(tmp_path: Path) -> None:
    write_graph(tmp_path, "a")
    export(tmp_path)
    write_leaf(tmp_path, "Left", "b")
    assert export(tmp_path, "--check")["differences"] == [], "code is not in the repository"
    left = tmp_path / "left.py"
    left.write_text(left.read_text().replace("def tell(self)", "def tell(self, twice: bool = False)"))
    done = run("export", "root:Root", "--working-dir", tmp_path, "--repository", tmp_path / "repository", "--check")
    assert (done.returncode, done.stdout) == (1, "differs: run `orchestrator export` again\n")
    named = {line.partition("/")[0] for line in done.stderr.splitlines()}
    assert {"Left", "Left.tell"} <= named
    assert not any(name.startswith("Right") for name in named)
    export(tmp_path)
    assert export(tmp_path, "--check")["differences"] == []


def test_a_caller_knows_what_a_leaf_takes_so_that_it_differs_with_it(tmp_path: Path) -> None:
    write_graph(tmp_path, "a", root=SYNC_ROOT)
    export(tmp_path)
    left = tmp_path / "left.py"
    left.write_text(left.read_text().replace("def tell(self)", "def tell(self, twice: bool = False)"))
    differences = export(tmp_path, "--check")["differences"]
    assert "Root/1/service.json: not what the service says" in differences


def test_facades_of_a_leafs_former_apis_go_and_other_services_stay(tmp_path: Path) -> None:
    write_graph(tmp_path, "a")
    export(tmp_path)
    write_graph(tmp_path / "alone", "a")
    foreign = (tmp_path / "alone" / "left.py").read_text().replace("Left", "Lefty")
    (tmp_path / "alone" / "left.py").write_text(foreign)
    run("export", "left:Lefty", "--working-dir", tmp_path / "alone", "--repository", tmp_path / "repository")
    left = tmp_path / "left.py"
    left.write_text(left.read_text().replace("def shout", "def whisper"))
    assert "Left.shout: its API is gone" in export(tmp_path, "--check")["differences"]
    export(tmp_path)
    lefty = {"Lefty", "Lefty.tell", "Lefty.shout"}
    assert models_in(tmp_path) == (set(GRAPH) | lefty | {"Left.whisper"}) - {"Left.shout"}


SHARING = """
import numpy as np
import orchestrator

@orchestrator.service
class Leaf:
    one = orchestrator.models.Onnx("number:latest")

    @orchestrator.api
    def tell(self) -> float:
        return float(self.one(np.zeros((1, 1), np.float32))[0, 0])

@orchestrator.service
class Root:
    leaf = orchestrator.depends(Leaf)
    two = orchestrator.models.Onnx("number:1"{options})

    @orchestrator.api
    async def tell(self) -> float:
        return await self.leaf.to_async.tell()
"""


def test_services_that_declare_the_same_stored_model_have_one_of_it(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    save_number(tmp_path / "home", 1)
    module = tmp_path / "root.py"
    module.write_text(SHARING.format(options=""))
    outcome = export(tmp_path, ORCHESTRATOR_HOME=home)
    assert outcome["models"] == ["number", "Leaf"], "before both of those that call it"
    document = (tmp_path / "repository" / "number" / "1" / MODEL_SPEC_FILE).read_bytes()
    assert NativeModelSpec.parse(document).tag == "number:1"
    assert export(tmp_path, "--check", ORCHESTRATOR_HOME=home)["differences"] == []
    module.write_text(SHARING.format(options=", max_batch_size=3"))
    done = run(
        "export", "root:Root", "--working-dir", tmp_path, "--repository", tmp_path / "other", ORCHESTRATOR_HOME=home
    )
    assert not (tmp_path / "other").exists()
    assert done.returncode == 1
    assert "different models of the name 'number'" in done.stderr
    module.write_text(SHARING.format(options=", max_batch_size=3, name='mine'"))
    assert export(tmp_path, ORCHESTRATOR_HOME=home)["models"] == ["number", "Leaf", "mine"]
