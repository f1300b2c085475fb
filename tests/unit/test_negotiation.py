"""What a caller would rather have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.server.media import is_json, is_raw, names, preferred

OFFERS = ("application/json", "text/csv", "application/x-npy")


@pytest.mark.parametrize(
    ("accept", "offer"),
    [
        ("", 0), ("*/*", 0), ("text/csv", 1), ("TEXT/CSV", 1), ("text/*", 1), ("application/*", 0), ("image/png", 0),
        ("application/x-npy, */*", 0), ("application/x-npy, */*;q=0.1", 2), ("text/csv;q=0.5, application/x-npy;q=0.7", 2),
        ("application/json;q=0, text/csv;q=0.1", 1), ("application/json;q=0, */*", 1), ("text/csv;q=nonsense", 0),
        ("text/csv ; q = 0.9 , application/json;q=0.8", 1), ("*/*;q=0.2, application/json;q=0.1", 1), (",,;", 0),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 0),
    ],
)  # fmt: skip
def test_the_offer_that_is_liked_best(accept: str, offer: int) -> None:
    assert preferred(accept, OFFERS) == OFFERS[offer]


@given(st.text(max_size=60))
def test_any_header_gets_some_offer(accept: str) -> None:
    assert preferred(accept, OFFERS) in OFFERS


@pytest.mark.parametrize(
    ("accept", "named"),
    [
        ("text/event-stream", True),
        ("a/b, Text/Event-Stream;x=y", True),
        ("*/*", False),
        ("text/*", False),
        ("text/event-stream;q=0", False),
    ],
)
def test_a_type_that_is_named(accept: str, named: bool) -> None:
    assert names(accept, "text/event-stream") is named


def test_json_and_files_by_their_types() -> None:
    assert all(map(is_json, ["application/json", "application/geo+json", "text/json"]))
    assert not any(map(is_json, ["application/x-ndjson", "text/plain", ""]))
    assert all(map(is_raw, ["image/png", "audio/x", "application/pdf", "application/octet-stream"]))
    assert not any(map(is_raw, ["application/json", "text/plain", "application/x-unheard", ""]))
