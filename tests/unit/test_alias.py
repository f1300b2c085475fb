"""`import bentoml`, with and without the alias."""

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator.bentoml
from orchestrator import bentoml
from orchestrator.errors import DefinitionError
from orchestrator.sdk import load_service, read_service
from orchestrator.sdk.alias import install_bentoml, uninstall_bentoml

SERVICE = """
    import bentoml
    from bentoml.exceptions import NotFound

    @bentoml.service
    class Shop:
        @bentoml.api
        def run(self) -> str:
            return bentoml.__version__
"""


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    known = set(sys.modules)
    yield
    uninstall_bentoml()
    for name in set(sys.modules) - known:
        if not name.startswith("orchestrator"):
            del sys.modules[name]


def write(folder: Path, text: str, name: str = "shop.py") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text))
    return folder


def test_the_alias_is_the_very_package() -> None:
    spec = orchestrator.bentoml.__spec__
    install_bentoml()
    install_bentoml()
    assert importlib.import_module("bentoml") is orchestrator.bentoml
    assert importlib.import_module("bentoml.exceptions") is orchestrator.bentoml.exceptions
    assert importlib.import_module("bentoml.validators") is orchestrator.bentoml.validators
    assert orchestrator.bentoml.__spec__ is spec
    assert orchestrator.bentoml.__version__.endswith(f"+orchestrator.{orchestrator.__version__}")


def test_a_service_is_loaded_with_the_alias_and_its_spec_says_so(tmp_path: Path) -> None:
    definition = load_service("shop:Shop", write(tmp_path, SERVICE), bentoml=True)
    assert definition.cls().run() == orchestrator.bentoml.__version__
    assert definition.spec.bentoml
    assert b'"bentoml": true' in definition.spec.document()


def test_the_alias_goes_before_a_bentoml_that_is_installed_or_imported(tmp_path: Path) -> None:
    write(tmp_path, "REAL = True", "bentoml/__init__.py")
    write(tmp_path, "REAL = True", "bentoml/exceptions.py")
    sys.path.insert(0, str(tmp_path))
    assert importlib.import_module("bentoml.exceptions").REAL
    assert (
        load_service("shop:Shop", write(tmp_path, SERVICE), bentoml=True).cls().run().endswith(orchestrator.__version__)
    )
    uninstall_bentoml()
    assert importlib.import_module("bentoml").REAL


def test_without_the_flag_the_hint_names_it(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"No module named 'bentoml' \(with --bentoml, ") as caught:
        load_service("shop:Shop", write(tmp_path, SERVICE))
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "shop.py"), 2)


def test_a_service_of_a_real_bentoml_points_to_the_flag(tmp_path: Path) -> None:
    write(tmp_path, "class Service: ...", "_bentoml_sdk/__init__.py")
    write(tmp_path, "import _bentoml_sdk\nShop = _bentoml_sdk.Service()")
    with pytest.raises(DefinitionError, match=r"shop:Shop is not a class \(with --bentoml, "):
        load_service("shop:Shop", tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import bentoml.catboost", "ImportError: bentoml.catboost is not there: write its files with bentoml.models"),
        ("from bentoml import build", "ImportError: bentoml.build is not there: packaging comes later"),
        ("from bentoml.models import Zork", "ImportError: cannot import name 'Zork' from 'orchestrator.models'"),
        ("from bentoml._internal.utils import x", "ImportError: bentoml._internal is not there: it is an inside"),
        ("import _bentoml_sdk.service", "ImportError: _bentoml_sdk is an inside of BentoML"),
        ("from bentoml import Zork", "ImportError: bentoml has no 'Zork'"),
        ("import bentoml; bentoml.depends(object)", "depends(object): that is not a service"),
        ("import bentoml; bentoml.servce", "AttributeError: bentoml has no 'servce'; did you mean bentoml.service?"),
    ],
)
def test_what_is_not_there_is_one_line_at_the_users_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        load_service("shop", write(tmp_path, f"x = 1\n{line}\n"), bentoml=True)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "shop.py"), 2)


def test_hasattr_says_what_is_there() -> None:
    assert hasattr(orchestrator.bentoml, "SyncHTTPClient")
    assert not hasattr(orchestrator.bentoml, "task")


def test_importing_the_alias_imports_no_http_library() -> None:
    code = (
        "from orchestrator.testing import install_bentoml; import sys; known = set(sys.modules);"
        "install_bentoml(); import bentoml; print([name for name in sys.modules if name.startswith('orchestrator.client')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_load_gives_the_class(tmp_path: Path) -> None:
    write(tmp_path, SERVICE, "service.py")
    assert orchestrator.bentoml.load(working_dir=str(tmp_path)).__name__ == "Shop"
    assert orchestrator.bentoml.load("service:Shop", str(tmp_path)).__name__ == "Shop"


def test_a_service_without_the_decorator() -> None:
    class Greeter:
        @bentoml.api
        def greet(self) -> str:
            return "hello"

    spec = read_service(bentoml.Service("greeter", inner=Greeter, config={"workers": 2}), "m:Greeter").spec
    assert (spec.name, spec.workers) == ("greeter", 2)
    command = read_service(bentoml.Service("files", cmd=["python", "-m", "http.server"]), "m:files").spec
    assert command.cmd == ("python", "-m", "http.server")
