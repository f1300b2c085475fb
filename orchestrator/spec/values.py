"""Python types as data: what one argument or result is, without the Python class behind it."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from orchestrator.spec.frozen import Frozen
from orchestrator.spec.tensors import DType

__all__ = ["ValueKind", "ValueSpec"]


class ValueKind(StrEnum):
    """How a value travels; one codec for each."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    JSON = "json"
    ARRAY = "array"
    ROWS = "rows"


class ValueSpec(Frozen):
    """One argument or result.

    Attributes:
        json_schema: JSON Schema of the JSON form, `$defs` included; what OpenAPI shows.
        dtype: ARRAY only; None where the annotation leaves it open.
        shape: ARRAY only; -1 for any length, None for any number of axes.
        item: ROWS only: a list in a batchable API, one row an item.
        opaque: the user's own validators may accept more than the schema says, so only the worker may refuse a value.
    """

    kind: ValueKind
    json_schema: dict[str, Any] = Field(default_factory=dict)
    dtype: DType | None = None
    shape: tuple[int, ...] | None = None
    item: "ValueSpec | None" = None
    opaque: bool = False
