"""Rows as objects of the DICOM JSON Model (PS3.18 annex F), column by column.

In: RecordBatches of ``instances``, by the ``dicom.paths`` of the columns.  Out: the text of one object for each row.
Knows no rules; ``json_values`` writes values, ``json_tree`` says which columns make up which sequence.

A column comes out where its first path says, as element of the data set or of an item of a sequence; of two columns with the
same first path the first does.  Items that no column reaches are empty; ``[*]`` gives an item for each place of the list.  A
null is left out: the dataset does not say whether the element was there.  Left out, too, are private elements (a tag in JSON
needs the block that they had in their file), group 0002 but for TransferSyntaxUID, which becomes AvailableTransferSyntaxUID
(PS3.18 F.2 has no file meta information), and the columns that say where a row came from.  SpecificCharacterSet says what
JSON is in: UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.export.json_tree import Leaf, Sequence, make_tree
from dicomflow.export.json_values import each_item, fragment_texts, wrap

_LINES = 4096
_BYTES = 32 * 1024 * 1024


class JsonModel:
    """Writes rows of one schema.

    Args:
        schema: with the metadata of ``instances``.
        constants: elements that each object has, by tag; they take the place of columns.
        empty: names of columns that were emptied: elements without a value.
    """

    def __init__(
        self, schema: pa.Schema, constants: Mapping[str, str] | None = None, empty: frozenset[str] = frozenset()
    ) -> None:
        self._constants = dict(constants or {})
        self._tree = make_tree(schema)
        self._empty = empty

    def rows(self, batch: pa.RecordBatch) -> pa.StringArray:
        """The text of an object for each row."""
        members = self._members(self._tree, batch)
        members |= {tag: pa.scalar(f'"{tag}":{text}') for tag, text in self._constants.items()}
        return _join_members(members, batch.num_rows)

    def _members(self, node: Mapping[str, Leaf | Sequence], batch: pa.RecordBatch) -> dict[str, pa.Array | pa.Scalar]:
        return {tag: self._member(tag, child, batch) for tag, child in node.items()}

    def _member(self, tag: str, child: Leaf | Sequence, batch: pa.RecordBatch) -> pa.Array | pa.Scalar:
        if isinstance(child, Sequence):
            return self._sequence(tag, child, batch)
        if child.name in self._empty:
            return pa.scalar(f'"{tag}":{{"vr":"{child.vr}"}}')
        column = batch.column(child.name)
        if child.constant is not None:
            column = pc.if_else(column.is_valid(), pa.scalar(child.constant), pa.scalar(None, pa.string()))
        return fragment_texts(f'"{tag}":', child.vr, column)

    def _sequence(self, tag: str, sequence: Sequence, batch: pa.RecordBatch) -> pa.Array:
        """The sequence, null where none of its columns has a value; the column of the whole sequence comes first."""
        head = f'"{tag}":{{"vr":"SQ","Value":['
        texts = pa.nulls(batch.num_rows, pa.string())
        if sequence.has_each:
            texts = wrap(head, each_item(sequence, batch), "]}")
        elif sequence.items:
            texts = self._fixed_items(head, sequence, batch)
        if sequence.whole is None:
            return texts
        return pc.coalesce(fragment_texts(f'"{tag}":', "SQ", batch.column(sequence.whole.name)), texts)

    def _fixed_items(self, head: str, sequence: Sequence, batch: pa.RecordBatch) -> pa.Array:
        """Items up to the last that has a value; those without are empty."""
        texts = pa.nulls(batch.num_rows, pa.string())
        for place in range(max(sequence.items), -1, -1):
            members = self._members(sequence.items.get(place, {}), batch)
            columns = {tag: member for tag, member in members.items() if isinstance(member, pa.Array)}
            item = _join_members(columns, batch.num_rows)
            nothing = pc.and_(texts.is_null(), pc.equal(item, "{}"))
            following = pc.coalesce(wrap(",", texts, ""), pa.scalar(""))
            joined = pc.binary_join_element_wise(item, following, "")
            texts = pc.if_else(nothing, pa.scalar(None, pa.string()), joined)
        return wrap(head, texts, "]}")


def _join_members(members: Mapping[str, pa.Array | pa.Scalar], rows: int) -> pa.StringArray:
    """The text of a data set for each row, tags ascending.

    Each member brings its comma, the last one loses it: where Arrow is told to skip nulls in a join, it leaves out rows in
    which all are null (26.0).
    """
    if not members:
        return pa.repeat(pa.scalar("{}"), rows)
    parts = [wrap("", member, ",") for _, member in sorted(members.items())]
    parts.append(pa.repeat(pa.scalar(""), rows))
    joined = pc.binary_join_element_wise(*parts, "", null_handling="replace", null_replacement="")
    return wrap("{", pc.ascii_rtrim(joined, ","), "}")


def write_ndjson(batches: Iterable[pa.RecordBatch], model: JsonModel, sink: BinaryIO) -> int:
    """An object a line; how many."""
    rows = 0
    for text, count in _texts(batches, model, "\n"):
        sink.write(text)
        sink.write(b"\n")
        rows += count
    return rows


def write_json(batches: Iterable[pa.RecordBatch], model: JsonModel, sink: BinaryIO) -> int:
    """One array of objects, an object a line; how many."""
    rows = 0
    sink.write(b"[")
    for text, count in _texts(batches, model, ",\n"):
        sink.write(b",\n" if rows else b"\n")
        sink.write(text)
        rows += count
    sink.write(b"\n]\n" if rows else b"]\n")
    return rows


def _texts(batches: Iterable[pa.RecordBatch], model: JsonModel, separator: str) -> Iterator[tuple[memoryview, int]]:
    """Objects of a few thousand rows at a time, joined; fewer where rows are long: one text has at most 2 GB."""
    for batch in batches:
        lines = max(1, min(_LINES, _BYTES * batch.num_rows // max(1, batch.nbytes)))
        for start in range(0, batch.num_rows, lines):
            objects = model.rows(batch.slice(start, lines))
            joined = pc.binary_join(pa.ListArray.from_arrays([0, len(objects)], objects), separator)
            yield memoryview(joined[0].as_buffer()), len(objects)
