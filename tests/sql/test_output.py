"""Every format says the same as Arrow, exactly, for every type that a query may give."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.errors import DatasetError
from dicomflow.sql.output import FORMATS, iter_csv, iter_json, iter_ndjson, write_parquet
from dicomflow.sql.sandbox import Answer, Sandbox

TYPES = """
    select 1 as a, -9007199254740993::bigint as b, 2.50::decimal(5, 2) as c, 0.1::double as d, true as e, null as f,
        'x"\\,\n\u202e' as text, '' as nothing, date '2024-02-29' as day, time '12:00:00.5' as clock,
        timestamp '2024-02-29 10:11:12.000345' as moment, [1.5::double, 'nan', null, 'inf'] as floats, ['a', null, ','] as texts,
        []::int[] as none, {'path': 'Rows', 'raw': null, 'when': timestamp '2024-01-02 03:04:05'} as struct,
        [{'path': 'a', 'code': 'b'}] as issues, 'nan'::double as nan, '-inf'::float as inf, 'ab'::blob as bytes,
        interval 1 day as span, map {'k': 1} as map, sum(5::bigint) as total, 'a'::enum('a', 'b') as enum, '{"j": 1}'::json as json,
        [1, 2]::int[2] as pair, uuid() is not null as uuid, 1e300 as big, 18446744073709551615::ubigint as most
"""

PLAIN = {
    "a": 1,
    "b": -9007199254740993,
    "c": 2.5,
    "d": 0.1,
    "e": True,
    "f": None,
    "text": 'x"\\,\n\u202e',
    "nothing": "",
    "day": "2024-02-29",
    "clock": "12:00:00.5",
    "moment": "2024-02-29T10:11:12.000345",
    "floats": [1.5, None, None, None],
    "texts": ["a", None, ","],
    "none": [],
    "struct": {"path": "Rows", "raw": None, "when": "2024-01-02T03:04:05"},
    "issues": [{"path": "a", "code": "b"}],
    "nan": None,
    "inf": None,
    "bytes": "6162",
    "span": "1 day",
    "map": {"k": 1},
    "total": 5,
    "enum": "a",
    "json": {"j": 1},
    "pair": [1, 2],
    "uuid": True,
    "big": 1e300,
    "most": 18446744073709551615,
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox({}) as opened:
        yield opened


def read(chunks: Iterator[bytes]) -> str:
    return b"".join(chunks).decode()


def test_json(sandbox: Sandbox) -> None:
    """Numbers are numbers, times ISO 8601, what JSON has not is null or text."""
    (row,) = json.loads(read(iter_json(sandbox.ask(TYPES))), parse_constant=pytest.fail)
    assert row == PLAIN and list(row) == list(PLAIN)
    assert datetime.fromisoformat(row["moment"]) == datetime(2024, 2, 29, 10, 11, 12, 345)
    assert json.loads(read(iter_ndjson(sandbox.ask(TYPES)))) == PLAIN


def test_csv(sandbox: Sandbox) -> None:
    """Text is quoted and null is not; what is nested is JSON."""
    text = read(iter_csv(sandbox.ask(TYPES)))
    names, row = csv.reader(io.StringIO(text, newline=""))
    found = dict(zip(names, row, strict=True))
    assert found["text"] == PLAIN["text"] and found["b"] == "-9007199254740993" and found["total"] == "5"
    assert json.loads(found["floats"]) == PLAIN["floats"] and json.loads(found["issues"]) == PLAIN["issues"]
    assert datetime.fromisoformat(found["moment"]) == datetime(2024, 2, 29, 10, 11, 12, 345)
    assert found["day"] == "2024-02-29" and time.fromisoformat(found["clock"]) == time(12, 0, 0, 500_000)
    assert ',"",' in text and text.splitlines()[0].startswith('"a","b"')  # empty text, and not null


def test_parquet(sandbox: Sandbox, tmp_path: Path) -> None:
    """Types stay; those that Parquet has not are text."""
    write_parquet(sandbox.ask(TYPES), tmp_path / "x.parquet")
    (row,) = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert list(row) == list(PLAIN)
    assert (row["day"], row["moment"]) == (date(2024, 2, 29), datetime(2024, 2, 29, 10, 11, 12, 345))
    assert row["c"] == Decimal("2.50") and row["span"] == "1 day" and row["bytes"] == b"ab" and math.isnan(row["nan"])
    assert row["floats"][0] == 1.5 and math.isnan(row["floats"][1]) and row["floats"][2:] == [None, math.inf]


def test_no_rows(sandbox: Sandbox, tmp_path: Path) -> None:
    """The names are there all the same."""
    query = f"select * from ({TYPES}) where false"
    assert read(iter_csv(sandbox.ask(query))).count("\n") == 1
    assert json.loads(read(iter_json(sandbox.ask(query)))) == [] and read(iter_ndjson(sandbox.ask(query))) == ""
    write_parquet(sandbox.ask(query), tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.num_rows == 0 and table.column_names == list(PLAIN)


@pytest.mark.parametrize("limit", [0, 1, 4095, 4096, 5000, 20_000, 99_999])
def test_limit(sandbox: Sandbox, tmp_path: Path, limit: int) -> None:
    """So many rows, the first ones, in each format."""
    query = "select i from range(20_000) t(i)"
    expected = list(range(min(limit, 20_000)))
    assert [row["i"] for row in json.loads(read(iter_json(sandbox.ask(query), limit)))] == expected
    assert [json.loads(line)["i"] for line in read(iter_ndjson(sandbox.ask(query), limit)).splitlines()] == expected
    assert list(map(int, read(iter_csv(sandbox.ask(query), limit)).split()[1:])) == expected
    write_parquet(sandbox.ask(query), tmp_path / "x.parquet", limit)
    assert pq.read_table(tmp_path / "x.parquet")["i"].to_pylist() == expected


def test_names(sandbox: Sandbox, tmp_path: Path) -> None:
    """Names with quotes and spaces come through; one name for two columns is refused where it would be ambiguous."""
    query = """select 1 as "it's", 2 as "a ""b", 3 as "A ""B", 4 as "c,d" """
    names = ["it's", 'a "b', 'A "B', "c,d"]
    assert json.loads(read(iter_ndjson(sandbox.ask(query)))) == dict(zip(names, range(1, 5), strict=True))
    assert next(csv.reader(io.StringIO(read(iter_csv(sandbox.ask(query)))))) == names
    twice: list[Callable[[Answer], object]] = [
        lambda answer: read(iter_json(answer)),
        lambda answer: read(iter_ndjson(answer)),
        lambda answer: write_parquet(answer, tmp_path / "x.parquet"),
    ]
    for write in twice:
        with pytest.raises(DatasetError, match="two columns are called 'a'"):
            write(sandbox.ask("select 1 as a, 2 as a"))
    assert read(iter_csv(sandbox.ask("select 1 as a, 2 as a"))) == '"a","a"\n1,2\n'


def test_errors_come_through(sandbox: Sandbox) -> None:
    """Those on the way, too."""
    for make in FORMATS.values():
        with pytest.raises(DatasetError):
            read(
                make(
                    sandbox.ask("select case when i > 50_000 then error('x') else i end as n from range(60_000) t(i)"),
                    None,
                )
            )


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
            "number": st.none() | st.floats(),
            "numbers": st.none() | st.lists(st.none() | st.floats(allow_nan=False), max_size=3),
            "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
            "moment": st.none() | st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)),
            "issues": st.none()
            | st.lists(st.fixed_dictionaries({"path": st.text("a\"',\n\\ü", max_size=5)}), max_size=2),
        }
    ),
    min_size=1,
    max_size=8,
)

SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "number": pa.float64(),
        "numbers": pa.list_(pa.float64()),
        "whole": pa.int64(),
        "moment": pa.timestamp("us"),
        "issues": pa.list_(pa.struct({"path": pa.string()})),
    }
)


@settings(max_examples=30, deadline=None)
@given(rows=ROWS)
def test_any_values(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the data is, JSON and Parquet give it back."""
    part = tmp_path_factory.mktemp("any") / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), part)
    with Sandbox({"t": [part]}) as sandbox:
        found = json.loads(read(iter_json(sandbox.ask("from t"))), parse_constant=pytest.fail)
        assert found == [_to_json(row) for row in rows]
        copy = part.with_name("copy.parquet")
        write_parquet(sandbox.ask("from t"), copy)
    assert str(pq.read_table(copy).to_pylist()) == str(pq.read_table(part).to_pylist())


def _to_json(row: dict[str, Any]) -> dict[str, Any]:
    plain = {name: _finite(value) for name, value in row.items()}
    return {**plain, "moment": row["moment"] and _iso(row["moment"])}


def _iso(moment: datetime) -> str:
    text = moment.isoformat()
    return text.rstrip("0") if moment.microsecond else text


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@pytest.mark.parametrize(
    "value", ["row('nan'::double, 2)", "12::bignum", "[12::bignum]", "[interval 1 day]", "{'a': [interval 1 day]}"]
)
def test_rare_types(tmp_path: Path, value: str) -> None:
    """Each comes out in each format."""
    with Sandbox({}) as sandbox:
        query = f"select {value} as v"
        (line,) = b"".join(iter_ndjson(sandbox.ask(query))).splitlines()
        assert list(json.loads(line, parse_constant=lambda name: pytest.fail(name))) == ["v"]
        assert b"".join(iter_csv(sandbox.ask(query))).startswith(b'"v"\n"')
        write_parquet(sandbox.ask(query), tmp_path / "x.parquet")
        assert pq.read_table(tmp_path / "x.parquet").num_rows == 1
