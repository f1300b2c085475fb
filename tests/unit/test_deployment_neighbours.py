"""New code of one service among the others that a server serves."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.deployment import ServiceCode, Serving
from orchestrator.deployment.code import changed_files
from orchestrator.deployment.neighbours import among, callers_of, module_files, reached_from
from orchestrator.errors import DeploymentError
from orchestrator.sdk.graph import read_service
from orchestrator.spec import Placement, ServiceSpec
from orchestrator.worker.snapshot import take_snapshot
from orchestrator.worker.source import code_files

GRAPH = """
import orchestrator

@orchestrator.service
class Leaf:
    @orchestrator.api
    def tell(self, x: int) -> int:
        return x

    @orchestrator.api
    def shout(self) -> str:
        return "a"

@orchestrator.service
class Other:
    @orchestrator.api
    def tell(self) -> int:
        return 1

@orchestrator.service
class Middle:
    leaf = orchestrator.depends(Leaf)

    @orchestrator.api
    async def tell(self) -> int:
        return await self.leaf.to_async.tell(1)

@orchestrator.service
class Root:
    middle = orchestrator.depends(Middle)
    other = orchestrator.depends(Other)

    @orchestrator.api
    def tell(self) -> int:
        return int(self.middle.to_sync.tell())
"""


def graph(source: str = GRAPH, root: str = "Root", *, name: str = "graph_of_neighbours") -> dict[str, ServiceSpec]:
    """The services of a module that a class reaches, by name."""
    module = ModuleType(name)
    sys.modules[name] = module  # where a class that another one depends on is looked for
    try:
        exec(compile(source, f"{name}.py", "exec"), module.__dict__)
        definition = read_service(getattr(module, root), f"{name}:{root}")
    finally:
        del sys.modules[name]
    return {each.spec.name: each.spec for each in definition.graph}


def changed(old: str, new: str, root: str = "Root") -> dict[str, ServiceSpec]:
    assert old in GRAPH
    return graph(GRAPH.replace(old, new), root)


def test_who_calls_whom() -> None:
    serves = graph()
    assert [each.name for each in callers_of("Leaf", serves)] == ["Middle"]
    assert callers_of("Root", serves) == []
    assert reached_from(serves["Root"], serves) == ["Middle", "Other", "Leaf"]


def test_a_service_that_others_moved_into_triton_stays_there_though_alone_it_would_not_be() -> None:
    serves = graph()
    alone = graph(root="Middle")["Middle"]
    assert (serves["Middle"].placement, alone.placement) == (Placement.TRITON, Placement.FRONTEND)
    assert among(alone, serves) == serves["Middle"]
    moved = serves | {"Root": serves["Root"].model_copy(update={"placement": Placement.FRONTEND})}
    assert among(alone, moved).placement is Placement.FRONTEND, "nobody in Triton calls it"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("def tell(self, x: int) -> int", "def tell(self, x: str) -> int", "`leaf`, Leaf: `tell`, argument `x`: integer became"),
        ("def shout", "def whisper", "`leaf`, Leaf: `shout` is gone; `leaf`, Leaf: `whisper` is new"),
        ("def shout(self) -> str", "def shout(self) -> int", "`leaf`, Leaf: `shout`, result: text became integer"),
        ("class Leaf:", "class Leaves:", None),
    ],
)  # fmt: skip
def test_code_that_was_written_for_another_leaf_is_refused(old: str, new: str, line: str | None) -> None:
    source = GRAPH.replace(old, new).replace("depends(Leaf)", "depends(Leaves)" if line is None else "depends(Leaf)")
    with pytest.raises(DeploymentError) as caught:
        among(graph(source, "Middle")["Middle"], graph())
    assert (line or "`leaf` is Leaves, which is not served here") in caught.value.message
    assert caught.value.message.startswith("the new Middle does not go together with what is served: ")


def test_what_a_caller_knows_of_a_leaf_is_what_serves() -> None:
    serves = graph()
    documented = changed("return x", '"What it tells."\n        return x', "Middle")["Middle"]
    assert documented.dependencies != serves["Middle"].dependencies
    assert among(documented, serves).dependencies == serves["Middle"].dependencies
    leaf = "leaf = orchestrator.depends(Leaf)"
    more = changed(leaf, f"{leaf}\n    other = orchestrator.depends(Other)", "Middle")["Middle"]
    known = {each.attribute: each.service for each in among(more, serves).dependencies}
    assert known["other"] == serves["Other"].called(), "a service that is served here may be called from now on"
    fewer = changed("    other = orchestrator.depends(Other)\n", "")["Root"]
    assert [each.attribute for each in among(fewer, serves).dependencies] == ["middle"]


def test_services_that_are_served_never_call_each_other_in_a_circle() -> None:
    serves = graph()
    back = changed("class Other:\n", "class Other:\n    middle = orchestrator.depends('Middle')\n", "Other")["Other"]
    assert among(back, serves).placement is Placement.TRITON
    circle = changed("class Leaf:\n", "class Leaf:\n    other = orchestrator.depends('Other')\n", "Leaf")["Leaf"]
    with pytest.raises(DeploymentError, match="`other` is Other, which calls Leaf itself"):
        among(circle, serves | {"Other": among(back, serves)})


def test_triton_does_not_call_the_front_end() -> None:
    serves = graph()
    serves["Other"] = serves["Other"].model_copy(update={"placement": Placement.FRONTEND})
    with pytest.raises(DeploymentError, match="`other` is Other, which runs on the front-end"):
        among(graph()["Root"], serves)


def test_a_server_knows_which_services_it_has(tmp_path: Path) -> None:
    *others, root = graph().values()
    serving = Serving(tmp_path, root, others=tuple(others))
    assert [each.name for each in serving.graph] == ["Leaf", "Middle", "Other", "Root"]
    with pytest.raises(DeploymentError, match="no service 'Leav' is served here") as caught:
        serving.own("Leav")
    assert caught.value.hint == "there is Leaf, Middle, Other, Root"
    on_front_end = root.model_copy(update={"placement": Placement.FRONTEND})
    with pytest.raises(DeploymentError, match="Root runs on the front-end"):
        Serving(tmp_path, on_front_end, others=tuple(others)).of_name("Root")


def test_files_that_have_changed_since_are_named(tmp_path: Path) -> None:
    folder, version = tmp_path / "code", tmp_path / "1"
    version.mkdir()
    folder.mkdir()
    for name in ("leaf.py", "root.py", "gone.py"):
        (folder / name).write_text("a")
    for name, content in code_files(folder, take_snapshot(folder)).items():
        (version / name).write_bytes(content)
    spec = graph()["Root"]

    def changes(place: Path = folder) -> set[str]:
        return changed_files(version, ServiceCode(spec, place, take_snapshot(folder)))

    assert changes() == set()
    (folder / "leaf.py").write_text("b")
    (folder / "new.py").write_text("b")
    (folder / "gone.py").unlink()
    assert changes() == {"leaf.py", "new.py", "gone.py"}
    assert changes(tmp_path) == set(), "of a folder elsewhere nothing is said"
    assert changed_files(tmp_path, ServiceCode(spec, folder, take_snapshot(folder))) == set(), "nor where none was kept"


def test_where_a_class_stands(tmp_path: Path) -> None:
    spec = graph()["Root"].model_copy(update={"target": "shop.root:Root"})
    assert module_files(spec) == {"shop/root.py", "shop/root/__init__.py"}
