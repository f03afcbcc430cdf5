"""Values of columns as they stand in the DICOM JSON Model (PS3.18 F.2).

In: Arrow columns, the VR.  Out: text for each row.  Each distinct value is written once; numbers all at once.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.deidentify.values import decode, encode, is_nested, rebuild_list
from dicomflow.export.json_tree import Leaf, Node, Sequence
from dicomflow.header.dicom_json import load_items, write_value
from dicomflow.schema.column import ALL_ITEMS

_NO_ESCAPES = r"^[ !#-\[\]-~]*$"
"""ASCII that JSON writes as it is."""

_BARE = re.compile(r"[\[,:]\s*(?:NaN|-?Infinity)")
"""A number that JSON has not, or text that looks like one."""


def fragment_texts(head: str, vr: str, column: pa.Array) -> pa.Array:
    """``head{"vr":...,"Value":[...]}`` for each row; null where the column is."""
    if vr == "SQ" and not is_nested(column.type):
        return wrap(f'{head}{{"vr":"SQ","Value":', _check_items(column), "}")
    values = _list_texts(column, vr) if is_nested(column.type) else _item_texts(column, vr)
    return wrap(f'{head}{{"vr":"{vr}","Value":[', values, "]}")


def wrap(before: str, texts: pa.Array, after: str) -> pa.Array:
    """Each text between two others; null stays null."""
    return pc.binary_join_element_wise(before, texts, after, "")


def _list_texts(column: pa.ListArray, vr: str) -> pa.Array:
    """Items joined by commas; null for a list without any value."""
    column = _unnest(column)
    items = _item_texts(column.flatten(), vr)
    present = rebuild_list(column, pc.fill_null(items, "null"))
    some = pa.array(_has_value(column, items), pa.bool_())
    return pc.if_else(some, pc.binary_join(present, ","), pa.scalar(None, pa.string()))


def _has_value(column: pa.ListArray, items: pa.Array) -> Any:
    counts = pc.list_value_length(rebuild_list(column, items)).fill_null(0).to_numpy(zero_copy_only=False)
    if not items.null_count:
        return counts > 0
    valid = items.is_valid().to_numpy(zero_copy_only=False).astype("int64")
    ends = counts.cumsum()
    sums = [0, *valid.cumsum().tolist()]
    return [sums[end] > sums[end - count] for end, count in zip(ends.tolist(), counts.tolist(), strict=True)]


def _unnest(column: pa.ListArray) -> pa.ListArray:
    """A list of lists cannot stand in one element: only ``each_item`` writes these."""
    return pa.nulls(len(column), pa.list_(pa.string())) if is_nested(column.type.value_type) else column


def _item_texts(column: pa.Array, vr: str) -> pa.Array:
    """The text of one value for each place; null where there is none."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_integer(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind):
        return _float_texts(column.cast(pa.float64()), vr)
    encoded = encode(column)
    texts = _text_texts(encoded.dictionary) if _is_plain(kind, vr) else None
    if texts is None:
        texts = pa.array([_dump(vr, value) for value in encoded.dictionary.to_pylist()], pa.string())
    return texts.take(encoded.indices)


def _is_plain(kind: pa.DataType, vr: str) -> bool:
    return bool(pa.types.is_string(kind)) and vr != "PN"


def _text_texts(values: pa.Array) -> pa.Array | None:
    """Quoted, where no character needs an escape."""
    plain = pc.all(pc.match_substring_regex(values, _NO_ESCAPES)).as_py()
    return wrap('"', values, '"') if plain else None


def _float_texts(values: pa.Array, vr: str) -> pa.Array:
    if pc.all(pc.is_finite(values)).as_py() is False:
        return pa.array([None if value is None else _dump(vr, value) for value in values.to_pylist()], pa.string())
    return values.cast(pa.string())


def _dump(vr: str, value: Any) -> str | None:
    if value is None:
        return None
    written = to_json(vr, value)
    return None if written is None else json.dumps(written, ensure_ascii=False, allow_nan=False)


def to_json(vr: str, value: Any) -> object:
    """One value of a column as JSON has it.

    >>> to_json("DA", dt.date(2026, 1, 31)), to_json("TM", dt.time(9, 5, 0, 500_000)), to_json("PN", "Doe^Jo")
    ('20260131', '090500.500000', {'Alphabetic': 'Doe^Jo'})
    """
    if isinstance(value, dt.date | dt.time):
        return "".join(_date_texts(value))
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return write_value(vr, value)


def _date_texts(value: dt.date | dt.time) -> tuple[str, ...]:
    date = f"{value.year:04d}{value.month:02d}{value.day:02d}" if isinstance(value, dt.date) else ""
    if not isinstance(value, dt.datetime | dt.time):
        return (date,)
    return (
        date,
        f"{value.hour:02d}{value.minute:02d}{value.second:02d}",
        f".{value.microsecond:06d}" * bool(value.microsecond),
    )


# ---- sequences -------------------------------------------------------------------------------------------------------


def _check_items(column: pa.Array) -> pa.Array:
    """Items that a dataset holds as JSON; what is no array of objects is left out."""
    encoded = encode(column)
    return pa.array([_check_text(text) for text in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


def _check_text(text: str | None) -> str | None:
    items = _read_items(text)
    if items is None or text is None:
        return None
    if not _BARE.search(text):
        return text
    return json.dumps(items, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _read_items(text: str | None) -> list[Any] | None:
    try:
        items = None if text is None else load_items(text)
    except (ValueError, RecursionError):
        return None
    return items if isinstance(items, list) and all(isinstance(item, dict) for item in items) and items else None


def each_item(sequence: Sequence, batch: pa.RecordBatch) -> pa.Array:
    """The items of a sequence that has columns with a value for each, row by row; null where none has one."""
    names = {leaf.name for node in sequence.items.values() for leaf in _leaves(node)}
    columns = {name: decode(batch.column(name)).to_pylist() for name in names}
    return pa.array([_dump_items(sequence, columns, row) for row in range(batch.num_rows)], pa.string())


def _leaves(node: Node) -> list[Leaf]:
    found: list[Leaf] = []
    for child in node.values():
        if isinstance(child, Leaf):
            found.append(child)
        else:
            found += [leaf for inner in child.items.values() for leaf in _leaves(inner)]
            found += [child.whole] if child.whole else []
    return found


def _dump_items(sequence: Sequence, columns: dict[str, list[Any]], row: int) -> str | None:
    each = sequence.items.get(ALL_ITEMS, {})
    values = {leaf.name: columns[leaf.name][row] or [] for leaf in _leaves(each)}
    fixed = {place: node for place, node in sequence.items.items() if place != ALL_ITEMS}
    items = [
        _make_item(each, {name: found[place] if place < len(found) else None for name, found in values.items()})
        for place in range(max(map(len, values.values()), default=0))
    ]
    for place, node in sorted(fixed.items()):
        made = _make_item(node, {leaf.name: columns[leaf.name][row] for leaf in _leaves(node)})
        if made:
            items += [{} for _ in range(place + 1 - len(items))]
            items[place] = {**made, **items[place]}
    if not any(items):
        return None
    ordered = [dict(sorted(item.items())) for item in items]
    return json.dumps(ordered, ensure_ascii=False, allow_nan=False, separators=(",", ":"))[1:-1]


def _make_item(node: Node, values: dict[str, Any]) -> dict[str, Any]:
    """The data set of one item."""
    made = ((tag, _make_element(child, values)) for tag, child in sorted(node.items()))
    return {tag: element for tag, element in made if element is not None}


def _make_element(child: Leaf | Sequence, values: dict[str, Any]) -> dict[str, Any] | None:
    if isinstance(child, Sequence):
        return _make_sequence(child, values)
    value = values[child.name]
    if value is not None and child.constant is not None:
        value = child.constant
    written = [
        None if one is None else to_json(child.vr, one) for one in (value if isinstance(value, list) else [value])
    ]
    return None if all(one is None for one in written) else {"vr": child.vr, "Value": written}


def _make_sequence(sequence: Sequence, values: dict[str, Any]) -> dict[str, Any] | None:
    if sequence.whole is not None and (items := _read_items(values[sequence.whole.name])):
        return {"vr": "SQ", "Value": items}
    items = [_make_item(sequence.items.get(place, {}), values) for place in range(max(sequence.items, default=-1) + 1)]
    return {"vr": "SQ", "Value": items} if any(items) else None
