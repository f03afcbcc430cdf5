"""Columns of an answer as JSON, CSV and Parquet take them: a SQL expression for each.

In: a type as DuckDB names it, an expression of that type.  Out: an expression.  Pure text; runs nothing.

JSON has no NaN and no infinity: null.  Times are ISO 8601.  What has no equal is text (INTERVAL) or hex (BLOB).
"""

from __future__ import annotations

from typing import Any

_FLOATS = frozenset({"double", "float"})
_AS_TEXT = frozenset(
    {"interval", "bit", "enum", "uuid", "time with time zone", "variant", "union", "geometry", "tuple", "bignum"}
)
_NESTED = frozenset({"list", "array", "struct", "map"})
_IN_PARQUET_AS_TEXT = frozenset({"interval", "bit", "time with time zone", "variant", "union", "geometry", "null"})
_SECONDS = "timestamp_s"
"""Parquet has none, and milliseconds cannot hold its infinity."""
_MOMENTS = frozenset(
    {"date", "time", "time_ns", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"}
)


def to_json_line(columns: list[tuple[str, Any]]) -> str:
    """One JSON object of all columns, as text.

    Args:
        columns: names and types; the columns are called ``c0``, ``c1`` ... in the query.
    """
    members = (f"{_text(name)}, {to_json_value(f'c{place}', kind)}" for place, (name, kind) in enumerate(columns))
    return f"json_object({', '.join(members)})::varchar"


def to_csv_columns(columns: list[tuple[str, Any]]) -> list[str]:
    """Each column as CSV can hold it: what is nested as JSON."""
    return [_csv(f"c{place}", kind) for place, (_, kind) in enumerate(columns)]


def to_table_columns(columns: list[tuple[str, Any]]) -> list[str]:
    """Each column as Python can hold it; dates and times may be left for ``spell_out``, but for nested ones."""
    return [_table(f"c{place}", kind) for place, (_, kind) in enumerate(columns)]


def to_parquet_columns(columns: list[tuple[str, Any]]) -> list[str]:
    """Each column under its name, in a type that Parquet has."""
    return [f"{_parquet(f'c{place}', kind)} as {_name(name)}" for place, (name, kind) in enumerate(columns)]


def to_json_value(value: str, kind: Any) -> str:
    """A value, such as a column, in a type whose JSON by DuckDB is right."""
    name = kind.id
    if name in _FLOATS:
        return f"case when isfinite({value}) then {value} end"
    if name.startswith("timestamp"):
        return f"replace({value}::varchar, ' ', 'T')"
    if name in _AS_TEXT:
        return f"{value}::varchar"
    if name == "blob":
        return f"hex({value})"
    return _json_nested(value, kind) if name in _NESTED and not _is_plain(kind) else value


def _json_nested(value: str, kind: Any) -> str:
    if kind.id in ("list", "array"):
        inner = to_json_value("x", kind.children[0][1])
        return f"list_transform({value}::{_list_of(kind)}, lambda x: {inner})"
    if kind.id == "struct":
        members = (f"{_text(name)}, {to_json_value(f'{value}[{_text(name)}]', inner)}" for name, inner in kind.children)
        return f"case when {value} is not null then json_object({', '.join(members)}) end"
    return f"{value}::varchar"  # a map of such


def _list_of(kind: Any) -> str:
    return f"{kind.children[0][1]}[]"


def _is_plain(kind: Any) -> bool:
    """Whether DuckDB's own JSON of it is right."""
    if kind.id in _NESTED:
        return all(_is_plain(inner) for name, inner in kind.children if name != "size")
    return kind.id not in _FLOATS | _AS_TEXT | {"blob"} and not kind.id.startswith("timestamp")


def _csv(value: str, kind: Any) -> str:
    if kind.id in _NESTED:
        return f"to_json({to_json_value(value, kind)})::varchar"
    if kind.id in _AS_TEXT | {"hugeint", "uhugeint", "null"}:
        return f"{value}::varchar"
    return f"hex({value})" if kind.id == "blob" else value


def _table(value: str, kind: Any) -> str:
    if kind.id in _NESTED and _holds(kind, _AS_TEXT | _MOMENTS):
        return _csv(value, kind)
    return f"{value}::varchar" if kind.id in _AS_TEXT else value


def _parquet(value: str, kind: Any) -> str:
    if kind.id in _NESTED and _holds(kind, _IN_PARQUET_AS_TEXT | {_SECONDS}):
        return _csv(value, kind)
    if kind.id == _SECONDS:
        return f"{value}::timestamp"
    return f"{value}::varchar" if kind.id in _IN_PARQUET_AS_TEXT else value


def _holds(kind: Any, names: frozenset[str]) -> bool:
    """Whether a type is one of these, or has one in it."""
    inner = (each for name, each in kind.children if name != "size") if kind.id in _NESTED else ()
    return kind.id in names or any(_holds(each, names) for each in inner)


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
