import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.errors import DefinitionError
from orchestrator.sdk import load_service

SERVICE = """
    import orchestrator

    @orchestrator.service
    class Iris:
        @orchestrator.api
        def run(self) -> str:
            return "ran"
"""
Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module into the working directory; what tests import is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    known = set(sys.modules)

    def write(name: str, text: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))

    yield write
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.mark.parametrize("target", ["shop:Iris", "shop", "shop.py:Iris", "shop.py"])
def test_a_service_is_found_by_module_and_class(write: Write, tmp_path: Path, target: str) -> None:
    write("shop.py", SERVICE)
    definition = load_service(target, tmp_path)
    assert definition.spec.target == "shop:Iris"
    assert definition.cls().run() == "ran"


def test_a_service_in_a_package_is_found_with_dots_or_slashes(write: Write, tmp_path: Path) -> None:
    write("shop/__init__.py", "")
    write("shop/inner.py", SERVICE)
    assert load_service("shop.inner:Iris", tmp_path).spec.target == "shop.inner:Iris"
    assert load_service("shop/inner.py:Iris", tmp_path).spec.target == "shop.inner:Iris"


def test_the_modules_neighbours_can_be_imported(write: Write, tmp_path: Path) -> None:
    write("shop_words.py", "WORD = 'ran'")
    write("shop.py", "from shop_words import WORD\n" + textwrap.dedent(SERVICE))
    assert load_service("shop:Iris", tmp_path).spec.name == "Iris"


def test_the_target_is_the_name_that_the_module_has_for_the_class(write: Write, tmp_path: Path) -> None:
    write("shop.py", textwrap.dedent(SERVICE) + "\nFlower = Iris\n")
    assert load_service("shop:Flower", tmp_path).spec.target == "shop:Flower"


@pytest.mark.parametrize("target", ["", ":Iris", "shop:"])
def test_a_target_names_a_module_and_perhaps_a_class(tmp_path: Path, target: str) -> None:
    with pytest.raises(DefinitionError, match=r"write module:Class"):
        load_service(target, tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"working directory .*none does not exist"):
        load_service("shop:Iris", tmp_path / "none")


def test_a_misspelt_module_has_a_suggestion(write: Write, tmp_path: Path) -> None:
    write("shop.py", SERVICE)
    with pytest.raises(DefinitionError, match=r"no module 'shpo' in .* \(did you mean 'shop'\?\)"):
        load_service("shpo:Iris", tmp_path)


def test_a_missing_module_points_to_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"no module 'nowhere.at_all' in .* \(--working-dir"):
        load_service("nowhere.at_all:Iris", tmp_path)


def test_a_misspelt_class_has_a_suggestion(write: Write, tmp_path: Path) -> None:
    write("shop.py", SERVICE)
    with pytest.raises(DefinitionError, match=r"no class 'Irsi' \(did you mean shop:Iris\?\)") as caught:
        load_service("shop:Irsi", tmp_path)
    assert caught.value.file == str(tmp_path / "shop.py")


def test_a_missing_class_lists_the_services(write: Write, tmp_path: Path) -> None:
    write("shop.py", SERVICE)
    with pytest.raises(DefinitionError, match="its services: Iris"):
        load_service("shop:Zebra", tmp_path)


def test_a_missing_package_inside_the_module_is_named_with_its_line(write: Write, tmp_path: Path) -> None:
    write("shop.py", "import os\nimport not_there_at_all\n")
    with pytest.raises(DefinitionError, match=r"'not_there_at_all'.*pip install") as caught:
        load_service("shop", tmp_path)
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "shop.py"), 2)


def test_an_error_inside_the_module_is_placed_at_its_deepest_line(write: Write, tmp_path: Path) -> None:
    write("shop_parts.py", "def load():\n    return 1 / 0\n")
    write("shop.py", "import shop_parts\n\nshop_parts.load()\n")
    with pytest.raises(DefinitionError, match="importing 'shop' failed: ZeroDivisionError: division by zero") as caught:
        load_service("shop", tmp_path)
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "shop_parts.py"), 2)


def test_an_error_in_a_library_is_placed_where_the_user_calls_it(write: Write, tmp_path: Path) -> None:
    write("shop.py", "import orchestrator\n\nX = orchestrator.validators.DType('float23')\n")
    with pytest.raises(DefinitionError, match="'float23'") as caught:
        load_service("shop", tmp_path)
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "shop.py"), 3)


def test_a_syntax_error_has_its_line(write: Write, tmp_path: Path) -> None:
    write("shop.py", "x = 1\ndef broken(:\n")
    with pytest.raises(DefinitionError, match="syntax error") as caught:
        load_service("shop", tmp_path)
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "shop.py"), 2)


def test_a_definition_error_of_the_decorator_comes_through(write: Write, tmp_path: Path) -> None:
    write("shop.py", "import orchestrator\n\n@orchestrator.service(wrokers=1)\nclass A: ...\n")
    with pytest.raises(DefinitionError, match="did you mean 'workers'") as caught:
        load_service("shop", tmp_path)
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "shop.py"), 3)


def test_a_module_without_a_service_says_so(write: Write, tmp_path: Path) -> None:
    write("shop.py", "from orchestrator import service\n")
    with pytest.raises(DefinitionError, match=r"'shop' has 0 services \(put @service above a class\)"):
        load_service("shop", tmp_path)


def test_a_module_with_two_services_needs_a_class(write: Write, tmp_path: Path) -> None:
    text = textwrap.dedent(SERVICE)
    write("shop.py", text + text.replace("Iris", "Rose"))
    with pytest.raises(DefinitionError, match=r"has 2 services .*shop:Iris, shop:Rose"):
        load_service("shop", tmp_path)


def test_a_service_imported_from_elsewhere_is_not_the_modules_own(write: Write, tmp_path: Path) -> None:
    write("shop.py", SERVICE)
    write("other.py", "from shop import Iris\n" + textwrap.dedent(SERVICE).replace("Iris", "Rose"))
    assert load_service("other", tmp_path).spec.target == "other:Rose"
    assert load_service("other:Iris", tmp_path).spec.name == "Iris"


@pytest.mark.parametrize(("name", "message"), [("WORD", "is not a class"), ("Plain", "Plain is not a service")])
def test_what_is_no_service_is_refused(write: Write, tmp_path: Path, name: str, message: str) -> None:
    write("shop.py", "WORD = 'x'\nclass Plain: ...\n")
    with pytest.raises(DefinitionError, match=message):
        load_service(f"shop:{name}", tmp_path)
