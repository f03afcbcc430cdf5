"""The wanted paths as a trie: which tags matter inside a data set, and which items of which sequences are entered.

In: paths of columns.  Out: nodes and entries, linked.  Knows the dictionary's VRs; not how the scanner's tables look.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dicomflow.dictionary import entry_for_tag, vr_for_tag
from dicomflow.schema.column import ALL_ITEMS, Step

AMBIGUOUS = "US or SS"
"""The VR of an entry where PixelRepresentation decides (PS3.5 A.1)."""


@dataclass(slots=True)
class Entry:
    """One wanted tag inside a data set: a leaf, a list leaf, a sequence to enter, or all of these.

    Attributes:
        vr: of bytes that come without one.
        items: the items that are entered; ``ALL_ITEMS`` for ``[*]``.
        is_leaf: a path without ``[*]`` ends here; ``leaf`` is its number.
        leaf_lo, leaf_hi: the leaves below.
        own_lists: the list leaves that end here: several where lists of an outer and of an inner sequence meet.
        lists: those below.
    """

    vr: str
    items: dict[int, Node] = field(default_factory=dict)
    is_leaf: bool = False
    leaf: int = -1
    leaf_lo: int = 0
    leaf_hi: int = 0
    own_lists: list[int] = field(default_factory=list)
    lists: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Node:
    """The wanted tags of one data set, keyed by tag and private creator."""

    entries: dict[tuple[int, str], Entry] = field(default_factory=dict)


class Lists:
    """The list leaves, in the order of the columns."""

    def __init__(self) -> None:
        self.levels: list[int] = []
        self.entries: list[Entry] = []

    def add(self, entry: Entry, level: int) -> int:
        """Number this entry's list leaf; ``level`` is that of the data set that holds the sequence."""
        if not entry.own_lists:
            entry.own_lists.append(len(self.levels))
            self.levels.append(level)
            self.entries.append(entry)
        return entry.own_lists[0]


def level_of_all_items(path: tuple[Step, ...]) -> int:
    """Which step of the path is ``[*]``, counted from 1; 0 for none."""
    return next((place for place, step in enumerate(path, 1) if step.item == ALL_ITEMS), 0)


def add_path(root: Node, path: tuple[Step, ...], vr: str) -> Entry:
    """The entry of a path's last step, made where it is missing."""
    node = root
    for step in path[:-1]:
        entry = node.entries.setdefault((step.tag, step.creator or ""), Entry("SQ"))
        node = entry.items.setdefault(step.item or 0, Node())
    last = path[-1]
    return node.entries.setdefault((last.tag, last.creator or ""), Entry(vr if last.creator else _vr(last.tag, vr)))


def _vr(tag: int, column_vr: str) -> str:
    """The VR of bytes that come without one: the column's where the dictionary leaves a choice or knows nothing."""
    entry = entry_for_tag(tag)
    if entry is not None and column_vr in ("US", "SS") and {"US", "SS"} <= set(entry.vrs):
        return AMBIGUOUS
    return column_vr if entry is None or column_vr in entry.vrs else vr_for_tag(tag)


def merge_all_items(node: Node) -> None:
    """What all items are asked for, items that are named are asked for as well."""
    for entry in node.entries.values():
        every = entry.items.get(ALL_ITEMS)
        for item, inner in entry.items.items():
            if every is not None and item != ALL_ITEMS:
                _merge(every, inner)
        for inner in entry.items.values():
            merge_all_items(inner)


def _merge(source: Node, target: Node) -> None:
    for key, entry in source.entries.items():
        merged = target.entries.setdefault(key, Entry(entry.vr))
        merged.own_lists.extend(number for number in entry.own_lists if number not in merged.own_lists)
        for item, inner in entry.items.items():
            _merge(inner, merged.items.setdefault(item, Node()))


def number_leaves(node: Node, leaves: list[Entry]) -> None:
    """Number the leaves in the order of the trie, so that those below an entry are a range; append them to ``leaves``."""
    for key in sorted(node.entries):
        entry = node.entries[key]
        if entry.is_leaf:
            entry.leaf = len(leaves)
            leaves.append(entry)
        entry.leaf_lo = len(leaves)
        for item in sorted(entry.items):
            number_leaves(entry.items[item], leaves)
        entry.leaf_hi = len(leaves)


def gather_lists(node: Node) -> set[int]:
    """Note at each entry which list leaves are below it; those of the node."""
    below: set[int] = set()
    for entry in node.entries.values():
        for inner in entry.items.values():
            entry.lists |= gather_lists(inner)
        below |= entry.lists | set(entry.own_lists)
    return below
