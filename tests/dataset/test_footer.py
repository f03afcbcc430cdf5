"""Walking footers, compiled and as plain Python: the same answers, whatever the bytes are."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomflow.dataset import footer as installed

_REFUSED = (ValueError, IndexError, OverflowError)


def _as_python() -> ModuleType:
    """The module as it is where there is no compiler."""
    source = Path(installed.__file__).with_name("footer.py")
    spec = importlib.util.spec_from_file_location("footer_as_python", source)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.__file__ == str(source)
    return module


PLAIN = _as_python()
FORMS = pytest.mark.parametrize("footer", [installed, PLAIN], ids=["installed", "plain"])


def make_footer(folder: Path, columns: int, rows: int) -> tuple[bytes, pq.FileMetaData]:
    """Row groups of ten rows, the key ``K``, and so many other columns, the last a list."""
    table = pa.table({"K": [f"{row}" for row in range(rows)], **{f"C{c}": [c] * rows for c in range(columns)}})
    table = table.append_column("L", pa.array([[1.5, None]] * rows, pa.list_(pa.float64())))
    path = folder / "part.parquet"
    bloom = {"K": {"ndv": 10, "fpp": 0.01}}
    pq.write_table(table, path, row_group_size=10, write_page_index=True, bloom_filter_options=bloom)
    data = path.read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    return data[-8 - length : -8], pq.read_metadata(path)


@FORMS
@pytest.mark.parametrize("columns", [0, 3, 40])  # a list of 15 and more has its size in full
@pytest.mark.parametrize("rows", [1, 10, 25, 200])
def test_true_footer(footer: Any, tmp_path: Path, columns: int, rows: int) -> None:
    """Row groups and the key's column chunks, as Arrow counts them."""
    data, about = make_footer(tmp_path, columns, rows)
    groups, at = footer.count_row_groups(data, footer.end_of_schema(data))
    assert groups == about.num_row_groups
    found = footer.find_keys(data, "K", at, groups)
    for group, place in enumerate(found):
        bloom, end = footer.find_i64(data, place, 3, 14)
        pages, _ = footer.find_i64(data, end, 3, 4)
        assert bloom and pages and bloom < pages, "filters are written before page indexes"
        assert data.index(b"\x19\x18\x01K", 0 if group == 0 else found[group - 1]) + 4 == place


@FORMS
def test_key_among_the_values(footer: Any) -> None:
    """A text that stands there without being a path is passed over; one that looks like a path too often is refused."""
    path = b"\x19\x18\x01K"
    assert footer.find_keys(b"..\x01K.." + path + b"..\x01K", "K", 0, 1) == [10]
    with pytest.raises(ValueError, match="key column"):
        footer.find_keys(path + path, "K", 0, 1)


@FORMS
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x00", 0),  # the end of a struct is no value
        (b"\x00" * 8, 7),  # a double
        (b"\x00", 11),  # a map
        (b"\x10\x00", 12),  # a struct with a field of no type
        (b"\x10", 9),  # a list of one thing of no type
        (b"\xff" * 11, 8),  # a number of more than ten bytes
        (b"\x80", 5),  # a number that does not end
        (b"\xf5\xff\xff\xff\xff\x0f" + b"\x01" * 50, 9),  # a list of more numbers than there are bytes
        (b"\x1c" * 200, 12),  # too deep
    ],
)
def test_not_of_a_footer(footer: Any, data: bytes, kind: int) -> None:
    """Refused, and soon."""
    with pytest.raises(_REFUSED):
        footer.skip(data, 0, kind, 0)


def _answer(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except _REFUSED:
        return "refused"


@given(data=st.binary(max_size=64), kind=st.integers(0, 15), field=st.integers(0, 20))
def test_any_bytes(data: bytes, kind: int, field: int) -> None:
    """Both forms agree, to where a value ends."""
    for name, arguments in [
        ("skip", (data, 0, kind, 0)),
        ("find_i64", (data, 0, 3, field)),
        ("read_varint", (data, 0)),
        ("read_list", (data, 0)),
        ("end_of_schema", (data,)),
        ("count_row_groups", (data, 0)),
    ]:
        expected = _answer(getattr(PLAIN, name), *arguments)
        found = _answer(getattr(installed, name), *arguments)
        if (
            expected != found
        ):  # a place past 2**63 is out of range where it is compiled: refused at once, not at the next step
            assert found == "refused" and name == "skip" and expected > 1 << 62, name
