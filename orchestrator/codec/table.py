"""pandas.DataFrame. In a batchable API one record a row, so that Triton counts and merges rows."""

from collections.abc import Hashable, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import PlainValidator, TypeAdapter
from pydantic_core import from_json, to_json

from orchestrator.codec.blob import bytes_of, content_tensor
from orchestrator.codec.codec import Carrier, Packed, Workspace
from orchestrator.codec.dataframe import JSON, dump, form_of, load
from orchestrator.codec.media import blob_of_data_url, blob_of_facts, hint_of_blob
from orchestrator.codec.records import columns_of, missing_columns, records_of
from orchestrator.codec.scalar import only_element
from orchestrator.codec.structure import document_of
from orchestrator.spec import Blob, DType, ValueKind, ValueSpec

__all__ = ["TableCodec"]


class TableCodec:
    """The plain form is a `Blob`; its media type says what is in it: JSON, CSV, Arrow or Parquet. Results are JSON."""

    kind: ClassVar = ValueKind.TABLE

    def carrier(self, value: ValueSpec) -> Carrier:
        return Carrier(DType.BYTES, (1,))

    def row_carrier(self, value: ValueSpec, axis: int) -> Carrier:
        return Carrier(DType.BYTES, (1,))

    def edge_type(self, value: ValueSpec) -> Any:
        return Annotated[Any, PlainValidator(_from_edge)]

    def to_json(self, value: ValueSpec, plain: Any) -> bytes:
        if form_of(plain) != JSON:
            return dump(load(plain, value.columns), value.orient)
        content: bytes = plain.content
        if content[:64].lstrip()[:1] == (b"{" if value.orient == "columns" else b"["):
            return content
        records = records_of(from_json(content), value.columns)
        return to_json(columns_of(records, value.columns) if value.orient == "columns" else records)

    def to_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        return Packed(content_tensor(plain.content), hint_of_blob(Blob(b"", form_with_parameters(plain))))

    def result_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        return Packed(content_tensor(plain.content))

    def from_tensor(self, value: ValueSpec, packed: Packed) -> Any:
        blob = blob_of_facts(bytes_of(only_element(packed)), orjson.loads(packed.hint) if packed.hint else None)
        return Blob(blob.content, form_with_parameters(blob))

    def to_rows(self, value: ValueSpec, plain: Any, axis: int) -> Packed:
        if form_of(plain) != JSON:
            raise ValueError(f"this API works on batches of rows: send the table as {JSON}")
        records = records_of(from_json(plain.content), value.columns)
        return Packed(content_tensor(*(to_json(record, inf_nan_mode="constants") for record in records)).reshape(-1, 1))

    def result_rows(self, value: ValueSpec, plain: Any, axis: int) -> NDArray[Any]:
        return self.to_rows(value.model_copy(update={"columns": None}), plain, axis).tensor

    def from_rows(self, value: ValueSpec, packed: Packed, axis: int) -> Any:
        rows = [bytes_of(element) for element in packed.tensor.reshape(-1)]
        if not all(isinstance(from_json(row), dict) for row in rows):
            raise ValueError('every row of a table must be a JSON object, such as {"column":1}')
        return Blob(b"[" + b",".join(rows) + b"]", JSON)

    def to_python(self, value: ValueSpec, plain: Any, adapter: TypeAdapter[Any], workspace: Workspace) -> Any:
        return adapter.validate_python(load(plain, value.columns))

    def from_python(self, value: ValueSpec, python: Any, adapter: TypeAdapter[Any]) -> Any:
        import pandas as pd

        frame = adapter.validate_python(python)
        if not isinstance(frame, pd.DataFrame):
            raise ValueError(f"expected a pandas.DataFrame, got {type(frame).__name__}")
        missing_columns(list(frame.columns), value.columns or ())
        return Blob(dump(frame, value.orient), JSON)

    def count(self, python: Any, axis: int) -> int:
        return len(python)

    def join(self, pythons: Sequence[Any], axis: int) -> Any:
        import pandas as pd

        return pd.concat(pythons, ignore_index=True)

    def split(self, python: Any, sizes: Sequence[int], axis: int) -> list[Any]:
        ends = np.cumsum(sizes).tolist()
        return [python.iloc[end - size : end] for end, size in zip(ends, sizes, strict=True)]

    def joinable(self, python: Any, axis: int) -> Hashable:
        # Joined with another type, a column would change its own.
        return tuple(python.columns), tuple(str(dtype) for dtype in python.dtypes)


def form_with_parameters(blob: Blob) -> str:
    """The media type of the content's form, with what the sender says beside it (a charset)."""
    form = form_of(blob)
    _, semicolon, parameters = (blob.media_type or "").partition(";")
    return f"{form}{semicolon}{parameters}"


def _from_edge(sent: Any) -> Blob:
    if isinstance(sent, (list, dict)):
        return Blob(document_of(sent), JSON)
    if isinstance(sent, str) and sent[:5].lower() == "data:":
        sent = blob_of_data_url(sent)
    if not isinstance(sent, Blob):
        raise ValueError("expected a table: a list of records, an object with a list for each column, or a file part")
    return Blob(sent.content, form_with_parameters(sent))
