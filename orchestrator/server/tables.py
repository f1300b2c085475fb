"""A table's JSON form -> CSV, Arrow and Parquet, for callers who ask for them. pyarrow is loaded with the first one."""

import csv
import io
from functools import cache
from importlib.util import find_spec
from typing import Any

from pydantic_core import from_json, to_json

from orchestrator.codec import codec_of
from orchestrator.codec.records import columns_of, records_of
from orchestrator.errors import OutputMismatch
from orchestrator.server.media import ARROW_STREAM, CSV, JSON, PARQUET
from orchestrator.spec import Blob, ValueSpec

__all__ = ["table_types", "write_table"]


@cache
def table_types() -> tuple[str, ...]:
    """The media types that tables are sent as here, the default first."""
    return (JSON, CSV, ARROW_STREAM, PARQUET) if find_spec("pyarrow") else (JSON, CSV)


def write_table(value: ValueSpec, table: Blob, media_type: str) -> bytes:
    """A result in one of `table_types`.

    Raises:
        OutputMismatch: it has no form in it (a column of numbers and text, for Arrow).
    """
    document = codec_of(value.kind).to_json(value, table)
    if media_type == JSON:
        return document
    records = records_of(from_json(document))
    columns = columns_of(records, value.columns)
    if media_type == CSV:
        return _csv(columns, records)
    import pyarrow as pa

    try:
        arrow = pa.table(columns)
    except pa.ArrowException as error:
        raise OutputMismatch(f"the table has no form as {media_type}: {error}") from error
    return _arrow_stream(arrow) if media_type == ARROW_STREAM else _parquet(arrow)


def _csv(columns: dict[str, list[Any]], records: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(cell) for cell in record.values()] for record in records)
    return text.getvalue().encode()


def _cell(cell: Any) -> Any:
    return to_json(cell).decode() if isinstance(cell, (dict, list, bool)) else cell


def _arrow_stream(table: Any) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _parquet(table: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content
