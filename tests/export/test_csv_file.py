"""CSV of rows: any reader of RFC 4180 gets the values back."""

from __future__ import annotations

import csv
import datetime as dt
import io

import pyarrow as pa
import pytest

from dicomflow.export.csv_file import write_csv

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("number", pa.float64()),
        ("date", pa.date32()),
        ("time", pa.time64("us")),
        ("moment", pa.timestamp("us")),
        ("numbers", pa.list_(pa.float64())),
        ("texts", pa.list_(pa.string())),
        ("nested", pa.list_(pa.list_(pa.date32()))),
        ("issues", pa.list_(pa.struct([("path", pa.string()), ("raw", pa.string())]))),
    ]
)


def read(rows: list[dict[str, object]], *, formulas: bool = False, encode: bool = False) -> list[dict[str, str]]:
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    if encode:
        batch = pa.RecordBatch.from_arrays(
            [batch.column(0).dictionary_encode(), *batch.columns[1:]], names=SCHEMA.names
        )
    sink = io.BytesIO()
    assert write_csv([batch], SCHEMA, sink, formulas=formulas) == len(rows)
    return list(csv.DictReader(io.StringIO(sink.getvalue().decode(), newline="")))


@pytest.mark.parametrize("encode", [False, True])
def test_values_come_back(encode: bool) -> None:
    """Quotes, commas, lines and other scripts in texts; ISO dates; lists as DICOM writes them; null is an empty cell."""
    first, second = read(
        [
            {
                "text": 'a "b",\nü山', "number": -0.5, "date": dt.date(24, 1, 2), "time": dt.time(1, 2, 3, 400),
                "moment": dt.datetime(2024, 1, 2, 3, 4, 5), "numbers": [-1.5, None, 2.0], "texts": ["x", None, "y"],
                "nested": [[dt.date(2024, 1, 1)], None], "issues": [{"path": "p", "raw": 'r"'}],
            },
            {},
        ],
        encode=encode,
    )  # fmt: skip
    assert first["text"] == 'a "b",\nü山' and first["number"] == "-0.5" and first["date"] == "0024-01-02"
    assert first["time"] == "01:02:03.000400" and first["moment"].startswith("2024-01-02 03:04:05")
    assert first["numbers"] == "-1.5\\\\2" and first["texts"] == "x\\\\y"
    assert first["nested"] == '[["2024-01-01"],null]' and first["issues"] == '[{"path":"p","raw":"r\\""}]'
    assert set(second.values()) == {""} and list(second) == SCHEMA.names


@pytest.mark.parametrize("encode", [False, True])
@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", '=cmd|" /C calc"!A0'])
def test_no_text_is_a_formula(text: str, encode: bool) -> None:
    """A spreadsheet shows it; numbers are not touched; who wants the exact text says so."""
    row = {"text": text, "texts": [text], "numbers": [-1.0], "number": -1.0}
    (shown,) = read([row], encode=encode)
    assert shown["text"] == "'" + text and shown["texts"] == "'" + text
    assert shown["numbers"] == "-1" and shown["number"] == "-1"
    (exact,) = read([row], formulas=True, encode=encode)
    assert exact["text"] == exact["texts"] == text


def test_no_rows() -> None:
    """The header line is there."""
    sink = io.BytesIO()
    assert write_csv([], SCHEMA, sink) == 0
    assert next(csv.reader(io.StringIO(sink.getvalue().decode()))) == SCHEMA.names
