import inspect
import re

import pytest

from orchestrator import errors
from orchestrator.errors import DefinitionError, InvalidInput, OrchestratorError


def classes() -> list[type[OrchestratorError]]:
    return [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, OrchestratorError)]


def drawn_tree() -> dict[str, str]:
    """Class name -> its parent's name, as the docstring draws them."""
    tree: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([│├└─ ]*)([A-Z]\w+)  +\S", line)
        if match and (match[1] or match[2] == "OrchestratorError"):
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            if depth:
                tree[match[2]] = above[depth - 1]
    return tree


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert drawn_tree() == {
        c.__name__: c.__base__.__name__ for c in classes() if c is not OrchestratorError and c.__base__
    }


def test_all_names_every_error_and_nothing_else() -> None:
    assert errors.__all__ == sorted(c.__name__ for c in classes())


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [c.code for c in classes()]
    assert len(set(codes)) == len(codes)


def test_only_overload_and_absence_may_be_retried() -> None:
    assert {c.__name__ for c in classes() if c.retryable} == {"Overloaded", "BackendUnavailable"}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OrchestratorError("it broke"), "it broke"),
        (OrchestratorError("it broke", hint="mend it"), "it broke (mend it)"),
        (DefinitionError("wrong", file="a.py", line=3), "a.py:3: wrong"),
        (DefinitionError("wrong", file="a.py", hint="right"), "a.py: wrong (right)"),
    ],
)
def test_the_text_of_an_error_has_place_sentence_and_way_out(error: OrchestratorError, text: str) -> None:
    assert str(error) == text


def test_invalid_input_at_a_place_names_it_in_sentence_and_problem() -> None:
    error = InvalidInput.at(["points", 0, "x"], "too big", kind="less_than")
    assert error.message == "points.0.x: too big"
    assert error.problems == ({"type": "less_than", "loc": ["points", 0, "x"], "msg": "too big"},)


def test_invalid_input_always_has_a_problem() -> None:
    assert InvalidInput("no").problems == ({"type": "value_error", "loc": [], "msg": "no"},)
