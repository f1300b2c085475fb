"""Tables: every form that they are sent in, and JSON on the way back."""

import contextlib
import datetime
import decimal
import io
import json
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas import DataFrame
from pydantic import AfterValidator, ValidationError

from orchestrator.codec import Packed, codec_of, dataframe, row_codec_of
from orchestrator.codec.records import columns_of, records_of
from orchestrator.errors import InvalidInput
from orchestrator.sdk.annotations import UnsupportedAnnotation, describe
from orchestrator.spec import Blob, ValueKind
from orchestrator.validators import ContentType, DataframeSchema
from tests.unit.journeys import arrive, give, layout_of, sent_back

NOWHERE = Path("/nowhere")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
CELLS = st.none() | st.booleans() | NUMBERS | TEXT
NAMES = st.lists(TEXT, min_size=1, max_size=3, unique=True)
FRAME = DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [0.5, None]})
RECORDS = [{"a": 1, "b": "x", "c": 0.5}, {"a": 2, "b": "y", "c": None}]
COLUMNS: dict[str, list[Any]] = {"a": [1, 2], "b": ["x", "y"], "c": [0.5, None]}
BY_LABEL = {name: dict(zip("ij", column, strict=True)) for name, column in COLUMNS.items()}
ROWS = [[1, "x", 0.5], [2, "y", None]]
ByColumn = Annotated[DataFrame, DataframeSchema(orient="columns")]
Only = Annotated[DataFrame, DataframeSchema(columns=["b", "a"])]


def arrow_stream(frame: Any) -> bytes:
    table, sink = pa.Table.from_pandas(frame, preserve_index=False), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def arrow_file(frame: Any) -> bytes:
    table, sink = pa.Table.from_pandas(frame, preserve_index=False), io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(frame: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sink)
    return sink.getvalue()


def csv(frame: Any) -> bytes:
    return frame.to_csv(index=False).encode()  # type: ignore[no-any-return]


FORMS: list[tuple[str, Callable[[Any], bytes], str]] = [
    ("application/json", lambda frame: frame.to_json(orient="records").encode(), "t.json"),
    ("text/csv", csv, "t.csv"),
    ("application/vnd.apache.arrow.stream", arrow_stream, "t.arrows"),
    ("application/vnd.apache.arrow.file", arrow_file, "t.arrow"),
    ("application/vnd.apache.parquet", parquet, "t.parquet"),
]


@pytest.mark.parametrize("sent", [RECORDS, COLUMNS, Blob(json.dumps(RECORDS).encode(), "application/json")], ids=str)
def test_a_table_arrives_from_json(sent: Any) -> None:
    pd.testing.assert_frame_equal(arrive(DataFrame, sent, NOWHERE), FRAME)


@pytest.mark.parametrize("sent", [RECORDS, COLUMNS, ROWS, {"a": {"0": 1}, "b": {"0": "x"}, "c": {"0": 0.5}}], ids=str)
def test_whatever_pandas_makes_a_table_of_is_taken(sent: Any) -> None:
    annotation = Annotated[DataFrame, DataframeSchema(columns=["a", "b", "c"])]
    arrived = arrive(annotation, sent, NOWHERE)
    assert list(arrived.columns) == ["a", "b", "c"]
    assert arrived["b"].tolist()[0] == "x"


@pytest.mark.parametrize(("media_type", "write", "name"), FORMS)
def test_a_table_arrives_in_every_form(media_type: str, write: Callable[[Any], bytes], name: str) -> None:
    content = write(FRAME)
    for blob in (
        Blob(content, media_type),
        Blob(content, f"{media_type.upper()}; x=y"),
        Blob(content, None, name),
        Blob(content, "application/octet-stream", name),
        Blob(content, "application/vnd.ms-excel", name),  # what Windows calls a .csv
    ):
        pd.testing.assert_frame_equal(arrive(DataFrame, blob, NOWHERE), FRAME)


@pytest.mark.parametrize(("media_type", "write", "name"), [form for form in FORMS if form[0] != "text/csv"])
def test_a_form_is_known_by_its_first_bytes(media_type: str, write: Callable[[Any], bytes], name: str) -> None:
    pd.testing.assert_frame_equal(arrive(DataFrame, Blob(write(FRAME)), NOWHERE), FRAME)


@pytest.mark.parametrize("media_type", ["application/x-parquet", "application/parquet"])
def test_a_form_has_other_names_too(media_type: str) -> None:
    pd.testing.assert_frame_equal(arrive(DataFrame, Blob(parquet(FRAME), media_type), NOWHERE), FRAME)


def test_binary_forms_keep_the_types() -> None:
    frame = DataFrame(
        {
            "small": np.array([1, 2], np.int8),
            "when": pd.to_datetime(["2020-01-02", None]),
            "kind": pd.Categorical(["x", "y"]),
            "maybe": pd.array([1, None], dtype="Int64"),
        }
    )
    for write, media_type in ((arrow_stream, FORMS[2][0]), (parquet, FORMS[4][0])):
        arrived = arrive(DataFrame, Blob(write(frame), media_type), NOWHERE)
        assert arrived["small"].dtype == np.int8
        assert arrived["when"].dtype.kind == "M"
        assert isinstance(arrived["kind"].dtype, pd.CategoricalDtype)


def test_csv_in_another_character_set() -> None:
    sent = Blob("a\né\n".encode("latin-1"), 'text/csv; charset="latin-1"')
    assert arrive(DataFrame, sent, NOWHERE)["a"].tolist() == ["é"]
    assert arrive(DataFrame, Blob("\ufeffa\n1\n".encode(), "text/csv"), NOWHERE)["a"].tolist() == [1]
    with pytest.raises(ValueError, match="cannot be read as text/csv"):
        arrive(DataFrame, Blob(b"a\n1\n", "text/csv; charset=klingon"), NOWHERE)


def test_a_data_url_is_a_table_too() -> None:
    assert arrive(DataFrame, "data:text/csv;base64,YQox", NOWHERE)["a"].tolist() == [1]


@pytest.mark.parametrize("sent", ["a,b", 1, None, True, "https://x.y/t.csv"])
def test_what_is_no_table_is_refused(sent: Any) -> None:
    with pytest.raises(ValidationError, match="expected a table: a list of records"):
        arrive(DataFrame, sent, NOWHERE)


@pytest.mark.parametrize("blob", [Blob(b"x", "image/png"), Blob(b"a,b"), Blob(b""), Blob(b"x", None, "t.xlsx")])
def test_another_media_type_is_refused_with_the_ones_that_are_taken(blob: Blob) -> None:
    with pytest.raises(ValidationError, match=r"a table is sent as application/json, text/csv, .*parquet, not as"):
        arrive(DataFrame, blob, NOWHERE)


@pytest.mark.parametrize(
    "blob",
    [
        Blob(b"{", "application/json"),
        Blob(b"1", "application/json"),
        Blob(b"", "application/json"),
        Blob(b'{"a":1}', "application/json"),
        Blob(b'{"a":[1],"b":[1,2]}', "application/json"),
        Blob(b"[" * 5000 + b"]" * 5000, "application/json"),
        Blob(b"", "text/csv"),
        Blob(b"a,b\n1,2,3\n", "text/csv"),
        Blob(b"a,b\n1,2\n1,2,3\n", "text/csv"),
        Blob(b"a\n\xff\n", "text/csv"),
        Blob(b"PAR1", "application/vnd.apache.parquet"),
        Blob(b"ARROW1", "application/vnd.apache.arrow.file"),
        Blob(b"\xff\xff\xff\xff", "application/vnd.apache.arrow.stream"),
        Blob(b"", "application/vnd.apache.arrow.stream"),
        Blob(parquet(FRAME)[:-9], "application/vnd.apache.parquet"),
        Blob(arrow_stream(FRAME)[:-99], "application/vnd.apache.arrow.stream"),
        Blob(arrow_file(FRAME)[:-20], "application/vnd.apache.arrow.file"),
    ],
    ids=lambda blob: f"{blob.media_type}-{blob.content[:12]!r}",
)
def test_a_broken_table_is_refused(blob: Blob) -> None:
    with pytest.raises(ValueError, match=f"the table cannot be read as {blob.media_type}: ."):
        arrive(DataFrame, blob, NOWHERE)


@pytest.mark.parametrize(("media_type", "write", "name"), FORMS)
@given(data=st.data())
@settings(deadline=None)
def test_a_damaged_table_never_raises_anything_but_a_value_error(
    media_type: str, write: Callable[[Any], bytes], name: str, data: st.DataObject
) -> None:
    content = bytearray(write(FRAME))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        arrive(DataFrame, Blob(bytes(content), media_type), NOWHERE)


def test_a_parquet_file_of_too_many_cells_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataframe, "_MOST_CELLS", 5)
    with pytest.raises(ValueError, match="more than 5 cells"):
        arrive(DataFrame, Blob(parquet(FRAME)), NOWHERE)


def test_a_form_whose_reader_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = parquet(FRAME)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"this service does not read application/vnd.apache.parquet: pyarrow is not"):
        arrive(DataFrame, Blob(content), NOWHERE)


@pytest.mark.parametrize(
    "sent", [RECORDS, COLUMNS, Blob(csv(FRAME), "text/csv"), Blob(parquet(FRAME)), [["x", 1], ["y", 2]]], ids=str
)
def test_the_method_gets_the_declared_columns_in_their_order(sent: Any) -> None:
    arrived = arrive(Only, sent, NOWHERE)
    assert list(arrived.columns) == ["b", "a"]
    assert arrived["a"].tolist() == [1, 2]


@pytest.mark.parametrize("sent", [[{"b": 1}], {"b": [1]}, Blob(b"b\n1\n", "text/csv")], ids=str)
def test_a_missing_column_is_named(sent: Any) -> None:
    with pytest.raises(ValueError, match="lacks the column a"):
        arrive(Only, sent, NOWHERE)
    with pytest.raises(ValueError, match="lacks the columns x, y"):
        arrive(Annotated[DataFrame, DataframeSchema(columns=["x", "b", "y"])], sent, NOWHERE)


def test_a_list_without_rows_has_the_declared_columns() -> None:
    assert list(arrive(Only, [], NOWHERE).columns) == ["b", "a"]
    assert arrive(DataFrame, [], NOWHERE).shape == (0, 0)


def test_the_users_own_validators_run() -> None:
    def long_enough(frame: Any) -> Any:
        if len(frame) < 2:
            raise ValueError("too short")
        return frame

    annotation = Annotated[DataFrame, AfterValidator(long_enough)]
    assert len(arrive(annotation, RECORDS, NOWHERE)) == 2
    with pytest.raises(ValidationError, match="too short"):
        arrive(annotation, RECORDS[:1], NOWHERE)


@pytest.mark.parametrize("annotation", [DataFrame | None, Annotated[DataFrame | None, "x"], Only | None])
def test_a_table_may_be_optional(annotation: Any) -> None:
    assert arrive(annotation, None, NOWHERE) is None
    assert len(arrive(annotation, RECORDS, NOWHERE)) == 2
    assert sent_back(annotation, None) == b"null"


def test_a_result_is_json_by_its_orientation() -> None:
    assert json.loads(sent_back(DataFrame, FRAME)) == RECORDS
    assert json.loads(sent_back(ByColumn, FRAME)) == COLUMNS
    assert give(DataFrame, FRAME).media_type == "application/json"
    assert sent_back(DataFrame, DataFrame()) == b"[]"
    assert sent_back(ByColumn, DataFrame({"a": []})) == b'{"a":[]}'


@given(NAMES, st.data())
@settings(deadline=None)
def test_a_table_of_any_cells_comes_back_through_json(names: list[str], data: st.DataObject) -> None:
    records = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, CELLS)), min_size=1, max_size=4))
    frame = DataFrame(records, dtype=object)
    assert json.loads(sent_back(DataFrame, frame)) == records
    assert json.loads(sent_back(ByColumn, frame)) == columns_of(records)
    assert records_of(columns_of(records)) == records
    pd.testing.assert_frame_equal(arrive(DataFrame, records, NOWHERE), DataFrame(records))


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        (float("nan"), None), (float("inf"), None), (None, None), (pd.NA, None), (pd.NaT, None),
        (pd.Timestamp("2020-01-02T03:04:05"), "2020-01-02T03:04:05"),
        (pd.Timestamp("2020-01-02", tz="UTC"), "2020-01-02T00:00:00+00:00"),
        (datetime.datetime(2020, 1, 2), "2020-01-02T00:00:00"), (datetime.date(2020, 1, 2), "2020-01-02"),
        (pd.Timedelta(days=1), "P1DT0H0M0S"), (datetime.timedelta(hours=1), "P0DT1H0M0S"),
        (pd.Period("2020-01"), "2020-01"), (decimal.Decimal("1.50"), "1.50"), (b"x", "x"), ({1}, [1]),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"), ([1, [2]], [1, [2]]), ({"a": 1}, {"a": 1}),
        (np.float32(0.5), 0.5), (np.array([1, 2]), [1, 2]), (np.array(["x"]), ["x"]), (np.str_("x"), "x"),
        (2**63, 2**63), (True, True), ([float("nan")], [None]), ([np.datetime64("2020-01-02")], ["2020-01-02T00:00:00"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_cell_of_any_type_has_its_form_in_json(cell: Any, form: Any) -> None:
    frame = DataFrame({"a": pd.Series([cell], dtype=object)})
    assert json.loads(sent_back(DataFrame, frame)) == [{"a": form}]


def test_a_column_of_any_dtype_has_its_form_in_json() -> None:
    frame = DataFrame(
        {
            "int8": np.array([1, 2], np.int8),
            "maybe": pd.array([1, None], dtype="Int64"),
            "flag": pd.array([True, None], dtype="boolean"),
            "when": pd.to_datetime(["2020-01-02", None]),
            "zone": pd.to_datetime(["2020-01-02", None]).tz_localize("UTC"),
            "long": pd.to_timedelta([1, None], unit="s"),
            "kind": pd.Categorical(["x", None]),
            "text": pd.array(["x", None], dtype="string"),
            "half": np.array([0.5, np.nan], np.float16),
        }
    )
    first, second = json.loads(sent_back(DataFrame, frame))
    assert first == {
        "int8": 1, "maybe": 1, "flag": True, "when": "2020-01-02T00:00:00", "zone": "2020-01-02T00:00:00+00:00",
        "long": "P0DT0H0M1S", "kind": "x", "text": "x", "half": 0.5,
    }  # fmt: skip
    assert second == {"int8": 2} | dict.fromkeys(("maybe", "flag", "when", "zone", "long", "kind", "text", "half"))


def test_column_names_become_text() -> None:
    assert json.loads(sent_back(DataFrame, DataFrame([[1, 2]]))) == [{"0": 1, "1": 2}]
    with pytest.raises(ValueError, match="two columns are called 'a'"):
        give(DataFrame, DataFrame([[1, 2]], columns=["a", "a"]))


@pytest.mark.parametrize("cell", [object(), b"\xff", 2**70, 1 + 2j, "\ud800"])
def test_a_cell_without_a_form_in_json_is_refused(cell: Any) -> None:
    with pytest.raises(ValueError, match="cell without a form in JSON"):
        give(DataFrame, DataFrame({"a": pd.Series([cell], dtype=object)}))


@pytest.mark.parametrize("wrong", [None, 1, [{"a": 1}], {"a": [1]}, pd.Series([1]), np.zeros((1, 1))], ids=str)
def test_a_result_that_is_no_table_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"expected a pandas.DataFrame, got"):
        give(DataFrame, wrong)


def test_a_result_must_have_the_declared_columns() -> None:
    assert json.loads(sent_back(Only, DataFrame({"a": [1], "b": [2], "c": [3]}))) == [{"a": 1, "b": 2, "c": 3}]
    with pytest.raises(ValueError, match="lacks the column a"):
        give(Only, DataFrame({"b": [2]}))


def test_what_comes_in_another_form_has_a_json_form_too() -> None:
    for annotation, expected in ((DataFrame, RECORDS), (ByColumn, COLUMNS)):
        value = describe(annotation, "argument")
        codec = codec_of(ValueKind.TABLE)
        assert json.loads(codec.to_json(value, Blob(parquet(FRAME)))) == expected
        assert json.loads(codec.to_json(value, Blob(json.dumps(RECORDS).encode(), "application/json"))) == expected
        assert json.loads(codec.to_json(value, Blob(json.dumps(COLUMNS).encode(), "application/json"))) == expected


# Batchable APIs: one record a row.


@pytest.mark.parametrize("sent", [RECORDS, COLUMNS, BY_LABEL], ids=str)
def test_a_batch_has_a_row_a_record(sent: Any) -> None:
    pd.testing.assert_frame_equal(arrive(DataFrame, sent, NOWHERE, rows=True), FRAME)
    back = give(DataFrame, FRAME, rows=True)
    assert json.loads(back.content) == RECORDS
    assert json.loads(sent_back(ByColumn, FRAME, rows=True)) == COLUMNS
    assert json.loads(sent_back(Only, FRAME, rows=True)) == RECORDS


def test_the_declared_columns_hold_in_a_batch_too() -> None:
    sent: Any
    for sent in (RECORDS, COLUMNS, [["x", 1], ["y", 2]]):
        assert arrive(Only, sent, NOWHERE, rows=True).to_dict("list") == {"b": ["x", "y"], "a": [1, 2]}
    for sent in ([{"a": 1}], {"a": [1]}):
        with pytest.raises(InvalidInput, match="lacks the column b"):
            arrive(Only, sent, NOWHERE, rows=True)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ([[1, 2]], "expected a table"),
        ([1], "expected a table"),
        ([{"a": 1}, [1]], "expected a table"),
        ({"a": 1}, "a list for each column"),
        ({"a": [1], "b": [1, 2]}, "same length"),
        (Blob(csv(FRAME), "text/csv"), "send the table as application/json"),
        (Blob(parquet(FRAME)), "send the table as application/json"),
        (Blob(b"{", "application/json"), "EOF"),
    ],
    ids=str,
)
def test_what_has_no_rows_is_refused(sent: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        arrive(DataFrame, sent, NOWHERE, rows=True)


def test_rows_of_another_length_than_the_columns_are_refused() -> None:
    with pytest.raises(InvalidInput, match="every row must have 2 cells: b, a"):
        arrive(Only, [[1, 2, 3]], NOWHERE, rows=True)


def test_records_of_one_call_have_the_same_columns() -> None:
    assert records_of([{"a": 1}, {"b": 2}]) == [{"a": 1, "b": None}, {"a": None, "b": 2}]
    assert columns_of([], ["a"]) == {"a": []}
    assert records_of({"a": {"x": 1}, "b": {"y": 2}}) == [{"a": 1, "b": None}, {"a": None, "b": 2}]
    assert records_of([]) == []


@pytest.mark.parametrize("row", [b"1", b"[1]", b"{}{}", b'1],[{"a":1}', b"", b"\xff"])
def test_a_row_of_a_plain_client_must_be_an_object(row: bytes) -> None:
    value = describe(DataFrame, "argument", rows=True)
    with pytest.raises(ValueError, match=r"JSON object|trailing|EOF|expected"):
        row_codec_of(ValueKind.TABLE).from_rows(value, Packed(np.array([[b'{"a":1}'], [row]], dtype=object)), 0)


def test_batches_are_joined_and_split() -> None:
    codec = row_codec_of(ValueKind.TABLE)
    joined = codec.join([FRAME, FRAME[:1]], 0)
    assert codec.count(joined, 0) == 3
    assert list(joined.index) == [0, 1, 2]
    one, other = codec.split(joined, [2, 1], 0)
    assert json.loads(give(DataFrame, one, rows=True).content) == RECORDS
    assert json.loads(give(DataFrame, other, rows=True).content) == RECORDS[:1]


def test_only_tables_of_the_same_columns_and_types_are_joined() -> None:
    codec = row_codec_of(ValueKind.TABLE)
    key = codec.joinable(DataFrame({"a": [1], "b": ["x"]}), 0)
    assert key == codec.joinable(DataFrame({"a": [2, 3], "b": ["y", "z"]}), 0)
    for other in ({"a": [1]}, {"b": ["x"], "a": [1]}, {"a": [1.5], "b": ["x"]}, {"a": ["1"], "b": ["x"]}):
        assert key != codec.joinable(DataFrame(other), 0)


def test_an_empty_batch_keeps_its_shape() -> None:
    layout = layout_of(describe(DataFrame, "argument", rows=True), describe(DataFrame, "result", rows=True), rows=True)
    packed = layout.pack({"x": Blob(b"[]", "application/json")})
    assert packed.tensors["x"].shape == (0, 1)
    assert len(layout.unpack(packed.tensors, {})["x"].content) == 2


# What OpenAPI says.


def test_the_schema_is_that_of_the_json_form() -> None:
    records = {"type": "array", "items": {"type": "object"}}
    columns = {"type": "object", "additionalProperties": {"type": "array", "items": {}}}
    assert describe(DataFrame, "argument").json_schema == {"anyOf": [records, columns]}
    assert describe(ByColumn, "argument").json_schema == {"anyOf": [columns, records]}
    assert describe(DataFrame, "result").json_schema == records
    assert describe(ByColumn, "result").json_schema == columns
    assert describe(Only, "argument").columns == ("b", "a")
    assert describe(DataFrame | None, "result").json_schema == {"anyOf": [records, {"type": "null"}]}


@pytest.mark.parametrize("arguments", [{"orient": "split"}, {"columns": "ab"}, {"columns": [1]}])
def test_a_marker_that_says_nothing_is_refused(arguments: Any) -> None:
    with pytest.raises(ValueError, match="DataframeSchema takes"):
        DataframeSchema(**arguments)


def test_a_marker_of_another_kind_is_refused() -> None:
    with pytest.raises(UnsupportedAnnotation, match=r"ContentType says nothing about .*DataFrame"):
        describe(Annotated[DataFrame, ContentType("text/csv")], "argument")
