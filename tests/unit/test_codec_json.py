"""Everything that pydantic knows goes through JSON and comes back as what it was."""

import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import ipaddress
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypeVar

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr, TypeAdapter
from pydantic_core import to_json
from typing_extensions import TypedDict

from orchestrator.codec.registry import codec_of
from orchestrator.errors import InvalidInput
from orchestrator.sdk.annotations import adapter_of, describe
from orchestrator.spec import ValueKind
from tests.unit.journeys import arrive, give

NOWHERE = Path("/nowhere")
T = TypeVar("T")


class Words(TypedDict):
    a: int
    b: NotRequired[str]


@dataclasses.dataclass(frozen=True)
class Record:
    when: datetime.date
    inner: "Record | None" = None


class Colour(enum.Enum):
    RED = "red"
    DEEP = 7


class Level(enum.IntEnum):
    LOW = 1


class Flags(enum.Flag):
    A = 1
    B = 2


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[str] = []


class Owner(BaseModel):
    model_config = ConfigDict(frozen=True)
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    by_name: dict[str, Cat | Dog] = {}


class Names(RootModel[list[str]]):
    pass


class Aliased(BaseModel):
    model_config = ConfigDict(validate_by_name=True)
    first: int = Field(alias="1st")


class Box(BaseModel, Generic[T]):
    content: T


class Pair(NamedTuple):
    a: int
    b: str = "b"


class Tree(BaseModel):
    children: list["Tree"] = []


VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (Any, {"a": [1, None, {"b": True}]}),
    (Words, {"a": 1}),
    (Words, {"a": 1, "b": "x"}),
    (Record, Record(datetime.date(2020, 1, 2), Record(datetime.date(2021, 1, 1)))),
    (Colour, Colour.RED),
    (Colour, Colour.DEEP),
    (Level, Level.LOW),
    (Flags, Flags.A),
    (datetime.datetime, datetime.datetime(2020, 1, 2, 3, 4, 5, 678, tzinfo=datetime.UTC)),
    (datetime.datetime, datetime.datetime(2020, 1, 2)),
    (datetime.time, datetime.time(1, 2)),
    (datetime.timedelta, datetime.timedelta(days=2, microseconds=1)),
    (uuid.UUID, uuid.UUID(int=5)),
    (decimal.Decimal, decimal.Decimal("1.10")),
    (decimal.Decimal, decimal.Decimal(10) ** 40),
    (set[int], {1, 2}),
    (frozenset[str], frozenset("ab")),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[()], ()),
    (collections.deque[int], collections.deque([1])),
    (dict[int, tuple[int, ...]], {1: (2, 3)}),
    (dict[uuid.UUID, datetime.date], {uuid.UUID(int=1): datetime.date(2020, 1, 1)}),
    (dict[tuple[int, int], int], {(1, 2): 3}),
    (Literal["a", 1, None], None),
    (Literal["a", 1], 1),
    (int | str | None, "1"),
    (Owner, Owner(pet=Dog(tricks=["sit"]), by_name={"tom": Cat()})),
    (Annotated[Cat | Dog, Field(discriminator="kind")], Cat(lives=1)),
    (list[Cat | Dog], [Cat(), Dog()]),
    (Names, Names(["a"])),
    (Aliased, Aliased(first=1)),
    (Box[Box[set[int]]], Box[Box[set[int]]](content=Box[set[int]](content={1}))),
    (Pair, Pair(1)),
    (Tree, Tree(children=[Tree(), Tree(children=[Tree()])])),
    (complex, 1 + 2j),
    (bytes | int, b"ab"),
    (ipaddress.IPv4Address, ipaddress.IPv4Address("127.0.0.1")),
    (int, 2**62),
    (int | None, 2**200),
    (float, 5e-324),
    (dict[str, float], {"a": float("inf")}),
]


@pytest.mark.parametrize(
    ("annotation", "python"), VALUES, ids=lambda each: "a set" if isinstance(each, frozenset) else str(each)
)
def test_a_value_of_any_json_type_comes_back_as_it_was(annotation: Any, python: Any) -> None:
    value = describe(annotation, "result")
    back = json.loads(codec_of(value.kind).to_json(value, give(annotation, python)))
    if isinstance(python, dict) and python == {"a": float("inf")}:
        assert back == {"a": None}  # JSON has no infinity
        return
    if annotation == dict[tuple[int, int], int]:
        assert back == {"1,2": 3}  # pydantic writes such keys and cannot read them
        return
    arrived = arrive(annotation, back, NOWHERE)
    assert type(arrived) is type(python)
    assert arrived == python


def test_a_method_that_returns_nothing_gives_null() -> None:
    value = describe(None, "result")
    assert give(None, None) == b"null"
    assert value.json_schema == {"type": "null"}
    with pytest.raises(ValueError, match="None"):
        give(None, 1)


def test_secrets_are_not_sent() -> None:
    assert give(SecretStr, SecretStr("hush")) == b'"**********"'
    assert arrive(SecretStr, "hush", NOWHERE).get_secret_value() == "hush"


@pytest.mark.parametrize(
    ("annotation", "python", "document"),
    [
        (dict[str, float], {"a": np.float32(0.5)}, b'{"a":0.5}'),
        (list[int], np.array([1, 2]), b"[1,2]"),
        (dict[str, list[int]], {"a": np.array([1])}, b'{"a":[1]}'),
        (Any, {"a": np.array([[1, 2]]), "b": np.int8(1), "c": np.bool_(True)}, b'{"a":[[1,2]],"b":1,"c":true}'),
        (tuple[int, float], (np.int64(1), np.float16(0.5)), b"[1,0.5]"),
        (Box[float], {"content": np.float64(1)}, b'{"content":1.0}'),
    ],
    ids=str,
)
def test_numpy_inside_of_json_becomes_numbers(annotation: Any, python: Any, document: bytes) -> None:
    assert give(annotation, python) == document


def nested(make: Callable[[Any], Any], start: Any, levels: int) -> Any:
    for _ in range(levels):
        start = make(start)
    return start


@pytest.mark.parametrize("levels", [300, 5_000, 100_000])
@pytest.mark.parametrize(
    ("annotation", "make", "start"),
    [
        (Any, lambda inner: [inner], 0),
        (Any, lambda inner: {"a": inner}, 0),
        (list[Any], lambda inner: [inner], []),
        (dict[str, Any], lambda inner: {"a": inner}, {}),
        (Tree, lambda inner: {"children": [inner]}, {}),
    ],
    ids=["list", "dict", "typed list", "typed dict", "model"],
)
def test_a_very_deep_result_is_a_value_error(
    annotation: Any, make: Callable[[Any], Any], start: Any, levels: int
) -> None:
    deep = nested(make, start, levels)
    with contextlib.suppress(ValueError):
        give(annotation, deep)


@pytest.mark.parametrize("levels", [300, 5_000])
@pytest.mark.parametrize("annotation", [Any, Tree, list[Any], dict[str, Any]], ids=str)
def test_a_very_deep_argument_is_a_value_error(annotation: Any, levels: int) -> None:
    value = describe(annotation, "argument")
    codec = codec_of(ValueKind.JSON)
    for deep in (b"[" * levels + b"]" * levels, b'{"children":[' * levels + b"]}" * levels):
        with pytest.raises(ValueError, match=r"recursion|valid|Invalid"):
            codec.to_python(value, deep, adapter_of(annotation), None)  # type: ignore[arg-type]
    sent = nested(lambda inner: {"children": [inner]} if annotation is Tree else [inner], {}, levels)
    with contextlib.suppress(ValueError):
        TypeAdapter(codec.edge_type(value)).validate_python(sent)


def test_a_circle_is_a_value_error() -> None:
    circle: list[Any] = []
    circle.append(circle)
    for annotation in (Any, list[Any], Tree):
        with pytest.raises(ValueError, match=r"[Cc]ircular|recursi|Recursion|valid"):
            give(annotation, circle)


def test_a_very_long_number_is_a_value_error_or_passes() -> None:
    value = describe(Any, "argument")
    codec = codec_of(ValueKind.JSON)
    for digits in (400, 4_300):
        document = b"1" * digits
        assert codec.to_python(value, document, adapter_of(Any), None) == int(document)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="number out of range"):
        codec.to_python(value, b"1" * 10_000, adapter_of(Any), None)  # type: ignore[arg-type]
    assert len(give(Any, 10**10_000)) == 10_001
    with pytest.raises((ValueError, InvalidInput), match="64 bits"):
        arrive(int, 10**400, NOWHERE)
    assert give(dict[str, int], {"a": 10**400}) == to_json({"a": 10**400})


@pytest.mark.parametrize(
    "wrong",
    [object(), lambda: 1, {"a": object()}, [b"\xff"], {1, object()}],
    ids=["object", "function", "object in a dict", "bytes", "object in a set"],
)
def test_what_has_no_form_in_json_is_a_value_error(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"JSON|UTF-8|utf-8"):
        give(Any, wrong)


def test_half_a_surrogate_pair_is_a_value_error() -> None:
    for annotation, python in ((Any, "\ud800"), (list[str], ["\ud800"]), (str, "\ud800"), (Any, {"\ud800": 1})):
        with pytest.raises(ValueError, match="surrogate"):
            give(annotation, python)
    # pydantic writes question marks for it in the keys of a typed dict.
    assert "\ufffd" in give(dict[str, Any], {"\ud800": 1}).decode()
