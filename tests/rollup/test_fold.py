"""Records that are folded, against pandas; folding twice against folding once."""

from __future__ import annotations

import random
from datetime import date, datetime, time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dicomflow.rollup import fold

TEXTS = ["a", "b", "", None]
VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "text": (pa.string(), TEXTS),
    "coded": (pa.dictionary(pa.int32(), pa.string()), TEXTS),
    "whole": (pa.int64(), [0, 1, 2**60, None]),
    "real": (pa.float64(), [0.0, 1.5, -3.0, None]),
    "day": (pa.date32(), [date(2020, 1, 31), date(1920, 1, 31), None]),
    "time": (pa.time64("us"), [time(1, 2, 3, 4), time(0), None]),
    "moment": (pa.timestamp("us"), [datetime(2020, 1, 31, 5), datetime(1969, 1, 1), None]),
    "texts": (pa.list_(pa.string()), [["a", "b"], ["a"], ["b", "a"], ["a", None], [], None]),
    "reals": (pa.list_(pa.float64()), [[1.0, 2.0], [1.0, 3.0], [1.0, None], [], None]),
    "pairs": (pa.list_(pa.float64()), [[1.0, 2.0], [1.0, 3.0], [2.0, 2.0]]),
}


def draw(name: str, count: int, *, spread: int) -> pa.Array:
    """Values with long runs where ``spread`` is small."""
    kind, values = VALUES[name]
    chance = random.Random(f"{name} {count} {spread}")
    found = [chance.choice(values[:spread]) if chance.random() < 0.4 else values[0] for _ in range(count)]
    return pa.array(found, kind)


@pytest.mark.parametrize("name", VALUES)
def test_changes(name: str) -> None:
    """A value is another than the one before it exactly where Python says so, also behind the start of a slice."""
    for spread in (1, 2, 6):
        values = draw(name, 300, spread=spread)
        for piece in (values, values.slice(7, 200), values.slice(0, 1), values.slice(5, 0)):
            plain = piece.to_pylist()
            expected = [one != other for one, other in zip(plain[1:], plain, strict=False)]
            assert fold.find_changes(piece).tolist() == expected


def test_a_dictionary_that_holds_a_text_twice() -> None:
    """What a file brings is compared by its texts, not by its numbers."""
    dictionary = pa.array(["a", "b", "a", None])
    values = pa.DictionaryArray.from_arrays(pa.array([0, 2, 1, 3, None, 0], pa.int32()), dictionary)
    assert fold.find_changes(values).tolist() == [False, True, True, False, True]
    assert fold.code_text(values).tolist()[3:5] == [-1, -1]


@pytest.mark.parametrize("name", VALUES)
def test_constant_or_not(name: str) -> None:
    """The flag says whether a run has more than one value, a missing one counted; the value is the first."""
    values, keys = draw(name, 200, spread=6), [number // 3 for number in range(200)]
    records = pa.table({"key": pa.array(keys), name: values})
    found = fold.fold(records, fold.find_starts(records, ["key"]), {"key": fold.keep_first}, [name])
    runs = [values.to_pylist()[start : start + 3] for start in range(0, 200, 3)]
    assert found[name].to_pylist() == [run[0] for run in runs]
    assert found[fold.DIFFERS + name].to_pylist() == [any(value != run[0] for value in run) for run in runs]


RULES = {
    "sum": fold.add_up,
    "low": fold.keep_lowest,
    "high": fold.keep_highest,
    "list": fold.join_lists,
    "uri": fold.keep_prefix,
}


def make_records(count: int) -> pa.Table:
    chance = random.Random(count)
    some = [chance.choice([None, *range(-5, 5)]) for _ in range(count)]
    lists = [[float(number)] * chance.randrange(3) for number in range(count)]
    uris = [f"/a/{chance.choice(['b', 'bc', 'b/c'])}/{number}" for number in range(count)]
    return pa.table(
        {
            "key": pa.array(sorted(chance.choice("abcdefgh") for _ in range(count))),
            "sum": pa.array(some, pa.int64()),
            "low": pa.array(some, pa.float64()),
            "high": pa.array([None if one is None else date(2000, 1, 10 + one) for one in some], pa.date32()),
            "list": pa.array(lists, pa.list_(pa.float64())),
            "uri": pa.array(uris),
            "text": draw("text", count, spread=2),
        }
    )


def fold_by_key(records: pa.Table) -> pa.Table:
    return fold.fold(records, fold.find_starts(records, ["key"]), {"key": fold.keep_first, **RULES}, ["text"])


def test_rules_against_pandas() -> None:
    """Sums, limits, lists and prefixes of each key are those that pandas and Python find."""
    records = make_records(100)
    found = {row["key"]: row for row in fold_by_key(records).to_pylist()}
    frame = records.to_pandas()
    assert list(found) == sorted(frame.key.unique())
    for key, group in frame.groupby("key"):
        row, uris = found[str(key)], group.uri.to_list()
        assert row["sum"] == group["sum"].sum() and row["low"] == group["low"].min()
        assert row["high"] == max(day for day in group["high"] if day is not None)
        assert row["list"] == [number for one in group["list"] for number in one]
        assert all(uri.startswith(row["uri"]) for uri in uris)
        assert len({uri[: len(row["uri"]) + 1] for uri in uris}) > 1 or row["uri"] in uris


@pytest.mark.parametrize("cuts", [[1, 2, 3], [50], [10, 10, 99]])
def test_folding_twice_is_folding_once(cuts: list[int]) -> None:
    """Records of a key may come from any number of parts."""
    records = make_records(100)
    bounds = [0, *cuts, 100]
    pieces = [fold_by_key(records.slice(start, stop - start)) for start, stop in zip(bounds, bounds[1:], strict=False)]
    assert fold_by_key(pa.concat_tables(pieces)).equals(fold_by_key(records))


def test_nothing() -> None:
    """No records are folded to none."""
    found = fold_by_key(make_records(100).slice(0, 0))
    assert found.num_rows == 0 and found.schema.equals(fold_by_key(make_records(100)).schema)
    assert len(fold.find_starts(pa.table({"key": pa.array([], pa.string())}), ["key"])) == 0


def test_no_value_at_all() -> None:
    """What is missing everywhere is missing, and is no difference."""
    records = pa.table({"key": ["a", "a"], "low": pa.nulls(2, pa.float64()), "text": pa.nulls(2, pa.string())})
    found = fold.fold(records, np.array([0]), {"low": fold.keep_lowest}, ["text"])
    assert found.to_pylist() == [{"low": None, "text": None, "differs:text": False}]
