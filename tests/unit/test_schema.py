"""The edge's type, made from the schema, beside the user's own: it may take more, never less."""

import collections
import datetime
import enum
import re
import uuid
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from orchestrator.codec.schema import type_of_schema
from orchestrator.sdk.annotations import describe


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Colour(enum.Enum):
    RED = "a"
    BLUE = "b"


class Forgiving(enum.Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> "Forgiving":
        return cls.A


class Leaf(BaseModel):
    kind: Literal["a"]
    x: int = 1


class Other(BaseModel):
    kind: Literal["b"]
    y: str


class Tree(BaseModel):
    x: int = Field(ge=1)
    a: "Tree | None" = None
    b: list["Tree"] = []


class Aliased(BaseModel):
    x: int = Field(alias="a")


class Choices(BaseModel):
    x: int = Field(validation_alias=AliasChoices("a", "b", AliasPath("kind", 0)))


class Stripped(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    a: str = Field(max_length=1)


class Coercing(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)
    a: str


class Constructed(BaseModel):
    x: int = 1

    def __init__(self, **data: Any) -> None:
        super().__init__(x=len(data))


class Prepared(BaseModel):
    x: int

    @model_validator(mode="before")
    @classmethod
    def wrap(cls, data: Any) -> Any:
        return {"x": data} if isinstance(data, int) else data


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    x: int
    a: str | None = None


class Pair(NamedTuple):
    a: int
    b: str = "b"


class Words(TypedDict, total=False):
    a: int
    b: list[str]


@dataclass
class Record:
    a: int
    b: tuple[int, ...] = ()


TYPES: list[Any] = [
    str, int, float, bool, complex, Any, None, Decimal, uuid.UUID, IPv4Address,
    datetime.date, datetime.datetime, datetime.time, datetime.timedelta,
    int | None, int | str | None, list[int], list[Any], dict[str, int], dict[int, str], set[int], frozenset[str],
    tuple[int, str], tuple[int, ...], tuple[()], collections.deque[int], collections.Counter[str],
    Literal["a", "b"], Literal[1, True], Literal["a", None], Number, Colour, Forgiving, re.Pattern[str],
    Leaf, Tree, Aliased, Choices, Stripped, Coercing, Constructed, Prepared, Strict, Pair, Words, Record,
    list[Tree], dict[str, Leaf | None], Leaf | Other, Annotated[Leaf | Other, Field(discriminator="kind")],
    Annotated[int, Field(ge=1, lt=3)], Annotated[float, Field(gt=0, le=1, multiple_of=0.5)],
    Annotated[str, Field(min_length=1, max_length=2)], Annotated[str, Field(pattern=r"^[a-c]+\z")],
    Annotated[str, Field(pattern=r"^[[:alpha:]]$")], Annotated[str, Field(pattern=re.compile("a$"))],
    Annotated[Decimal, Field(ge=1, max_digits=2, decimal_places=1)],
    Annotated[list[int], Field(min_length=1, max_length=2)], Annotated[set[int], Field(min_length=1, max_length=1)],
    Annotated[dict[int, int], Field(min_length=1, max_length=1)], Annotated[str, StringConstraints(to_lower=True)],
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=1)], Json[list[int]],
    Annotated[int, BeforeValidator(len)], Annotated[int, AfterValidator(abs)], list[int] | dict[str, int],
]  # fmt: skip

ATOMS = st.sampled_from(
    [
        None, True, False, 0, 1, 2, 3, -1, 1.0, 0.5, 2.5, 1e30, 2**63, 10**30, float("inf"), float("nan"),
        "", "a", "b", "c", "ab", "abc", " a ", "A", "é", "1", " 1 ", "01", "1.5", "1e2", "true", "yes", "null", "[1]",
        "2020-01-02", "2020-01-02T03:04:05Z", "03:04", "P1D", "1:02:03", "::1", "127.0.0.1", "1+2j", "ZZZ", "a\n",
        "12345678-1234-5678-1234-567812345678",
    ]
)  # fmt: skip
KEYS = st.sampled_from(["a", "b", "x", "y", "kind", "1", "01"])
DOCUMENTS: st.SearchStrategy[Any] = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=6,
)


def edge_type(annotation: Any) -> TypeAdapter[Any]:
    value = describe(annotation, "argument")
    return TypeAdapter(type_of_schema(value.json_schema, opaque=value.opaque))


def accepts(adapter: TypeAdapter[Any], document: bytes) -> bool:
    try:
        adapter.validate_json(document)
    except (ValidationError, TypeError):  # `len` of a number, in a user's validator
        return False
    return True


@pytest.mark.parametrize("annotation", TYPES, ids=str)
def test_what_the_real_type_accepts_the_edge_accepts(annotation: Any) -> None:
    real, edge = TypeAdapter(annotation), edge_type(annotation)

    @given(DOCUMENTS)
    @settings(max_examples=60, database=None)
    def check(document: Any) -> None:
        data = to_json(document, inf_nan_mode="constants")
        if accepts(real, data):
            edge.validate_python(from_json(data))

    check()


EXAMPLES: list[tuple[Any, Any]] = [
    (datetime.datetime, 1700000000),
    (datetime.timedelta, 5),
    (IPv4Address, 2130706433),
    (complex, 1.5),
    (Number, "1"),
    (Forgiving, "anything"),
    (Choices, {"b": 1}),
    (Choices, {"kind": [1]}),
    (Stripped, {"a": "  a  "}),
    (Coercing, {"a": 1}),
    (Constructed, {"x": "not a number"}),
    (Prepared, 3),
    (Annotated[set[int], Field(max_length=1)], [1, 1, 1]),
    (Annotated[dict[int, int], Field(max_length=1)], {"1": 1, "01": 2}),
    (Annotated[str, Field(pattern=r"^[[:alpha:]]$")], "z"),
    (Annotated[str, Field(pattern=re.compile("a$"))], "a\n"),
    (Annotated[str, StringConstraints(strip_whitespace=True, max_length=1)], " a "),
    (Annotated[int, BeforeValidator(len)], "abc"),
    (Tree, {"x": 1, "a": {"x": 1, "b": [{"x": 2}]}}),
    (Pair, [1]),
]


@pytest.mark.parametrize(("annotation", "document"), EXAMPLES, ids=str)
def test_the_edge_accepts_what_a_schema_alone_would_refuse(annotation: Any, document: Any) -> None:
    TypeAdapter(annotation).validate_json(to_json(document))
    edge_type(annotation).validate_python(document)


@pytest.mark.parametrize(
    ("annotation", "document", "where"),
    [
        (int, "x", ()),
        (str, 1, ()),
        (list[int], [1, "x"], (1,)),
        (dict[str, int], {"a": "x"}, ("a",)),
        (Leaf, {"kind": "a", "x": "no"}, ("x",)),
        (Leaf, {}, ("kind",)),
        (Tree, {"x": 0}, ("x",)),
        (Words, {"b": [1]}, ("b", 0)),
        (Literal["a", "b"], "c", ()),
        (Colour, "c", ()),
        (Annotated[int, Field(ge=1)], 0, ()),
        (Annotated[float, Field(multiple_of=0.5)], 0.3, ()),
        (Annotated[str, Field(pattern="^a+$")], "b", ()),
        (Annotated[str, Field(max_length=2)], "abc", ()),
        (Annotated[list[int], Field(min_length=1)], [], ()),
    ],
    ids=str,
)
def test_the_edge_refuses_what_the_schema_refuses_and_names_the_place(
    annotation: Any, document: Any, where: tuple[str | int, ...]
) -> None:
    with pytest.raises(ValidationError) as caught:
        edge_type(annotation).validate_python(document)
    assert [error["loc"] for error in caught.value.errors()] == [where]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": ["string", "null"]},
        {"type": "strange"},
        {"$ref": "#/$defs/Missing"},
        {"enum": [1, [2]]},
        {"type": "string", "pattern": "(?<not a regex"},
        {"type": "string", "pattern": 3},
        {"allOf": [{"type": "integer"}, {"type": "string"}]},
        {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}},
    ],
    ids=str,
)
def test_words_that_are_not_known_take_everything(schema: dict[str, Any]) -> None:
    adapter = TypeAdapter(type_of_schema(schema))
    adapter.validate_python([1, "a"] if schema.get("type") == "array" else "text")


def test_a_model_of_many_models_of_itself_is_read_at_once() -> None:
    fields: dict[str, Any] = {f"field{n}": {"$ref": "#/$defs/Node"} for n in range(12)}
    schema = {"$ref": "#/$defs/Node", "$defs": {"Node": {"type": "object", "properties": fields}}}
    TypeAdapter(type_of_schema(schema)).validate_python({"field1": {"field2": {}}})
