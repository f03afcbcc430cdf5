# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False, cdivision=True
"""What a scan finds: where the wanted values lie, in which data set, and which of them belong to a list.  Compiled with Cython.

In: entries of the trie and the places of their values, as the walk meets them (``scan_walk``).  Out: ``Hits`` filled, and the
values of lists packed (``header.items``).  Knows the tables of wanted paths; not how elements are laid out.

A *scope* is a data set with a SpecificCharacterSet or PixelRepresentation of its own (PS3.5 7.5.3).  The declarations of what is
C here are in ``scan_hits.pxd``.
"""

import cython
import numpy as np
from cython.cimports.dicomflow.header.scan_hits import BIG_ENDIAN, VR_UN
from cython.cimports.libc.string import memcmp, memcpy, memset

_VR_US = cython.declare(cython.int, 0x5553)
_VR_SS = cython.declare(cython.int, 0x5353)

# columns of ``found``: which list leaf and item, where the value lies, its VR, its scope, its predecessor
_WHICH = cython.declare(cython.int, 0)
_OFFSET = cython.declare(cython.int, 1)
_LENGTH = cython.declare(cython.int, 2)
_VR = cython.declare(cython.int, 3)
_SCOPE = cython.declare(cython.int, 4)
_BEFORE = cython.declare(cython.int, 5)  # the row of the same list before this one
_COLUMNS = cython.declare(cython.int, 6)
_ITEM_BITS = cython.declare(cython.int, 32)
_FEW_ROWS = cython.declare(cython.longlong, 256)
_MANY_ROWS = cython.declare(cython.longlong, 1 << 18)
_MAX_CHARSET = cython.declare(cython.longlong, 1024)  # all defined terms together are shorter
_ASKED_FOR = cython.declare(cython.int, -2)  # a block without owner, of which an element was met
_NONE = cython.declare(cython.uint, 0xFFFFFFFF)


@cython.cclass
class HitNotes:
    """Where wanted values lie: one place per leaf, and a growing table for the leaves of lists."""

    def __init__(self, tables, hits):
        self.entry_vr = tables.entry_vr
        self.entry_leaf = tables.entry_leaf
        self.entry_own_lo = tables.entry_own_lo
        self.entry_own_hi = tables.entry_own_hi
        self.entry_leaf_lo = tables.entry_leaf_lo
        self.entry_leaf_hi = tables.entry_leaf_hi
        self.entry_list_lo = tables.entry_list_lo
        self.entry_list_hi = tables.entry_list_hi
        self.ambiguous = tables.ambiguous
        self.own_list = tables.own_list
        self.inner_list = tables.inner_list
        self.list_level = tables.list_level
        self.list_ambiguous = tables.list_ambiguous
        self.found = np.zeros((_FEW_ROWS, _COLUMNS), np.int64)
        self.list_from = np.zeros(max(1, tables.lists), np.int64)
        self.list_last = np.zeros(max(1, tables.lists), np.int64)
        self.list_items = np.zeros(max(1, tables.lists), np.int64)
        self.list_twice = np.zeros(max(1, tables.lists), np.int32)
        self.item_at = np.zeros(hits.owners.shape[0] + 1, np.int64)
        self.private_lo = tables.private_lo
        self.private_hi = tables.private_hi
        self.private_group = tables.private_group
        self.private_low = tables.private_low
        self.private_creator = tables.private_creator
        self.private_entry = tables.private_entry
        self.creators = list(tables.creators)
        self.owners = hits.owners
        self.owned = bytearray(hits.owners.shape[0])
        self.group_slot = tables.group_slot
        self.hit_offset = hits.offset
        self.hit_length = hits.length
        self.hit_vr = hits.vr
        self.hit_scope = hits.scope
        self.hit_twice = hits.twice
        self.scope_parent = hits.scope_parent
        self.scope_offset = hits.scope_offset
        self.scope_length = hits.scope_length
        self.scope_signed = hits.scope_signed
        self.use_buffer(bytearray(8))

    def use_buffer(self, buffer):
        """Scan this writable buffer from now on (it is never written to)."""
        self.buf = buffer

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _reset_hits(self) -> cython.int:
        leaf: cython.int
        leaves: cython.size_t = self.hit_length.shape[0]  # at least one
        memset(cython.address(self.hit_length[0]), 0xFF, leaves * cython.sizeof(cython.longlong))  # -1
        memset(cython.address(self.hit_twice[0]), 0, min(leaves, self.hit_twice.shape[0]))
        for leaf in range(self.list_items.shape[0]):
            self.list_items[leaf] = self.list_from[leaf] = 0
            self.list_last[leaf] = -1
            self.list_twice[leaf] = 0
        self.found_count = 0
        if self.found.shape[0] > _MANY_ROWS:  # one giant header must not cost its memory for ever
            self.found = np.zeros((_FEW_ROWS, _COLUMNS), np.int64)
        self.repeated = False
        self.late_owner = False
        self.is_cut = False
        self.guessed = []
        self.scopes = 1
        self.scope_parent[0] = -1
        self.scope_length[0] = -1
        self.scope_signed[0] = -1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    @cython.inline
    def _hit(
        self,
        entry: cython.int,
        value: cython.longlong,
        length: cython.longlong,
        vr: cython.int,
        big: cython.bint,
        scope: cython.int,
    ) -> cython.int:
        leaf: cython.int = self.entry_leaf[entry]
        place: cython.int
        for place in range(self.entry_own_lo[entry], self.entry_own_hi[entry]):
            self._hit_in_list(self.own_list[place], value, length, vr | (BIG_ENDIAN if big else 0), scope)
        if leaf < 0:
            return 0
        if self.hit_length[leaf] >= 0:
            self.hit_twice[leaf] = 1
        if self.hit_twice[leaf]:
            self.repeated = True
        self.hit_offset[leaf] = value
        self.hit_length[leaf] = length
        self.hit_vr[leaf] = vr | (BIG_ENDIAN if big else 0)
        self.hit_scope[leaf] = scope
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _forget_inner(self, found: cython.int, level: cython.int, repeated: cython.bint) -> cython.int:
        """A sequence that is there again (``repeated``) replaces what it held before; a broken one holds nothing."""
        leaf: cython.int
        place: cython.int
        row: cython.longlong
        for leaf in range(self.entry_leaf_lo[found], self.entry_leaf_hi[found]):
            if self.hit_length[leaf] >= 0:
                self.hit_length[leaf] = -1
                if repeated:
                    self.hit_twice[leaf] = 1
                    self.repeated = True
        for place in range(self.entry_list_lo[found], self.entry_list_hi[found]):
            leaf = self.inner_list[place]
            if self.list_level[leaf] < level:  # inside one item of the list's sequence: only this item is empty again
                row = self.list_last[leaf]
                if (
                    row >= self.list_from[leaf]
                    and self.found[row, _WHICH] == self._which(leaf)
                    and self.found[row, _LENGTH] >= 0
                ):
                    self._hit_in_list(leaf, 0, -1, 0, 0)
                    if repeated:
                        self.list_twice[leaf] = 1
            else:
                if repeated and self.list_last[leaf] >= self.list_from[leaf]:
                    self.list_twice[leaf] = 1
                self.list_from[leaf] = self.found_count
                self.list_items[leaf] = 0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _is(self, offset: cython.longlong, length: cython.longlong, text: bytes) -> cython.bint:
        """True if the value, its padding stripped, is ``text``."""
        chars: cython.p_char = text
        wanted: cython.longlong = len(text)
        if offset + length > self.size:
            return False
        while length > 0 and (self.buf[offset + length - 1] == 0 or self.buf[offset + length - 1] == 32):
            length -= 1
        while length > 0 and (self.buf[offset] == 0 or self.buf[offset] == 32):
            offset += 1
            length -= 1
        if length != wanted:
            return False
        return memcmp(cython.address(self.buf[offset]), chars, wanted) == 0

    # ---- scopes --------------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _new_scope(self, parent: cython.int) -> cython.int:
        """A data set with a SpecificCharacterSet of its own, or its parent's; -1 if there are too many."""
        if self.scopes >= self.scope_parent.shape[0]:
            return -1
        self.scope_parent[self.scopes] = parent
        self.scope_length[self.scopes] = -1
        self.scope_signed[self.scopes] = -1
        self.scopes += 1
        return self.scopes - 1

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _close_scope(
        self, scope: cython.int, parent: cython.int, found: cython.int, before: cython.longlong
    ) -> cython.int:
        """Give a scope back that has nothing of its own: a sequence may have more items than there are scopes."""
        leaf: cython.int
        row: cython.longlong
        if scope != self.scopes - 1 or self.scope_length[scope] >= 0 or self.scope_signed[scope] >= 0:
            return 0
        self.scopes -= 1
        for leaf in range(self.entry_leaf_lo[found], self.entry_leaf_hi[found]):
            if self.hit_scope[leaf] == scope:
                self.hit_scope[leaf] = parent
        for row in range(before, self.found_count):
            if self.found[row, _SCOPE] == scope:
                self.found[row, _SCOPE] = parent
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _charset_scope(self, scope: cython.int) -> cython.int:
        """The data set whose SpecificCharacterSet is in force (PS3.5 7.5.3); -1 where there is none."""
        while scope >= 0 and self.scope_length[scope] < 0:
            scope = self.scope_parent[scope]
        return scope

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _choose_vr(self, found: cython.int, scope: cython.int) -> cython.int:
        """US or SS; the byte order as found, but UN is little endian whatever stands around it (PS3.5 6.2.2)."""
        vr: cython.int = _VR_SS if self._is_signed(scope) else _VR_US
        return vr if (found & 0xFFFF) == VR_UN else vr | (found & BIG_ENDIAN)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _is_told(self, scope: cython.int) -> cython.bint:
        """Whether a PixelRepresentation is in force, so that US or SS is no guess."""
        while scope > 0 and self.scope_signed[scope] < 0:
            scope = self.scope_parent[scope]
        return scope >= 0 and self.scope_signed[scope] >= 0

    def forget_guesses(self):
        """The header breaks off: a PixelRepresentation may have followed, so what was guessed is not delivered."""
        leaf: cython.int
        for leaf in self.guessed:
            self.hit_length[leaf] = -1
        self.guessed = []
        self.is_cut = True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _is_signed(self, scope: cython.int) -> cython.bint:
        while scope > 0 and self.scope_signed[scope] < 0:
            scope = self.scope_parent[scope]
        return scope >= 0 and self.scope_signed[scope] > 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _resolve_ambiguous(self) -> cython.int:
        """US or SS, where the file does not say: PixelRepresentation in force decides (PS3.5 A.1)."""
        place: cython.int
        leaf: cython.int
        vr: cython.int
        for place in range(self.ambiguous.shape[0]):
            leaf = self.ambiguous[place]
            vr = self.hit_vr[leaf] & 0xFFFF
            if self.hit_length[leaf] < 0 or (vr != VR_UN and vr != 0):
                continue
            self.hit_vr[leaf] = self._choose_vr(self.hit_vr[leaf], self.hit_scope[leaf])
            if not self._is_told(self.hit_scope[leaf]):
                self.guessed.append(leaf)
        return 0

    # ---- lists: a value of each item -----------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _hit_in_list(
        self,
        number: cython.int,
        value: cython.longlong,
        length: cython.longlong,
        vr: cython.int,
        scope: cython.int,
    ) -> cython.int:
        """Note a value of the item that is walked at the level of the list's sequence."""
        row: cython.longlong = self.found_count
        if row >= self.found.shape[0]:
            grown = np.zeros((2 * row, _COLUMNS), np.int64)
            grown[:row] = self.found[:row]
            self.found = grown
        self.found[row, _WHICH] = self._which(number)
        self.found[row, _OFFSET] = value
        self.found[row, _LENGTH] = length
        self.found[row, _VR] = vr
        self.found[row, _SCOPE] = scope
        self.found[row, _BEFORE] = self.list_last[number]
        self.found_count = row + 1
        self.list_last[number] = row
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    @cython.inline
    def _which(self, number: cython.int) -> cython.longlong:
        """A list leaf and the item that is walked at its level, as one number."""
        return (cython.cast(cython.longlong, number) << _ITEM_BITS) | self.item_at[self.list_level[number]]

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _count_items(self, found: cython.int, level: cython.int, items: cython.int) -> cython.int:
        """A sequence came to its end: its lists have so many places."""
        place: cython.int
        for place in range(self.entry_list_lo[found], self.entry_list_hi[found]):
            if self.list_level[self.inner_list[place]] == level:
                self.list_items[self.inner_list[place]] = items
        return 0

    def has_any(self, leaves: cython.int[::1]) -> cython.bint:
        """Whether any list leaf has a value, or had one that was replaced, or any of these other leaves."""
        place: cython.Py_ssize_t
        for place in range(self.list_items.shape[0]):
            if self.list_items[place] > 0 or self.list_twice[place]:
                return True
        for place in range(leaves.shape[0]):
            if self.hit_length[leaves[place]] > 0 or self.hit_twice[leaves[place]]:
                return True
        return False

    def take_list(self, number: cython.int, max_bytes: cython.longlong):
        """The values of a list leaf, packed as ``header.items`` reads them, and whether a value was replaced by another.

        None where no item has a value; no bytes where they would be more than ``max_bytes``.
        """
        items: cython.longlong = self.list_items[number]
        if items == 0:
            return None, bool(self.list_twice[number])
        rows_array = np.full(items, -1, np.int64)
        heads_array = np.full((3, items), _NONE, np.uint32)
        rows: cython.longlong[::1] = rows_array
        heads: cython.uint[:, ::1] = heads_array
        charsets: list = []
        repeated: cython.bint = self._find_rows(number, rows)
        total: cython.longlong = self._fill_heads(number, rows, heads, charsets)
        if total == 0:
            return None, repeated
        if total + sum(map(len, charsets)) + 12 * items > max_bytes:
            return b"", repeated
        values = bytearray(total)
        self._copy_values(rows, heads, values)
        counts = np.array([items, len(charsets), *map(len, charsets)], np.uint32)
        return b"".join(
            [counts.astype("<u4").tobytes(), heads_array.astype("<u4").tobytes(), *charsets, values]
        ), repeated

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _find_rows(self, number: cython.int, rows: cython.longlong[::1]) -> cython.int:
        """The row of ``found`` of each item, the last where there are several; 1 if there are, anywhere."""
        row: cython.longlong
        item: cython.longlong
        repeated: cython.int = self.list_twice[number]
        row = self.list_last[number]
        while row >= self.list_from[number]:  # from the last one back: it wins
            item = self.found[row, _WHICH] & 0xFFFFFFFF
            if item < rows.shape[0]:
                if rows[item] < 0:
                    rows[item] = row
                else:
                    repeated = 1
            row = self.found[row, _BEFORE]
        return repeated

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _fill_heads(
        self, number: cython.int, rows: cython.longlong[::1], heads: cython.uint[:, ::1], charsets: list
    ) -> cython.longlong:
        """Length, VR with byte order, and number of the charset of each item that has a value; bytes of all values."""
        item: cython.longlong
        row: cython.longlong
        vr: cython.int
        scope: cython.int
        last: cython.int = -1
        place: cython.uint = _NONE
        total: cython.longlong = 0
        numbers: dict = {}
        for item in range(rows.shape[0]):
            row = rows[item]
            if row < 0 or self.found[row, _LENGTH] < 0:
                continue
            vr = cython.cast(cython.int, self.found[row, _VR])
            scope = cython.cast(cython.int, self.found[row, _SCOPE])
            if self.list_ambiguous[number] and ((vr & 0xFFFF) == 0 or (vr & 0xFFFF) == VR_UN):
                if self.is_cut and not self._is_told(scope):
                    continue
                vr = self._choose_vr(vr, scope)
            scope = self._charset_scope(scope)
            if scope != last:
                last = scope
                if scope >= 0 and scope not in numbers:
                    numbers[scope] = len(charsets)
                    charsets.append(self._charset(scope))
                place = numbers.get(scope, _NONE)
            heads[0, item] = cython.cast(cython.uint, self.found[row, _LENGTH])
            heads[1, item] = cython.cast(cython.uint, vr)
            heads[2, item] = place
            total += self.found[row, _LENGTH]
        return total

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _copy_values(
        self, rows: cython.longlong[::1], heads: cython.uint[:, ::1], out: cython.uchar[::1]
    ) -> cython.int:
        item: cython.longlong
        length: cython.longlong
        pos: cython.longlong = 0
        for item in range(rows.shape[0]):
            length = heads[0, item]
            if length == _NONE or length == 0:
                continue
            memcpy(cython.address(out[pos]), cython.address(self.buf[self.found[rows[item], _OFFSET]]), length)
            pos += length
        return 0

    def _charset(self, scope: cython.int) -> bytes:
        start: cython.longlong = self.scope_offset[scope]
        return bytes(self.buf[start : start + min(self.scope_length[scope], _MAX_CHARSET)])

    # ---- private elements ----------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _forget_owners(self, level: cython.int) -> cython.int:
        group: cython.int
        block: cython.int
        if not self.owned[level] or (level == 0 and self.keep_owners):
            return 0
        self.owned[level] = 0
        for group in range(self.owners.shape[1]):
            for block in range(256):
                self.owners[level, group, block] = -1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _private(
        self,
        node: cython.int,
        level: cython.int,
        tag: cython.uint,
        value: cython.longlong,
        length: cython.longlong,
    ) -> cython.int:
        """Note who owns a private block, or find the entry of a private element (PS3.5 7.8.1); -1 if not wanted.

        In the outermost data set a creator may come after its elements, out of order: ``late_owner`` then asks for a second
        walk, which knows the owners from the start.
        """
        group: cython.int = tag >> 16
        low: cython.int = tag & 0xFF
        block: cython.int = (tag >> 8) & 0xFF
        row: cython.int
        slot: cython.int
        owner: cython.int = -1
        creator: bytes
        for row in range(self.private_lo[node], self.private_hi[node]):
            if self.private_group[row] != group:
                continue
            slot = self.group_slot[row]
            if block == 0:
                creator = self.creators[self.private_creator[row]]
                if low >= 0x10 and owner < 0 and self._is(value, length, creator):
                    owner = self.private_creator[row]
                if owner >= 0 and self.owners[level, slot, low] == _ASKED_FOR:
                    self.late_owner = True
                self.owned[level] = 1
                self.owners[level, slot, low] = owner  # a block has one owner: the one named last
            elif self.private_low[row] == low:
                if self.owners[level, slot, block] == self.private_creator[row]:
                    return self.private_entry[row]
                if level == 0 and self.owners[0, slot, block] < 0:
                    self.owned[0] = 1
                    self.owners[0, slot, block] = _ASKED_FOR
        return -1
