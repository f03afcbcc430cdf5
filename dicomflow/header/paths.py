"""Compile column paths into the tables that the scanner walks.

In: Columns.  Out: ``ScanTables`` (a trie as flat arrays) and ``Hits`` (where a scan notes what it found).
Pure: knows no bytes of any file.

A *leaf* is one path's last step.  Leaves are numbered in the order of the trie, so that all leaves below one sequence are a
range, and a column lists the leaves of its paths in the order of preference.  The last step of a path with ``[*]`` is a *list
leaf*: it has a value in each item of one sequence.  What is wanted of all items is wanted of an item that other paths name,
too, so its node is merged into theirs: each item has one node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dicomflow.dictionary import elements_of_group
from dicomflow.header.trie import (
    AMBIGUOUS,
    Entry,
    Lists,
    Node,
    add_path,
    gather_lists,
    level_of_all_items,
    merge_all_items,
    number_leaves,
)
from dicomflow.header.vr import FRAGMENTED_VRS, KNOWN_VRS, LONG_VRS, tabulate_bits
from dicomflow.schema.column import ALL_ITEMS, MAX_PATH_STEPS, Column

MAX_SCOPES = 16384
"""Data sets of one header that can have a SpecificCharacterSet or PixelRepresentation of their own."""

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ScanTables:
    """The trie of wanted paths as flat arrays; see ``header.scan.Scanner`` for how they are walked."""

    node_lo: Ints
    node_hi: Ints
    entry_tag: npt.NDArray[np.uint32]
    entry_vr: Ints  # 0: US or SS, as PixelRepresentation says
    entry_leaf: Ints
    entry_own_lo: Ints  # its list leaves: more than one where lists of an outer and of an inner sequence meet
    entry_own_hi: Ints
    entry_child_lo: Ints
    entry_child_hi: Ints
    entry_leaf_lo: Ints
    entry_leaf_hi: Ints
    entry_list_lo: Ints
    entry_list_hi: Ints
    child_item: Ints  # -1 for all items that are not named; the last of its entry's children
    child_node: Ints
    ambiguous: Ints  # the leaves whose VR is 0
    own_list: Ints  # the list leaves of each entry: ``entry_own_lo`` to ``entry_own_hi``
    inner_list: Ints  # the list leaves below each entry: ``entry_list_lo`` to ``entry_list_hi``
    list_level: Ints  # of each list leaf: how many sequences its ``[*]`` is inside of
    list_ambiguous: Ints  # of each list leaf: 1 where its VR is 0
    private_lo: Ints
    private_hi: Ints
    private_group: Ints
    private_low: Ints
    private_creator: Ints
    private_entry: Ints
    group_slot: Ints
    creators: tuple[bytes, ...]
    private_groups: int
    known_tags: npt.NDArray[np.uint8]
    vr_flags: npt.NDArray[np.uint8]
    leaves: int
    lists: int
    column_leaves: tuple[tuple[int, ...], ...]  # none for a column with a list leaf
    column_lists: Mapping[int, tuple[Leaf, ...]]  # column with ``[*]`` -> its leaves in order of preference


class Leaf(NamedTuple):
    """A path's leaf; of a list leaf the number among these."""

    is_list: bool
    number: int


@dataclass(frozen=True, slots=True)
class Hits:
    """Where the wanted values of the header scanned last lie; one place per leaf, ``length`` -1 where absent."""

    offset: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    vr: Ints  # two letters, 0x10000 for big endian
    scope: Ints
    twice: npt.NDArray[np.uint8]
    scope_parent: Ints
    scope_offset: npt.NDArray[np.int64]
    scope_length: npt.NDArray[np.int64]
    scope_signed: Ints  # PixelRepresentation is 1, or 0; -1 where the data set has none
    owners: npt.NDArray[np.int32]  # [level, private group, block] -> creator, while a data set is walked


def make_hits(tables: ScanTables) -> Hits:
    """Empty hits for these tables."""
    leaves = max(1, tables.leaves)
    return Hits(
        offset=np.zeros(leaves, np.int64),
        length=np.full(leaves, -1, np.int64),
        vr=np.zeros(leaves, np.int32),
        scope=np.zeros(leaves, np.int32),
        twice=np.zeros(leaves, np.uint8),
        scope_parent=np.zeros(MAX_SCOPES, np.int32),
        scope_offset=np.zeros(MAX_SCOPES, np.int64),
        scope_length=np.zeros(MAX_SCOPES, np.int64),
        scope_signed=np.full(MAX_SCOPES, -1, np.int32),
        owners=np.full((MAX_PATH_STEPS + 1, max(1, tables.private_groups), 256), -1, np.int32),
    )


@lru_cache(maxsize=16)
def compile_tables(columns: tuple[Column, ...]) -> ScanTables:
    """The scanner's tables for these columns; they are only ever read, so all tasks of a process share them."""
    root, lists = Node(), Lists()
    wanted: list[list[tuple[Entry, int]]] = []  # by column: the entry of each path, and its list leaf or -1
    for column in columns:
        wanted.append([])
        for path in column.paths:
            entry, level = add_path(root, path, column.vr), level_of_all_items(path)
            entry.is_leaf |= not level
            wanted[-1].append((entry, lists.add(entry, level - 1) if level else -1))
    merge_all_items(root)
    leaves: list[Entry] = []
    number_leaves(root, leaves)
    gather_lists(root)
    column_leaves = [
        () if column.each else tuple(entry.leaf for entry, _ in places)
        for column, places in zip(columns, wanted, strict=True)
    ]
    column_lists = {
        index: tuple(Leaf(number >= 0, number if number >= 0 else entry.leaf) for entry, number in places)
        for index, places in enumerate(wanted)
        if columns[index].each
    }
    return _Flattener(leaves, lists).flatten(root, tuple(column_leaves), column_lists)


class _Flattener:
    """Lays the trie out in arrays: nodes, then for each its public entries (sorted by tag) and its private ones."""

    def __init__(self, leaves: list[Entry], lists: Lists) -> None:
        self.leaves = leaves
        self.lists = lists
        self.nodes: list[Node] = []
        self.entries: list[tuple[int, Entry]] = []
        self.public: list[tuple[int, int]] = []
        self.private: list[tuple[int, int]] = []
        self.private_rows: list[tuple[int, str, int]] = []  # tag, creator, entry

    def flatten(
        self, root: Node, column_leaves: tuple[tuple[int, ...], ...], column_lists: dict[int, tuple[Leaf, ...]]
    ) -> ScanTables:
        numbers = self._number_nodes(root)
        for node in self.nodes:
            self._add_entries(node)
        creators = sorted({creator for _, creator, _ in self.private_rows})
        groups = sorted({tag >> 16 for tag, _, _ in self.private_rows})
        children = [
            [(item, numbers[id(node)]) for item, node in sorted(e.items.items(), key=_all_items_last)]
            for _, e in self.entries
        ]
        flat = [pair for c in children for pair in c]
        child_lo, child_hi = _bounds([len(c) for c in children])
        own_lo, own_hi = _bounds([len(e.own_lists) for _, e in self.entries])
        list_lo, list_hi = _bounds([len(e.lists) for _, e in self.entries])
        return ScanTables(
            node_lo=_ints(lo for lo, _ in self.public),
            node_hi=_ints(hi for _, hi in self.public),
            entry_tag=np.array([tag for tag, _ in self.entries] or [0], np.uint32),
            entry_vr=_ints(_vr_number(e.vr) for _, e in self.entries),
            entry_leaf=_ints(e.leaf for _, e in self.entries),
            entry_own_lo=own_lo,
            entry_own_hi=own_hi,
            entry_child_lo=child_lo,
            entry_child_hi=child_hi,
            entry_leaf_lo=_ints(e.leaf_lo for _, e in self.entries),
            entry_leaf_hi=_ints(e.leaf_hi for _, e in self.entries),
            entry_list_lo=list_lo,
            entry_list_hi=list_hi,
            child_item=_ints(item for item, _ in flat),
            child_node=_ints(node for _, node in flat),
            ambiguous=np.array([leaf for leaf, e in enumerate(self.leaves) if e.vr == AMBIGUOUS], np.int32),
            own_list=_ints(number for _, e in self.entries for number in e.own_lists),
            inner_list=_ints(number for _, e in self.entries for number in sorted(e.lists)),
            list_level=_ints(self.lists.levels),
            list_ambiguous=_ints(int(e.vr == AMBIGUOUS) for e in self.lists.entries),
            private_lo=_ints(lo for lo, _ in self.private),
            private_hi=_ints(hi for _, hi in self.private),
            private_group=_ints(tag >> 16 for tag, _, _ in self.private_rows),
            private_low=_ints(tag & 0xFF for tag, _, _ in self.private_rows),
            private_creator=_ints(creators.index(creator) for _, creator, _ in self.private_rows),
            private_entry=_ints(entry for _, _, entry in self.private_rows),
            group_slot=_ints(groups.index(tag >> 16) for tag, _, _ in self.private_rows),
            creators=tuple(creator.encode() for creator in creators),
            private_groups=len(groups),
            known_tags=_known_tags(),
            vr_flags=_vr_flags(),
            leaves=len(self.leaves),
            lists=len(self.lists.levels),
            column_leaves=column_leaves,
            column_lists=column_lists,
        )

    def _number_nodes(self, root: Node) -> dict[int, int]:
        self.nodes = [root]
        for node in self.nodes:  # grows while it is walked: breadth first
            self.nodes.extend(inner for entry in node.entries.values() for inner in entry.items.values())
        return {id(node): number for number, node in enumerate(self.nodes)}

    def _add_entries(self, node: Node) -> None:
        keys = sorted(node.entries)
        start = len(self.entries)
        self.entries.extend((tag, node.entries[tag, creator]) for tag, creator in keys if not creator)
        self.public.append((start, len(self.entries)))
        start = len(self.private_rows)
        for tag, creator in keys:
            if creator:
                self.private_rows.append((tag, creator, len(self.entries)))
                self.entries.append((tag, node.entries[tag, creator]))
        self.private.append((start, len(self.private_rows)))


def _all_items_last(child: tuple[int, Node]) -> tuple[bool, int]:
    return child[0] == ALL_ITEMS, child[0]


def _bounds(sizes: list[int]) -> tuple[Ints, Ints]:
    """Where each of several runs of these sizes begins and ends, one behind the other."""
    ends = np.cumsum([0, *sizes], dtype=np.int32)
    return (ends[:-1], ends[1:]) if sizes else (ends, ends)


def _vr_number(vr: str) -> int:
    return 0 if vr == AMBIGUOUS else ord(vr[0]) << 8 | ord(vr[1])


def _ints(values: object) -> Ints:
    return np.array(list(values) or [0], np.int32)  # type: ignore[call-overload]


@lru_cache(maxsize=1)
def _known_tags() -> npt.NDArray[np.uint8]:
    """Which elements of group 0002 (row 0) and 0008 (row 1) the dictionary knows, for sniffing without a preamble."""
    known = np.zeros((2, 0x10000), np.uint8)
    known[:, 0] = 1  # the group length
    for row, group in enumerate((0x0002, 0x0008)):
        known[row, list(elements_of_group(group))] = 1
    return known


@lru_cache(maxsize=1)
def _vr_flags() -> npt.NDArray[np.uint8]:
    """1 known, 2 has a 32-bit length, 4 may hold items, 8 UN, 16 may hold fragments."""
    return tabulate_bits({1: KNOWN_VRS, 2: LONG_VRS, 4: ("SQ", "UN"), 8: ("UN",), 16: FRAGMENTED_VRS})
