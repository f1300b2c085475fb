"""The JSON forms of a table, without pandas: a list of records, or lists by column."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["columns_of", "missing_columns", "records_of"]

Records = list[dict[str, Any]]


def missing_columns(there: Sequence[Any], wanted: Sequence[str]) -> None:
    """Raises: ValueError where one of the wanted columns is not there."""
    missing = [name for name in wanted if name not in there]
    if missing:
        raise ValueError(f"the table lacks {'the column' if len(missing) == 1 else 'the columns'} {', '.join(missing)}")


def records_of(document: Any, columns: Sequence[str] | None = None) -> Records:
    """A table as records that all have the same columns; a cell that is not there is None.

    Args:
        document: records, lists by column, mappings by column, or (where the columns are known) lists by row.
        columns: the ones to keep, in this order; None for all.

    Raises:
        ValueError: it is none of these, or lacks a column.
    """
    if isinstance(document, list) and all(isinstance(row, dict) for row in document):
        names = columns or list(dict.fromkeys(name for row in document for name in row))
        if document:
            missing_columns({name for row in document for name in row}, names)  # type: ignore[arg-type]
        return [{name: row.get(name) for name in names} for row in document]
    if isinstance(document, list) and columns and all(isinstance(row, list) for row in document):
        if any(len(row) != len(columns) for row in document):
            raise ValueError(f"every row must have {len(columns)} cells: {', '.join(columns)}")
        return [dict(zip(columns, row, strict=True)) for row in document]
    if isinstance(document, dict):
        return _records_of_columns(document, columns or list(document))
    raise ValueError("expected a table: a list of records, or an object with a list for each column")


def _records_of_columns(document: Mapping[str, Any], names: Sequence[str]) -> Records:
    missing_columns(list(document), names)
    columns = [document[name] for name in names]
    if all(isinstance(column, dict) for column in columns):
        index = dict.fromkeys(label for column in columns for label in column)
        columns = [[column.get(label) for label in index] for column in columns]
    if not all(isinstance(column, list) for column in columns):
        raise ValueError("expected a list for each column")
    if len({len(column) for column in columns}) > 1:
        raise ValueError("all columns must be of the same length")
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def columns_of(records: Records, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
    """Records, which all have the same columns, as lists by column.

    Args:
        columns: of a table without rows.
    """
    names = list(records[0]) if records else (columns or [])
    return {name: [row[name] for row in records] for name in names}
