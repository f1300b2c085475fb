"""docs/from-bentoml.md says what the code does."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator import bentoml
from orchestrator.bentoml import frameworks
from orchestrator.bentoml.absent import ABSENT, reason_of
from orchestrator.spec import merge
from orchestrator.spec.config import WITHOUT_EFFECT

PAGE = (Path(__file__).parents[2] / "docs" / "from-bentoml.md").read_text()


def rows(heading: str) -> list[tuple[str, str]]:
    """First and second cell of the table below a heading."""
    section = PAGE.split(f"\n{heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    cells = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [(cell[0].strip(), " | ".join(cell[1:]).strip()) for cell in cells if cell[0].strip() != "name"]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


SAME = [name.removeprefix("bentoml.") for cell, _ in rows("## What is the same") for name in names(cell)]
MISSING = {name.removeprefix("bentoml."): line for cell, line in rows("## What is not there") for name in names(cell)}
KEYS = {cell: names(keys) for cell, keys in rows("### Keys of `@service`") if cell}


def found(name: str) -> Any:
    value: Any = bentoml
    for part in name.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("name", SAME)
def test_what_is_the_same_is_there(name: str) -> None:
    assert found(name) is not None


def test_everything_that_is_there_is_on_the_page() -> None:
    there = set(bentoml.__all__)
    there |= {f"exceptions.{name}" for name in bentoml.exceptions.__all__}
    there |= {f"validators.{name}" for name in bentoml.validators.__all__}
    assert set(SAME) == there


@pytest.mark.parametrize("name", MISSING)
def test_what_is_not_there_says_so_in_one_line(name: str) -> None:
    assert reason_of(name) == f"bentoml.{name} is not there: {MISSING[name]}"
    assert "\n" not in reason_of(name)
    with pytest.raises(AttributeError, match=f"^{re.escape(reason_of(name))}$"):
        getattr(bentoml, name)
    with pytest.raises(ImportError):
        importlib.import_module(f"orchestrator.bentoml.{name}")


def test_everything_that_is_not_there_is_on_the_page() -> None:
    assert set(MISSING) == {name for name in ABSENT if name[0] != "_"}
    assert not set(ABSENT) & set(bentoml.__all__)


def test_the_keys_are_the_codes() -> None:
    settings = {setting.key: setting.without_effect for setting in merge("Any", []).settings()}
    without = set(KEYS["are taken and have none"])
    assert without == set(WITHOUT_EFFECT)
    assert set(KEYS["have their effect"]) == {key for key, reason in settings.items() if reason is None}


def test_what_is_ours_is_in_our_own_package_too() -> None:
    others = {"Field", "Service", "images", "IODescriptor", "exceptions", "load", "mount_asgi_app"}
    others |= {"depends", "runner_service", "Model", "Tag", *frameworks.MODULES}
    assert set(bentoml.__all__) - others <= set(orchestrator.__all__)
