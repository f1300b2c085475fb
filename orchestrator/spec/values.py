"""Python types as data: what one argument or result is, without the Python class behind it."""

from enum import StrEnum
from typing import Any, Literal

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
    BLOB = "blob"
    IMAGE = "image"
    FILE = "file"
    TABLE = "table"
    MANY = "many"


class ValueSpec(Frozen):
    """One argument or result.

    Attributes:
        json_schema: JSON Schema of the JSON form, `$defs` included; what OpenAPI shows.
        dtype: ARRAY only; None where the annotation leaves it open.
        shape: ARRAY only; -1 for any length, None for any number of axes.
        container: ARRAY only: "torch" or "tensorflow" where the method wants such a tensor; numpy otherwise.
        item: ROWS: a list in a batchable API, one row an item. MANY: a list of files or images.
        media_types: BLOB, FILE, IMAGE: what is taken or given, as patterns such as `image/*`; empty for anything.
        orient: TABLE only: "records" (a list of rows) or "columns" (lists by column), for JSON.
        columns: TABLE only: the columns that must be there; None for any.
        nullable: None is a value, for kinds that are not JSON.
        opaque: the user's own validators may accept more than the schema says, so only the worker may refuse a value.
    """

    kind: ValueKind
    json_schema: dict[str, Any] = Field(default_factory=dict)
    dtype: DType | None = None
    shape: tuple[int, ...] | None = None
    container: str | None = None
    item: "ValueSpec | None" = None
    media_types: tuple[str, ...] = ()
    orient: Literal["records", "columns"] = "records"
    columns: tuple[str, ...] | None = None
    nullable: bool = False
    opaque: bool = False
