"""`serve --reload` on the real Triton."""

from pathlib import Path

import httpx2
import pytest

from orchestrator.cli.servers import running_servers
from tests.e2e.graphs import LEAF, ROOT, write_graph, write_leaf
from tests.e2e.serving import Serving, command_of, eventually, name_of

pytestmark = pytest.mark.e2e

CODE = """
import orchestrator

@orchestrator.service
class Greeter:
    @orchestrator.api
    def greet(self, name: str = "world") -> str:
        return f"{greeting} {{name}}"
"""


def test_new_code_is_served_without_a_failed_request_and_broken_code_is_not(tmp_path: Path) -> None:
    module = tmp_path / "service.py"
    module.write_text(CODE.format(greeting="Hello"))
    with Serving("service:Greeter", "--reload", working_dir=tmp_path) as server:
        family = {process.pid for process in server.family() if "tritonserver" in name_of(process)}

        def greeting() -> str:
            answer = httpx2.post(f"{server.url}/greet", json={"name": "Ada"}, timeout=30)
            assert answer.status_code == 200, answer.text
            return answer.text

        assert greeting() == "Hello Ada"
        module.write_text(CODE.format(greeting="Moin"))
        assert eventually(lambda: greeting() == "Moin Ada", 30)
        module.write_text("def broken(:")
        assert eventually(lambda: "syntax error" in server.log, 30)
        assert greeting() == "Moin Ada"
        module.write_text(CODE.format(greeting="Ahoj").replace("greet(", "hail("))
        assert eventually(lambda: httpx2.post(f"{server.url}/hail", json={}).text == "Ahoj world", 30)
        assert {process.pid for process in server.family() if "tritonserver" in name_of(process)} == family


def told(server: Serving) -> list[str]:
    """The versions of the root and of its leaves; no request may fail."""
    answer = httpx2.post(f"{server.url}/tell", json={}, timeout=30)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def test_a_graph_is_reloaded_as_a_whole(tmp_path: Path) -> None:
    write_graph(tmp_path, "a")
    root, right = tmp_path / "root.py", tmp_path / "right.py"
    with Serving("root:Root", "--reload", working_dir=tmp_path) as server:
        run_dir = next(each.socket.parent for each in running_servers() if each.status.url == server.url)
        models = run_dir / "repository"
        assert told(server) == ["a", "a", "a"]
        write_leaf(tmp_path, "Left", "b")
        assert eventually(lambda: told(server) == ["a", "b", "a"], 60), server.log
        root.write_text(ROOT.format(version="b"))
        assert eventually(lambda: told(server) == ["b", "b", "a"], 60), server.log

        right.write_text("def broken(:")
        assert eventually(lambda: "syntax error" in server.log, 60), server.log
        assert told(server) == ["b", "b", "a"]
        right.write_text(
            LEAF.format(name="Right", version="c") + "    def __init__(self): raise RuntimeError('no weights')\n"
        )
        assert eventually(lambda: "no weights" in server.log, 60), server.log
        assert eventually(lambda: "the new code of Left runs already" in server.log, 60), server.log
        assert told(server) == ["b", "b", "a"]

        write_leaf(tmp_path, "Third", "c")
        write_leaf(tmp_path, "Right", "c")
        with_third = ROOT.replace("from left", "from third import Third\nfrom left").replace(
            "    left =", "    third = orchestrator.depends(Third)\n    left ="
        )
        with_third = with_third.replace('["{version}"', '[await self.third.to_async.tell(), "{version}"')
        root.write_text(with_third.format(version="d"))
        assert eventually(lambda: told(server) == ["c", "d", "b", "c"], 60), server.log
        assert "Third" in {each.name for each in models.iterdir()}

        root.write_text(ROOT.format(version="e"))
        assert eventually(lambda: told(server) == ["e", "b", "c"], 60), server.log
        assert eventually(lambda: not [each for each in models.iterdir() if each.name.startswith("Third")], 30)

        def workers() -> list[str]:
            lines = [" ".join(command_of(each)) for each in server.family()]
            return [line for line in lines if "Third_0" in line]

        assert eventually(lambda: not workers(), 30), "what nobody calls any more runs no more"
