"""Selectors of labels, against a naive reading of what they mean; and the names that versions get."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import StoreError
from orchestrator.spec import LATEST, Tag
from orchestrator.store.labels import check_label, matches, parse_selector
from orchestrator.store.naming import made_version

WORDS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True)
FEW = st.sampled_from(["a", "b", "in", "In", "Exists", "x.y", "1"])
SPACES = st.text(" \t\n", max_size=2)
SOME = st.text(" \t\n", min_size=1, max_size=2)
LABELS = st.dictionaries(FEW, FEW, max_size=4)


@st.composite
def requirements(draw: st.DrawFn) -> tuple[str, tuple[str, str, list[str]]]:
    """The text of a requirement, and key, operator and values that are meant."""
    key = draw(FEW | WORDS)
    operator = draw(st.sampled_from(["=", "==", "!=", "In", "in", "NotIn", "notin", "Exists", "DoesNotExist"]))
    if operator in {"Exists", "DoesNotExist"}:
        return f"{key}{draw(SOME)}{operator}", (key, operator, [])
    if operator in {"=", "==", "!="}:
        value = draw(FEW | WORDS)
        return f"{key}{draw(SPACES)}{operator}{draw(SPACES)}{value}", (key, operator, [value])
    values = draw(st.lists(FEW | WORDS, min_size=1, max_size=3))
    inside = ",".join(f"{draw(SPACES)}{value}{draw(SPACES)}" for value in values)
    return f"{key}{draw(SOME)}{operator}{draw(SPACES)}({inside})", (key, operator, values)


def naive(meant: tuple[str, str, list[str]], labels: Mapping[str, str]) -> bool:
    key, operator, values = meant
    there = [value for name, value in labels.items() if name == key]
    if operator == "DoesNotExist":
        return not there
    if operator == "Exists":
        return len(there) == 1
    if operator in {"!=", "NotIn", "notin"}:
        return len(there) == 1 and all(there[0] != value for value in values)
    return any(there == [value] for value in values)


@given(st.lists(requirements(), max_size=4), LABELS, st.data())
def test_a_selector_means_what_it_says(
    given_: list[tuple[str, tuple[str, str, list[str]]]], labels: dict[str, str], data: st.DataObject
) -> None:
    text = ",".join(f"{data.draw(SPACES)}{text}{data.draw(SPACES)}" for text, _ in given_)
    assert matches(parse_selector(text), labels) == all(naive(meant, labels) for _, meant in given_)


@given(st.text("ab=!(),. -_InNotxists\tä", max_size=20))
def test_any_text_is_a_selector_or_an_error_with_a_column(text: str) -> None:
    try:
        parse_selector(text)
    except StoreError as error:
        match = re.search(r", column (\d+): ", error.message)
        assert match is not None, error.message  # noqa: PT017
        assert 1 <= int(match[1]) <= len(text) + 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stage", "column 6: expected '=', '!=', In, NotIn, Exists or DoesNotExist, not the end"),
        ("stage=", "column 7: expected a value, not the end"),
        ("stage = = a", "column 9: expected a value, not '='"),
        ("stage In a", "column 10: expected '(', not 'a'"),
        ("stage In ()", "column 11: expected a value, not ')'"),
        ("stage In (a b)", "column 13: expected ',' or ')', not 'b'"),
        ("stage In (a", "column 12: expected ',' or ')', not the end"),
        ("stage=a,", "column 9: expected a label's key, not the end"),
        (",a=b", "column 1: expected a label's key, not ','"),
        ("stage=a b=c", "column 9: expected ',' or the end, not 'b'"),
        ("stage~a", "column 6: expected '=', '!=', In, NotIn, Exists or DoesNotExist, not '~'"),
        ("stage=-a", "column 7: '-a' cannot be a value"),
        (f"stage={'a' * 64}", f"column 7: {'a' * 64!r} cannot be a value"),
        ("größe=1", "column 3: expected '=', '!=', In, NotIn, Exists or DoesNotExist, not 'ö'"),
        ("stage IN (a)", "column 7: expected '=', '!=', In, NotIn, Exists or DoesNotExist, not 'IN'"),
    ],
)
def test_a_wrong_selector_is_told_where(text: str, said: str) -> None:
    with pytest.raises(StoreError) as caught:
        parse_selector(text)
    assert caught.value.message == f"selector {text!r}, {said}"


@given(WORDS | st.text(max_size=70))
def test_a_label_is_what_the_rule_says(text: str) -> None:
    ends = [each.isascii() and each.isalnum() for each in (text[:1], text[-1:])]
    inside = all(each.isascii() and (each.isalnum() or each in "-_.") for each in text)
    if 1 <= len(text) <= 63 and all(ends) and inside:
        assert check_label(text, "key") == text
    else:
        with pytest.raises(StoreError, match="label: key"):
            check_label(text, "key")


MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


@given(MOMENTS, st.timedeltas(timedelta(microseconds=83), timedelta(days=400)))
def test_made_versions_sort_by_time_and_are_versions(moment: datetime, later: timedelta) -> None:
    first, second = made_version(moment), made_version(moment + later)
    assert first < second
    assert re.fullmatch(r"\d{8}-[0-9a-z]{6}", first)
    assert Tag.of(f"a:{first}").version == first


@given(WORDS, st.none() | WORDS)
def test_a_tag_is_read_as_it_is_written(name: str, version: str | None) -> None:
    tag = Tag.of(name if version is None else f"{name}:{version}")
    assert (tag.name, tag.version) == (name, version or LATEST)
    assert Tag.of(str(tag)) == tag


@given(st.text(max_size=20))
def test_any_text_is_a_tag_or_a_short_error(text: str) -> None:
    try:
        tag = Tag.of(text)
    except ValueError as error:
        assert "letters, digits" in str(error) or "after the colon" in str(error)  # noqa: PT017
    else:
        assert str(tag) in {text, f"{text}:{LATEST}"}
