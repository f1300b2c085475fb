"""A graph of services that tell their versions: a root on the front-end or in Triton, and two leaves in Triton, a file each."""

from pathlib import Path

LEAF = """
import orchestrator

@orchestrator.service
class {name}:
    @orchestrator.api
    def tell(self) -> str:
        return "{version}"

    @orchestrator.api
    def shout(self) -> str:
        return "{version}!"
"""
ROOT = """
import orchestrator
from left import Left
from right import Right

@orchestrator.service
class Root:
    left = orchestrator.depends(Left)
    right = orchestrator.depends(Right)

    @orchestrator.api
    async def tell(self) -> list[str]:
        return ["{version}", await self.left.to_async.tell(), await self.right.to_async.tell()]
"""
SYNC_ROOT = """
import orchestrator
from left import Left
from right import Right

@orchestrator.service
class Root:
    left = orchestrator.depends(Left)
    right = orchestrator.depends(Right)

    @orchestrator.api
    def tell(self) -> list[str]:
        return ["{version}", self.left.tell(), self.right.tell()]
"""

NUMBERED = """
import numpy as np
import orchestrator

@orchestrator.service
class Left:
    mine = orchestrator.models.Onnx("number:latest")

    @orchestrator.api
    def tell(self) -> str:
        return f"{version} {{self.mine(np.zeros((1, 1), np.float32))[0, 0]:.0f}}"
"""
"""`Left` with a stored model of its own; see `tests/e2e/versions.py`."""


def write_leaf(folder: Path, name: str, version: str) -> None:
    """`Left` or `Right`, in a module of its name."""
    (folder / f"{name.lower()}.py").write_text(LEAF.format(name=name, version=version))


def write_graph(folder: Path, version: str, *, root: str = ROOT) -> None:
    """All of it; the root is in `root.py`."""
    folder.mkdir(exist_ok=True)
    for name in ("Left", "Right"):
        write_leaf(folder, name, version)
    (folder / "root.py").write_text(root.format(version=version))
