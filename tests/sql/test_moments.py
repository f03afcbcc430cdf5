"""Dates and times that Arrow and Python cannot write come out as text; all others stay what they are."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime, time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomflow.sql.moments import spell_out
from dicomflow.sql.output import iter_csv, iter_ndjson, iter_rows, write_parquet
from dicomflow.sql.sandbox import Sandbox

STRANGE = [
    ("'infinity'::date", "infinity"),
    ("'-infinity'::date", "-infinity"),
    ("date '12024-02-29'", "12024-02-29"),
    ("date '0044-03-15 (BC)'", "-0043-03-15"),
    ("date '200000-01-01 (BC)'", "-199999-01-01"),
    ("'infinity'::timestamp", "infinity"),
    ("'-infinity'::timestamp", "-infinity"),
    ("timestamp '290000-01-01 01:02:03.000004'", "290000-01-01 01:02:03.000004"),
    ("timestamp '0044-03-15 (BC) 01:02:03'", "-0043-03-15 01:02:03.000000"),
    ("'infinity'::timestamptz", "infinity"),
    ("'infinity'::timestamp_s", "infinity"),
    ("'-infinity'::timestamp_ms", "-infinity"),
    ("'infinity'::timestamp_ns", "infinity"),
    ("'-infinity'::timestamp_ns", "-infinity"),
    ("time '24:00:00'", "24:00:00.000000"),
]


@pytest.mark.parametrize(("value", "text"), STRANGE)
def test_strange_values(tmp_path: Path, value: str, text: str) -> None:
    """Alone, beside null, beside others: in CSV, in a table, and in a Parquet file that DuckDB reads back as it was."""
    query = f"select * from (values ({value}, 1), (null, 2)) as t(v, n)"
    with Sandbox({}) as sandbox:
        answer = b"".join(iter_csv(sandbox.ask(query))).decode()
        assert answer == f'"v","n"\n"{text}",1\n,2\n'
        assert list(iter_rows(sandbox.ask(query))) == [(text, 1), (None, 2)]
        assert len(b"".join(iter_ndjson(sandbox.ask(query))).splitlines()) == 2
        write_parquet(sandbox.ask(query), tmp_path / "x.parquet")
        said = sandbox.ask(f"select ({value})::varchar as v").to_table()["v"].to_pylist()
    with Sandbox({"x": [tmp_path / "x.parquet"]}) as sandbox:
        back = sandbox.ask("select v::varchar as v from x where n = 1").to_table()["v"].to_pylist()
        assert [one.partition(".")[0] for one in back] == [one.partition(".")[0] for one in said]


def test_nested_ones() -> None:
    """In lists, structs and maps they are JSON."""
    query = "select ['infinity'::date, date '2024-01-02'] as a, {'x': 'infinity'::timestamp} as b, map {'k': time '24:00:00'} as c"
    with Sandbox({}) as sandbox:
        (row,) = iter_rows(sandbox.ask(query))
        assert [json.loads(cell) for cell in row] == [["infinity", "2024-01-02"], {"x": "infinity"}, {"k": "24:00:00"}]
        (_, cells) = csv.reader(io.StringIO(b"".join(iter_csv(sandbox.ask(query))).decode()))
        assert tuple(cells) == row


def test_others_stay_what_they_are() -> None:
    """Types and values of a batch, and the buffers themselves."""
    moments = {
        "day": pa.array([date.min, date.max, None]),
        "moment": pa.array([datetime.min, datetime.max, None], pa.timestamp("us")),
        "clock": pa.array([time.min, time.max, None], pa.time64("us")),
        "nano": pa.array([1, 2, None], pa.int64()).cast(pa.timestamp("ns")),
        "text": pa.array(["infinity", None, ""]),
    }
    batch = pa.record_batch(moments)
    for piece in (batch, batch.slice(1), batch.slice(3)):
        assert spell_out(piece).equals(piece) and spell_out(piece).schema == piece.schema
    assert spell_out(batch, for_python=True)["nano"].to_pylist() == [
        "1970-01-01 00:00:00.000000001",
        "1970-01-01 00:00:00.000000002",
        None,
    ]


def test_what_lies_under_a_null_is_no_value() -> None:
    """Its bytes may be anything."""
    stored = pa.py_buffer(pa.array([2**31 - 1, 0], pa.int32()).buffers()[1])
    days = pa.Array.from_buffers(pa.date32(), 2, [pa.py_buffer(b"\x02"), stored])
    assert spell_out(pa.record_batch({"day": days}))["day"].type == pa.date32()


@given(values=st.lists(st.none() | st.integers(-(2**31) + 1, 2**31 - 1), max_size=8), at=st.integers(0, 3))
def test_any_day(values: list[int | None], at: int) -> None:
    """A column of days is text if and only if one of its days has no date in Python; no value is lost."""
    days = pa.array(values, pa.int32()).view(pa.date32()).slice(at)
    (found,) = spell_out(pa.record_batch({"day": days})).columns
    epoch = date(1970, 1, 1).toordinal()
    inside = [value is None or 1 <= value + epoch <= date.max.toordinal() for value in values[at:]]
    assert pa.types.is_date32(found.type) == all(inside)
    assert found.is_null().to_pylist() == days.is_null().to_pylist() and len(set(found.to_pylist())) == len(
        set(values[at:])
    )
