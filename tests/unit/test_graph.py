"""A class and the services that it depends on, read as one graph: order, placement, and what cannot be."""

import asyncio
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import orchestrator
from orchestrator.errors import DefinitionError
from orchestrator.sdk import Definition, load_service
from orchestrator.sdk.dependency import Dependency, ServiceHandle, ServiceStream
from orchestrator.testing import local_client
from tests.places import assert_placed

START = "import orchestrator\nfrom orchestrator import api, depends, service\n"
LEAF = """
@service
class Leaf:
    @api
    def run(self, x: int = 1) -> int:
        return x

    @api
    async def count(self) -> int:
        return 1
"""
Read = Callable[..., Definition]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Read]:
    """Reads the class `Root` of a module, which has the leaf in front; what is imported is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    known = set(sys.modules)

    def read(text: str, root: str = "Root", leaf: str = LEAF) -> Definition:
        (tmp_path / "graph.py").write_text(START + leaf + textwrap.dedent(text))
        return load_service(f"graph:{root}", tmp_path)

    yield read
    for name in set(sys.modules) - known:
        del sys.modules[name]


def refused(read: Read, text: str, at: str | None, root: str = "Root", leaf: str = LEAF) -> str:
    """The error that a module gives, which must be at the line that has the text `at`."""
    with pytest.raises(DefinitionError) as caught:
        read(text, root, leaf)
    if at is not None:
        assert caught.value.file is not None
        lines = Path(caught.value.file).read_text().splitlines()
        assert at in lines[(caught.value.line or 0) - 1]
    return str(caught.value)


def names(definition: Definition) -> list[str]:
    return [each.spec.name for each in definition.graph]


ASYNC = """
    @api
    async def run(self) -> int:
        return 0
"""
SYNC = """
    @api
    def run(self) -> int:
        return 0
"""


def a_service(name: str, *dependencies: str, body: str = ASYNC, options: str = "") -> str:
    """A service that depends on others: `attribute = depends(...)`."""
    lines = "".join(f"    {dependency}\n" for dependency in dependencies)
    return f"\n@service{options}\nclass {name}:\n{lines}{body}"


def test_dependencies_come_before_their_callers_and_once(read: Read) -> None:
    definition = read(
        a_service("Left", "leaf = depends(Leaf)")
        + a_service("Right", "leaf = depends(Leaf)")
        + a_service("Root", "left = depends(Left)", "right = depends(Right)", "again = depends(Left)")
    )
    assert names(definition) == ["Leaf", "Left", "Right", "Root"]
    assert list(definition.dependencies) == ["left", "right", "again"]
    assert [each.spec.target for each in definition.graph] == [f"graph:{name}" for name in names(definition)]
    (left, _, again) = definition.spec.dependencies
    assert left.service == again.service
    assert left.service is not None
    assert [api.name for api in left.service.apis] == ["run"]


def test_a_named_class_further_below_and_in_another_module(read: Read, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text(START + a_service("Far", "below = depends('Below')") + a_service("Below"))
    (tmp_path / "elsewhere.py").open("a").write(a_service("Base", "below = depends('Below')"))
    text = "from elsewhere import Base\n" + a_service(
        "Root", "last = depends('Last')", "far = depends('elsewhere:Far')"
    )
    definition = read(text + a_service("Last"))
    assert names(definition) == ["Last", "Below", "Far", "Root"]
    assert definition.others[1].spec.target == "elsewhere:Below"
    inherited = text + a_service("Last") + "\n@service\nclass Child(Base):\n    pass\n"
    sys.modules.pop("graph")
    assert names(read(inherited, "Child")) == ["Below", "Child"], (
        "the text means a class of the module that it stands in"
    )


def test_dependencies_of_base_classes_can_be_replaced_and_taken_away(read: Read) -> None:
    base = "\nclass Base:\n    one = depends(Leaf)\n    two = depends(Leaf)\n" + ASYNC
    definition = read(base + "\n@service\nclass Root(Base):\n    two = None\n    three = depends(Leaf)\n")
    assert list(definition.dependencies) == ["one", "three"]


@pytest.mark.parametrize(
    ("text", "root", "drawn"),
    [
        pytest.param(
            a_service("A", "b = depends('B')") + a_service("B", "a = depends(A)"),
            "A",
            ["A.b -> B", "B.a -> A"],
            id="two",
        ),
        pytest.param(
            a_service("A", "b = depends('B')") + a_service("B", "c = depends('C')") + a_service("C", "a = depends(A)"),
            "A",
            ["A.b -> B", "B.c -> C", "C.a -> A"],
            id="three",
        ),
        pytest.param(a_service("A", "me = depends('A')"), "A", ["A.me -> A"], id="itself"),
        pytest.param(
            a_service("A") + a_service("B", "a = depends(A)") + "\nA.b = depends(B)\n",
            "A",
            ["A.b -> B", "B.a -> A"],
            id="after the class",
        ),
        pytest.param(
            a_service("A", "b = depends('B')")
            + a_service("B", "a = depends(A)", "leaf = depends(Leaf)")
            + a_service("Root", "leaf = depends(Leaf)", "a = depends(A)"),
            "Root",
            ["A.b -> B", "B.a -> A"],
            id="below the root",
        ),
    ],
)
def test_a_circle_is_drawn_with_its_lines(read: Read, tmp_path: Path, text: str, root: str, drawn: list[str]) -> None:
    message = refused(read, text, drawn[-1].partition(".")[2].partition(" ")[0] + " = depends", root)
    order = [edge.partition(".")[0] for edge in drawn]
    assert f"in a circle: {' -> '.join([*order, order[0]])}\n" in message
    lines = (tmp_path / "graph.py").read_text().splitlines()
    for edge in drawn:
        shown = next(line for line in message.splitlines() if line.startswith(f"  {edge}  "))
        number = int(shown.rpartition(":")[2].split(")")[0])
        attribute = edge.partition(".")[2].partition(" ")[0]
        assert f"{attribute} = depends" in lines[number - 1]
    assert message.count(" -> ") == 2 * len(drawn), "nothing that is not part of the circle"


def test_two_services_of_one_name(read: Read) -> None:
    text = a_service("Other", options="(name='Leaf')") + a_service("Root", "a = depends(Leaf)", "b = depends(Other)")
    message = refused(read, text, "@service(name='Leaf')")
    assert "Leaf and Other have both the name 'Leaf'" in message
    assert "@service(name=...)" in message


def test_a_class_that_no_worker_could_import(read: Read) -> None:
    nested = "\nclass Outer:\n    @service\n    class Inner:\n" + textwrap.indent(SYNC, "    ")
    message = refused(read, nested + a_service("Root", "inner = depends(Outer.Inner)"), "@service")
    assert "Outer.Inner is not a class at the top of the module 'graph'" in message
    local = "\ndef made():\n" + textwrap.indent(a_service("Local"), "    ") + "    return Local\n"
    sys.modules.pop("graph")
    assert "is not a class at the top" in refused(read, local + a_service("Root", "x = depends(made())"), "@service")


def test_a_command_can_be_no_dependency(read: Read) -> None:
    command = "\n@service(cmd=['true'])\nclass Command:\n    pass\n"
    message = refused(read, command + a_service("Root", "c = depends(Command)"), "@service(cmd")
    assert "Command is a process of its own, which no other service can call" in message
    assert "depends(url=...)" in message


def test_a_service_that_is_none(read: Read) -> None:
    plain = "\nclass Plain:\n    pass\n"
    assert "Plain" in refused(read, plain + a_service("Root", "p = depends(Plain)"), "p = depends(Plain)")
    sys.modules.pop("graph", None)
    assert "Plain" in refused(read, plain + a_service("Root", "p = depends('Plain')"), None)
    sys.modules.pop("graph", None)
    message = refused(read, a_service("Root", "p = depends('Gone')"), "p = depends('Gone')")
    assert "there is no such class" in message


def test_placements_and_why(read: Read) -> None:
    text = (
        a_service("Async", "leaf = depends(Leaf)")
        + a_service("Sync", "leaf = depends(Leaf)", body=SYNC)
        + a_service("Root", "a = depends(Async)", "b = depends(Sync)")
        + a_service("OnGpu", "a = depends(Async)", options="(resources={'gpu': 1})")
        + a_service("Asked", "b = depends(Sync)", body=SYNC, options="(placement='frontend')")
    )
    placed = {each.spec.name: (str(each.spec.placement), each.placement_reason) for each in read(text).graph}
    assert placed == {
        "Leaf": ("triton", "it calls no models and no services: its methods do the work"),
        "Async": ("frontend", "it calls services, and all its APIs are async"),
        "Sync": ("triton", "it has the sync API run"),
        "Root": ("frontend", "it calls services, and all its APIs are async"),
    }
    on_gpu = read(text, "OnGpu")
    assert on_gpu.placement_reason == "it asks for a GPU"
    moved = on_gpu.others[1]
    assert (moved.spec.name, str(moved.spec.placement)) == ("Async", "triton")
    assert moved.placement_reason == "OnGpu, which runs in Triton, calls it"
    assert on_gpu.spec.dependencies[0].service == moved.spec.called(), "callers know where it is now"
    assert read(text, "Asked").placement_reason == "@service(placement='frontend') says so"


def test_the_front_end_cannot_be_called_from_triton(read: Read) -> None:
    text = a_service("Fixed", "leaf = depends(Leaf)", options="(placement='frontend')")
    text += a_service("Root", "fixed = depends(Fixed)", body=SYNC)
    message = refused(read, text, "fixed = depends(Fixed)")
    assert "Root runs in Triton (it has the sync API run), from where Fixed cannot be called" in message
    assert "give Root @service(placement='frontend')" in message
    mounted = (
        "\nfrom starlette.applications import Starlette\n" + a_service("App") + "\nApp.mount_asgi_app(Starlette())\n"
    )
    sys.modules.pop("graph")
    message = refused(read, mounted + a_service("Root", "app = depends(App)", body=SYNC), "app = depends(App)")
    assert "it mounts an application" in message


def test_what_depends_does_not_take() -> None:
    with pytest.raises(DefinitionError, match=r"depends\(int\): that is not a service") as caught:
        orchestrator.depends(3)
    assert_placed(caught.value, "depends(3)")
    with pytest.raises(DefinitionError, match=r"there is no cloud behind this \(use url=\)") as caught:
        orchestrator.depends(deployment="mine", cluster="yours")
    assert_placed(caught.value, "depends(deployment")
    with pytest.raises(DefinitionError, match="takes the other service's class, or url="):
        orchestrator.depends()
    for url in ("localhost:3000", "http://", "ftp://host"):
        with pytest.raises(DefinitionError, match="is no address of a service"):
            orchestrator.depends(url=url)


REACHES = """
    @api
    async def run(self) -> str:
        try:
            await self.leaf.to_async.runs()
        except AttributeError as error:
            return str(error)
        return ""

    @api
    async def kinds(self) -> list:
        return [type(self.leaf).__name__, repr(self.leaf), hasattr(self.leaf, "__metrics__")]
"""


def test_an_unknown_api_says_which_there_are(read: Read) -> None:
    definition = read(a_service("Root", "leaf = depends(Leaf)", body=REACHES))
    with local_client(definition.cls) as client:
        assert client.post("/run").text == "the service Leaf has no API 'runs': it has run, count"
        assert client.post("/kinds").json() == [ServiceHandle.__name__, "<service Leaf>", False]


def test_the_class_gives_the_declaration_and_a_test_may_put_something_in_its_place(read: Read) -> None:
    definition = read(a_service("Root", "leaf = depends(Leaf)"))
    assert isinstance(definition.cls.leaf, Dependency)  # type: ignore[attr-defined]
    instance = definition.cls()
    assert instance.leaf.run(x=5) == 5
    assert instance.leaf is not None
    assert not isinstance(instance.leaf, (ServiceHandle, ServiceStream))
    definition.cls.leaf = "a stand-in"  # type: ignore[attr-defined]
    assert definition.cls().leaf == "a stand-in"


def test_init_may_keep_a_handle_and_call_nothing(read: Read) -> None:
    keeps = "\n    def __init__(self) -> None:\n        self.kept = self.leaf\n"
    keeps += "\n    @api\n    async def run(self) -> int:\n        return await self.kept.to_async.run(4)\n"
    with local_client(read(a_service("Root", "leaf = depends(Leaf)", body=keeps)).cls) as client:
        assert client.post("/run").json() == 4
    sys.modules.pop("graph")
    calls = keeps.replace("self.kept = self.leaf", "self.leaf.run()")
    definition = read(a_service("Root", "leaf = depends(Leaf)", body=calls))
    with pytest.raises(DefinitionError, match="Leaf was called while the service starts"), local_client(definition.cls):
        pass


def test_without_a_server_streams_are_read_in_both_ways(read: Read) -> None:
    streams = """
@service
class Streams:
    ended = 0

    @api
    def letters(self) -> Iterator[str]:
        try:
            yield from "abc"
        finally:
            self.ended += 1

    @api
    async def numbers(self) -> AsyncIterator[int]:
        try:
            for number in range(3):
                yield number
        finally:
            self.ended += 1
"""
    body = """
    @api
    async def collected(self) -> list:
        return [[x async for x in self.streams.letters()], [x async for x in self.streams.to_async.numbers()]]

    @api
    def sync(self) -> list:
        return [list(self.streams.letters()), list(self.streams.to_sync.numbers()), self.first()]

    def first(self) -> int:
        for number in self.streams.numbers():
            return number
"""
    text = "\nfrom collections.abc import AsyncIterator, Iterator\n" + streams
    root = read(text + a_service("Root", "streams = depends(Streams)", body=body)).cls()
    collected = [["a", "b", "c"], [0, 1, 2]]
    assert asyncio.run(root.collected()) == collected
    assert root.sync() == [*collected, 0]
    assert root.streams.ended == 5
    assert next(root.streams.letters()) == "a"


def test_a_worker_that_runs_one_service_alone_knows_what_was_exported(read: Read, tmp_path: Path) -> None:
    text = a_service("Root", "leaf = depends(Leaf)")
    exported = read(text).spec.dependencies
    alone = load_service("graph:Root", tmp_path, dependencies=exported)
    assert alone.others == ()
    assert alone.spec.dependencies == exported
    sys.modules.pop("graph")
    (tmp_path / "graph.py").write_text(START + LEAF + text.replace("leaf =", "other ="))
    with pytest.raises(DefinitionError, match="is not what was exported: its dependencies have changed"):
        load_service("graph:Root", tmp_path, dependencies=exported)
