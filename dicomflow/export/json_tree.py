"""Which columns make up which sequence of a data set.

In: a schema with ``dicom.paths``.  Out: a tree: tag -> the column, or a sequence of items that hold such trees.  Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from dicomflow.errors import ConfigError
from dicomflow.schema.column import ALL_ITEMS, Step, parse_path

MAX_ITEM = 255
"""A column of a later item is left out of JSON: the items before it would all have to be there."""

UTF8 = "ISO_IR 192"
"""What JSON is in, whatever the file was in; the defined term of SpecificCharacterSet."""

_FILE_META = 0x0002
_CHARSET = 0x00080005
_SYNTAX = "00020010"
_AVAILABLE_SYNTAX = "00083002"


@dataclass(frozen=True, slots=True)
class Leaf:
    """The column of an element; ``constant`` takes the place of its values."""

    name: str
    vr: str
    constant: str | None = None


@dataclass(slots=True)
class Sequence:
    """Items by their place (``ALL_ITEMS`` for each of a list), and the column that holds all of the sequence."""

    items: dict[int, Node] = field(default_factory=dict)
    whole: Leaf | None = None

    @property
    def has_each(self) -> bool:
        """Whether a column has a value for each item."""
        return ALL_ITEMS in self.items


Node = dict[str, Leaf | Sequence]
"""Tag, as JSON has it -> what stands there."""


def make_tree(schema: pa.Schema) -> Node:
    """The tree of all columns that come out in JSON."""
    tree: Node = {}
    for column in schema:
        metadata = column.metadata or {}
        try:
            path = parse_path(metadata[b"dicom.paths"].decode().split("\n")[0])
            vr = metadata[b"dicom.vr"].decode()
        except (KeyError, UnicodeDecodeError, ConfigError):
            continue
        if not any(step.creator for step in path) and not any((step.item or 0) > MAX_ITEM for step in path):
            _add(tree, path, column.name, vr)
    return tree


def _add(node: Node, path: tuple[Step, ...], name: str, vr: str) -> None:
    tag = _format(path[-1].tag)
    if path[0].tag >> 16 == _FILE_META:
        if tag != _SYNTAX:
            return
        tag = _AVAILABLE_SYNTAX
    for step in path[:-1]:
        child = node.setdefault(_format(step.tag), Sequence())
        if not isinstance(child, Sequence):
            return
        node = child.items.setdefault(step.item or 0, {})
    leaf = Leaf(name, vr, UTF8 if path[-1].tag == _CHARSET else None)
    if vr == "SQ":
        whole = node.setdefault(tag, Sequence())
        if isinstance(whole, Sequence):
            whole.whole = whole.whole or leaf
    else:
        node.setdefault(tag, leaf)


def _format(tag: int) -> str:
    return f"{tag:08X}"
