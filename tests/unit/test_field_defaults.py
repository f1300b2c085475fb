"""`Field(...)` as a default: served and called as an ordinary method."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import Field

import orchestrator
from orchestrator.sdk import read_service
from orchestrator.testing import local_client


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@orchestrator.service
class Fields:
    @orchestrator.api
    def both(
        self,
        text: str = Field(description="needed"),
        count: int = Field(3, ge=1),
        *,
        end: str = Field("!"),
        more: int = Field(),
    ) -> str:
        return f"{text}{count}{end}{more}"

    @orchestrator.api
    def made(self, words: list[str] = Field(default_factory=lambda: ["a"])) -> list[str]:  # noqa: B008
        words.append("b")
        return words

    @orchestrator.api
    def hole(self, first: int = 1, text: str = Field(min_length=1)) -> str:
        return f"{first}{text}"

    @orchestrator.api
    @logged
    def wrapped(self, count: int = Field(3, ge=1)) -> int:
        return count


def test_a_local_call_gets_the_value() -> None:
    assert Fields().both("x", more=1) == "x3!1"
    assert Fields().wrapped() == 3
    assert Fields().made() == ["a", "b"]


@pytest.mark.parametrize("arguments", [{"more": 1}, {"text": "x"}])
def test_one_without_a_default_is_missed_like_any_other(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="missing 1 required"):
        Fields().both(**arguments)


def test_what_is_served_is_as_before() -> None:
    spec = read_service(Fields, "x:Fields").spec
    both = {argument.name: argument for argument in spec.api("both").arguments}
    assert {name: argument.required for name, argument in both.items()} == {
        "text": True, "count": False, "end": False, "more": True,
    }  # fmt: skip
    assert both["text"].value.json_schema["description"] == "needed"
    assert both["count"].value.json_schema["minimum"] == 1
    assert [a.required for a in spec.api("hole").arguments] == [False, True]
    with local_client(Fields) as client:
        assert client.post("/both", json={"text": "x", "more": 1}).text == "x3!1"
        assert client.post("/both", json={"text": "x", "more": 1, "count": 0}).status_code == 400
        assert client.post("/wrapped", json={"count": 0}).status_code == 400
        assert client.post("/wrapped", json={}).json() == 3
        assert [client.post("/made", json={}).json() for _ in range(2)] == [["a", "b"]] * 2
