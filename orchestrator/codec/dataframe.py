"""pandas.DataFrame <-> the forms that a table is sent in. pandas and pyarrow are loaded with the first table."""

import datetime
import io
from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
import orjson
from pydantic_core import from_json

from orchestrator.codec.media import canonical, guess, stated
from orchestrator.codec.records import missing_columns
from orchestrator.spec import Blob

__all__ = ["ARROW_FILE", "ARROW_STREAM", "CSV", "JSON", "PARQUET", "dump", "form_of", "load"]

JSON: Final = "application/json"
CSV: Final = "text/csv"
ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"
ARROW_FILE: Final = "application/vnd.apache.arrow.file"
PARQUET: Final = "application/vnd.apache.parquet"
FORMS: Final = (JSON, CSV, ARROW_STREAM, ARROW_FILE, PARQUET)
_MOST_CELLS: Final = 100_000_000
"""Of a Parquet file, which can say a column of a billion equal numbers in a few bytes."""
_SIGNATURES: Final = ((b"PAR1", PARQUET), (b"ARROW1", ARROW_FILE), (b"\xff\xff\xff\xff", ARROW_STREAM))
_CELLS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def form_of(blob: Blob) -> str:
    """Which of the forms a content is in.

    Raises:
        ValueError: it is in none.
    """
    said = stated(blob.media_type)
    for media_type in (said, guess(blob.filename)):
        if media_type and canonical(media_type) in FORMS:
            return canonical(media_type)
    for signature, form in () if said else _SIGNATURES:
        if blob.content.startswith(signature):
            return form
    if not said and blob.content.lstrip()[:1] in (b"[", b"{"):
        return JSON
    raise ValueError(f"a table is sent as {', '.join(FORMS[:-1])} or {FORMS[-1]}, not as {(said or 'this')[:100]}")


def load(blob: Blob, columns: tuple[str, ...] | None) -> Any:
    """The content as a DataFrame.

    Args:
        columns: the ones to keep, in this order; None for all.

    Raises:
        ValueError: it is broken, or lacks a column.
    """
    form = form_of(blob)
    try:
        frame = _READERS[form](blob, columns)
    except ImportError as error:
        raise ValueError(f"this service does not read {form}: {error.name} is not installed there") from error
    except MemoryError:
        raise
    except Exception as error:  # pandas and pyarrow raise anything on what is broken
        raise ValueError(f"the table cannot be read as {form}: {error}") from error
    if columns is None:
        return frame
    missing_columns(list(frame.columns), columns)
    return frame if list(frame.columns) == list(columns) else frame[list(columns)]


def _from_json(blob: Blob, columns: tuple[str, ...] | None) -> Any:
    import pandas as pd

    document = from_json(blob.content)
    if not isinstance(document, (list, dict)):
        raise ValueError("expected a list of records, or an object with a list for each column")
    named = isinstance(document, dict) or (document and isinstance(document[0], dict))
    return pd.DataFrame(document, columns=None if named or columns is None else list(columns))


def _from_csv(blob: Blob, columns: tuple[str, ...] | None) -> Any:
    import pandas as pd

    frame = pd.read_csv(io.BytesIO(blob.content), encoding=_charset(blob.media_type) or "utf-8")
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError("its rows have more fields than its first line")
    return frame


def _charset(media_type: str | None) -> str | None:
    for parameter in (media_type or "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"')
    return None


def _from_arrow_stream(blob: Blob, columns: tuple[str, ...] | None) -> Any:
    import pyarrow as pa

    return _from_arrow(pa.ipc.open_stream(pa.py_buffer(blob.content)).read_all())


def _from_arrow_file(blob: Blob, columns: tuple[str, ...] | None) -> Any:
    import pyarrow as pa

    return _from_arrow(pa.ipc.open_file(pa.py_buffer(blob.content)).read_all())


def _from_parquet(blob: Blob, columns: tuple[str, ...] | None) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.py_buffer(blob.content))
    if file.metadata.num_rows * file.metadata.num_columns > _MOST_CELLS:
        raise ValueError(f"it has more than {_MOST_CELLS} cells")
    return _from_arrow(file.read())


def _from_arrow(table: Any) -> Any:
    table.validate(full=True)  # offsets of a stranger's making may point anywhere
    return table.to_pandas()


_READERS: Final[dict[str, Callable[[Blob, tuple[str, ...] | None], Any]]] = {
    JSON: _from_json,
    CSV: _from_csv,
    ARROW_STREAM: _from_arrow_stream,
    ARROW_FILE: _from_arrow_file,
    PARQUET: _from_parquet,
}


def dump(frame: Any, orient: Literal["records", "columns"]) -> bytes:
    """A DataFrame as JSON, without its index: missing values as null, dates as ISO 8601.

    Raises:
        ValueError: two columns have one name, or a cell has no form in JSON.
    """
    names = [str(name) for name in frame.columns]
    if len(set(names)) != len(names):
        raise ValueError(f"two columns are called {next(n for n in names if names.count(n) > 1)!r}")
    columns = [_cells(frame.iloc[:, position]) for position in range(len(names))]
    document: Any = dict(zip(names, columns, strict=True))
    if orient == "records":
        document = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    try:
        return orjson.dumps(document, default=_plain_cell, option=_CELLS)
    except TypeError as error:
        raise ValueError(f"the table has a cell without a form in JSON: {error}") from error


def _cells(column: Any) -> list[Any]:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return list(column.tolist())  # orjson writes NaN as null
    missing = column.isna().tolist()
    return [None if gone else cell for gone, cell in zip(missing, column.tolist(), strict=True)]


def _plain_cell(cell: Any) -> Any:
    """What orjson does not know itself.

    Raises:
        TypeError: it has no form in JSON.
    """
    import pandas as pd

    if cell is pd.NA or cell is pd.NaT:
        return None
    if isinstance(cell, (datetime.datetime, datetime.time, pd.Timedelta)):
        return cell.isoformat()
    if isinstance(cell, datetime.timedelta):
        return pd.Timedelta(cell).isoformat()
    if isinstance(cell, (set, frozenset)):
        return list(cell)
    if isinstance(cell, np.ndarray):  # of text or objects: orjson writes those of numbers
        return cell.tolist()
    if isinstance(cell, np.generic):
        return cell.item()
    if isinstance(cell, bytes):
        try:
            return cell.decode()
        except UnicodeDecodeError as error:
            raise TypeError("bytes that are not UTF-8") from error
    if type(cell).__name__ in ("Decimal", "Period", "Interval"):
        return str(cell)
    raise TypeError(type(cell).__name__)
