"""The shape of the code: who may import whom, and what is public."""

import ast
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import orchestrator

ROOT = Path(__file__).parents[2]
PACKAGE = Path(orchestrator.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*.py"))
HEAVY = ("fastapi", "starlette", "uvicorn", "tritonclient", "grpc")
PUBLIC = ("", ".errors", ".validators", ".testing", ".spec", ".codec", ".sdk", ".engine", ".compiler", ".server")
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "core", "manager", "misc"}


def test_the_contracts_of_pyproject_are_kept() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("contract", "exempt"),
    [("FastAPI stays in server", {"server", "cli"}), ("tritonclient stays", {"triton", "compiler", "cli"})],
)
def test_a_new_package_is_under_the_contracts_of_the_others(contract: str, exempt: set[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (sources,) = [
        c["source_modules"] for c in project["tool"]["importlinter"]["contracts"] if c["name"].startswith(contract)
    ]
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {f"orchestrator.{name}" for name in packages - exempt} <= set(sources)


def test_importing_orchestrator_imports_no_server() -> None:
    code = f"import sys, orchestrator; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", PUBLIC)
def test_all_of_a_public_module_names_what_is_there(name: str) -> None:
    module = import_module(f"orchestrator{name}")
    assert [entry for entry in module.__all__ if not hasattr(module, entry)] == []
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in ("", ".errors", ".validators", ".testing")])
def test_all_of_a_package_names_everything_that_it_gathers(name: str) -> None:
    module = import_module(f"orchestrator{name}")
    gathered = {key for key, value in vars(module).items() if key[0] != "_" and not isinstance(value, ModuleType)}
    assert gathered == set(module.__all__)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_all_of_a_module_names_what_it_defines_or_imports(path: Path) -> None:
    defined: set[str] = set()
    listed: list[str] = []
    for node in ast.parse((PACKAGE.parent / path).read_text()).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                defined.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                defined.update(alias.asname or alias.name for alias in names)
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=entries)):
                listed = [str(entry.value) for entry in entries if isinstance(entry, ast.Constant)]
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                defined.add(name)
    if "__getattr__" not in defined:  # names that are imported on their first use
        assert set(listed) - defined == set()


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path for path in MODULES if VAGUE & set(path.with_suffix("").parts)] == []
