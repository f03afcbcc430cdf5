# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False, cdivision=True
"""The second half of the hot loop: keep each distinct value once.  Compiled with Cython.

In: the hits of one scanned header and its bytes.  Out: per batch, a code per row and column, and the distinct raw values.
Knows no DICOM beyond which VRs are padded text and which depend on a character set; no Arrow, no typing of values.

Series-level attributes repeat from file to file: a value equal to the one of the row before costs one comparison, any other
one look-up in a hash table; only the first occurrence of a distinct value is copied.  Two values are the same when their bytes
and all that their meaning depends on are: VR, byte order, character set (the *context*).
"""

import cython
import numpy as np
from cython.cimports.libc.string import memcmp, memcpy, memset

_TEXT = cython.declare(cython.int, 1)
_CHARSET = cython.declare(cython.int, 2)
_LISTS_LONGER = cython.declare(cython.int, 16)  # a value of each item may be as long as that many values
_MIX_1 = cython.declare(cython.ulonglong, 0x9E3779B97F4A7C15)
_MIX_2 = cython.declare(cython.ulonglong, 0x9FB21C651E98DF25)


@cython.cclass
class Interner:
    """Collect rows of values as codes into distinct raw values.

    Args:
        hits: the hits that the scanner fills.
        column_leaves: for each column its leaves in order of preference.
        rows: how many rows a batch holds.
        vr_kinds: by the two letters of a VR: 1 text (padding alone is empty), 2 depends on SpecificCharacterSet.
        max_value_bytes: longer values are not kept; ``oversized`` says in which columns.
    """

    buf: cython.uchar[::1]
    hit_offset: cython.longlong[::1]
    hit_length: cython.longlong[::1]
    hit_vr: cython.int[::1]
    hit_scope: cython.int[::1]
    scope_parent: cython.int[::1]
    scope_offset: cython.longlong[::1]
    scope_length: cython.longlong[::1]
    column_lo: cython.int[::1]
    column_leaf: cython.int[::1]
    vr_kinds: cython.uchar[::1]
    max_value_bytes: cython.longlong
    capacity: cython.int
    columns = cython.declare(cython.int, visibility="readonly")
    rows = cython.declare(cython.int, visibility="readonly")
    arena_bytes = cython.declare(cython.longlong, visibility="readonly")
    value_bytes = cython.declare(cython.longlong, visibility="readonly")
    oversized = cython.declare(list, visibility="readonly")
    chosen = cython.declare(object, visibility="readonly")
    codes: object
    code: cython.int[:, ::1]
    choice: cython.int[::1]
    arena: cython.uchar[::1]
    entries: cython.int
    entry_hash: cython.ulonglong[::1]
    entry_context: cython.ulonglong[::1]
    entry_offset: cython.longlong[::1]
    entry_length: cython.longlong[::1]
    entry_column: cython.int[::1]
    entry_code: cython.int[::1]
    entry_next: cython.int[::1]
    table: cython.int[::1]
    first_entry: cython.int[::1]
    last_entry: cython.int[::1]
    seen_entry: cython.int[::1]
    distinct: cython.int[::1]
    charsets = cython.declare(list, visibility="readonly")
    charset_ids: dict
    last_charset: bytes
    last_charset_id: cython.ulonglong

    def __init__(self, hits, column_leaves, rows: int, vr_kinds, max_value_bytes: int):
        self.hit_offset = hits.offset
        self.hit_length = hits.length
        self.hit_vr = hits.vr
        self.hit_scope = hits.scope
        self.scope_parent = hits.scope_parent
        self.scope_offset = hits.scope_offset
        self.scope_length = hits.scope_length
        self.columns = len(column_leaves)
        self.column_lo = np.cumsum([0] + [len(leaves) for leaves in column_leaves], dtype=np.int32)
        self.column_leaf = np.array([leaf for leaves in column_leaves for leaf in leaves] + [0], dtype=np.int32)
        self.vr_kinds = vr_kinds
        self.max_value_bytes = max_value_bytes
        self.capacity = rows
        self.chosen = np.zeros(self.columns, dtype=np.int32)
        self.choice = self.chosen
        self.arena = bytearray(1 << 16)
        self.entries = 0
        self._make_entries(4096)
        self.table = np.full(16384, -1, dtype=np.int32)
        self.first_entry = np.zeros(self.columns, dtype=np.int32)
        self.last_entry = np.zeros(self.columns, dtype=np.int32)
        self.seen_entry = np.zeros(self.columns, dtype=np.int32)
        self.distinct = np.zeros(self.columns, dtype=np.int32)
        self.use_buffer(bytearray(8))
        self.reset()

    def use_buffer(self, buffer):
        """Take values from this writable buffer from now on (it is never written to)."""
        self.buf = buffer

    def reset(self):
        """Begin a new batch; arrays handed out before stay valid."""
        self.codes = np.empty((self.capacity, self.columns), dtype=np.int32)
        self.code = self.codes
        self.rows = 0
        self.entries = 0
        self.arena_bytes = 0
        self.value_bytes = 0  # of all rows together, repeated values included: what the typed batch may take
        self.oversized = []
        self.charsets = [None]
        self.charset_ids = {}
        self.last_charset = None
        self.last_charset_id = 0
        self.table[:] = -1
        self.first_entry[:] = -1
        self.last_entry[:] = -1
        self.seen_entry[:] = -1
        self.distinct[:] = 0

    def add_row(self) -> int:
        """Intern the values of the header scanned last as a new row.

        Returns 0 if column 0, the key, has no value, 1 if it comes from its first path, 2 if from another one.

        ``chosen[column]`` is the place of the path that was taken among the column's paths, -1 where none has a value.
        """
        column: cython.int
        leaf: cython.int
        place: cython.int
        row: cython.int = self.rows
        length: cython.longlong
        first: cython.int
        stop: cython.int = 0
        if row >= self.capacity:
            raise ValueError("the batch is full")
        if self.columns > 0:
            memset(cython.address(self.code[row, 0]), 0xFF, self.columns * 4)  # -1
            memset(cython.address(self.choice[0]), 0xFF, self.columns * 4)
        for column in range(self.columns):
            first = stop
            stop = self.column_lo[column + 1]
            for place in range(first, stop):
                leaf = self.column_leaf[place]
                length = self.hit_length[leaf]
                if length > 0 and not self._is_padding(leaf) and (column > 0 or self._is_key(leaf)):
                    self.choice[column] = place - first
                    self.code[row, column] = self._intern(column, leaf)
                    self.value_bytes += length
                    break
        self.rows = row + 1
        if self.columns == 0 or self.code[row, 0] < 0:
            return 0
        return 2 if self.choice[0] > 0 else 1

    def add_values(self, values):
        """Add a row of RawValues (or None), one per column: for headers that another reader read."""
        column: cython.int
        row: cython.int = self.rows
        if row >= self.capacity:
            raise ValueError("the batch is full")
        for column in range(self.columns):
            value = values[column]
            self.code[row, column] = -1
            if value is None or not value.raw:
                continue
            if len(value.raw) > (_LISTS_LONGER * self.max_value_bytes if value.vr == "**" else self.max_value_bytes):
                self.oversized.append((row, column))
            else:
                self.code[row, column] = self._intern_value(column, value)
                self.value_bytes += len(value.raw)
        self.rows = row + 1

    def set_value(self, column: cython.int, value):
        """Give the row added last this RawValue in a column that has no leaves of its own."""
        self.code[self.rows - 1, column] = self._intern_value(column, value)
        self.value_bytes += len(value.raw)

    def _intern_value(self, column: cython.int, value) -> int:
        context: cython.ulonglong = (ord(value.vr[0]) << 8) | ord(value.vr[1])
        if value.big_endian:
            context |= 0x10000
        if value.charset is not None:
            context |= self._charset_id(value.charset) << 17
        keep = self.buf
        try:
            self.buf = bytearray(value.raw)
            return self._lookup(column, 0, len(value.raw), context)
        finally:
            self.buf = keep

    def drop_row(self):
        """Forget the row added last (its distinct values may stay)."""
        self.rows -= 1
        while self.oversized and self.oversized[len(self.oversized) - 1][0] == self.rows:
            self.oversized.pop()

    def take_codes(self):
        """Codes of the batch, ``int32[rows, columns]``; -1 where a row has no value."""
        return self.codes[: self.rows]

    def take_column(self, column: cython.int):
        """The distinct values of a column in order of their codes: (offsets int32[n+1], bytes, contexts uint64[n])."""
        count: cython.int = self.distinct[column]
        entry: cython.int = self.first_entry[column]
        place: cython.int
        position: cython.longlong = 0
        total: cython.longlong = 0
        while entry >= 0:
            total += self.entry_length[entry]
            entry = self.entry_next[entry]
        if total > 0x7FFFFFFF:
            raise OverflowError("a batch holds more than 2 GiB of one column")
        offsets_array = np.zeros(count + 1, dtype=np.int32)
        contexts_array = np.zeros(count, dtype=np.uint64)
        data_array = bytearray(max(1, total))
        offsets: cython.int[::1] = offsets_array
        contexts: cython.ulonglong[::1] = contexts_array
        data: cython.uchar[::1] = data_array
        entry = self.first_entry[column]
        for place in range(count):
            if self.entry_length[entry] > 0:
                memcpy(
                    cython.address(data[position]),
                    cython.address(self.arena[self.entry_offset[entry]]),
                    self.entry_length[entry],
                )
            position += self.entry_length[entry]
            offsets[place + 1] = cython.cast(cython.int, position)
            contexts[place] = self.entry_context[entry]
            entry = self.entry_next[entry]
        return offsets_array, data_array, contexts_array

    # ---- one value -----------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    @cython.inline
    def _kinds(self, vr: cython.int) -> cython.int:
        place: cython.int = (((vr >> 8) & 0xFF) - 65) * 26 + (vr & 0xFF) - 65
        return self.vr_kinds[place] if 0 <= place < 676 else _CHARSET

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    @cython.inline
    def _is_key(self, leaf: cython.int) -> cython.bint:
        """True if a key can be read of this VR: bytes that are no text leave the key to the next path."""
        return self._kinds(self.hit_vr[leaf]) != 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    @cython.inline
    def _is_padding(self, leaf: cython.int) -> cython.bint:
        """True for a text of nothing but spaces and NULs (PS3.5 6.2): as good as empty."""
        pos: cython.longlong = self.hit_offset[leaf]
        end: cython.longlong = pos + self.hit_length[leaf]
        if self.buf[pos] != 32 and self.buf[pos] != 0:
            return False
        if not self._kinds(self.hit_vr[leaf]) & _TEXT:
            return False
        while pos < end:
            if self.buf[pos] != 32 and self.buf[pos] != 0:
                return False
            pos += 1
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    @cython.inline
    def _intern(self, column: cython.int, leaf: cython.int) -> cython.int:
        offset: cython.longlong = self.hit_offset[leaf]
        length: cython.longlong = self.hit_length[leaf]
        kinds: cython.int
        entry: cython.int
        context: cython.ulonglong = self.hit_vr[leaf]
        if length > self.max_value_bytes:
            self.oversized.append((self.rows, column))
            return -1
        kinds = self._kinds(self.hit_vr[leaf])
        if kinds & _TEXT:
            context &= 0xFFFF  # byte order means nothing to text
        if kinds & _CHARSET:
            context |= self._scope_charset(self.hit_scope[leaf]) << 17
        entry = self.seen_entry[column]
        if (
            entry >= 0
            and self.entry_length[entry] == length
            and self.entry_context[entry] == context
            and memcmp(cython.address(self.arena[self.entry_offset[entry]]), cython.address(self.buf[offset]), length)
            == 0
        ):
            return self.entry_code[entry]
        return self._lookup(column, offset, length, context)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _lookup(
        self, column: cython.int, offset: cython.longlong, length: cython.longlong, context: cython.ulonglong
    ) -> cython.int:
        """The code of this value in its column; a new one if it was not seen in this batch."""
        hashed: cython.ulonglong = self._hash(offset, length, context * 31 + cython.cast(cython.ulonglong, column))
        mask: cython.longlong = self.table.shape[0] - 1
        slot: cython.longlong = cython.cast(cython.longlong, hashed & cython.cast(cython.ulonglong, mask))
        entry: cython.int = self.table[slot]
        while entry >= 0:
            if (
                self.entry_hash[entry] == hashed
                and self.entry_column[entry] == column
                and self.entry_length[entry] == length
                and self.entry_context[entry] == context
                and memcmp(
                    cython.address(self.arena[self.entry_offset[entry]]), cython.address(self.buf[offset]), length
                )
                == 0
            ):
                self.seen_entry[column] = entry
                return self.entry_code[entry]
            slot = (slot + 1) & mask
            entry = self.table[slot]
        entry = self._add_entry(column, offset, length, context, hashed)
        self.table[slot] = entry
        self.seen_entry[column] = entry
        if self.entries * 2 > self.table.shape[0]:
            self._grow_table()
        return self.entry_code[entry]

    @cython.cfunc
    @cython.exceptval(0, check=True)
    def _hash(self, offset: cython.longlong, length: cython.longlong, seed: cython.ulonglong) -> cython.ulonglong:
        """A multiply-and-fold hash, eight bytes at a time; collisions only cost time, bytes are always compared."""
        value: cython.ulonglong = seed ^ (cython.cast(cython.ulonglong, length) * _MIX_1)
        word: cython.ulonglong
        pos: cython.longlong = offset
        end: cython.longlong = offset + length
        while pos + 8 <= end:
            memcpy(cython.address(word), cython.address(self.buf[pos]), 8)
            value = (value ^ word) * _MIX_2
            value ^= value >> 32
            pos += 8
        word = 0
        while pos < end:
            word = (word << 8) | self.buf[pos]
            pos += 1
        value = (value ^ word) * _MIX_2
        return value ^ (value >> 29)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _add_entry(
        self,
        column: cython.int,
        offset: cython.longlong,
        length: cython.longlong,
        context: cython.ulonglong,
        hashed: cython.ulonglong,
    ) -> cython.int:
        entry: cython.int = self.entries
        if entry >= self.entry_hash.shape[0]:
            self._make_entries(2 * entry)
        if self.arena_bytes + length > self.arena.shape[0]:
            self._grow_arena(self.arena_bytes + length)
        if length > 0:
            memcpy(cython.address(self.arena[self.arena_bytes]), cython.address(self.buf[offset]), length)
        self.entry_hash[entry] = hashed
        self.entry_context[entry] = context
        self.entry_offset[entry] = self.arena_bytes
        self.entry_length[entry] = length
        self.entry_column[entry] = column
        self.entry_code[entry] = self.distinct[column]
        self.entry_next[entry] = -1
        if self.distinct[column] == 0:
            self.first_entry[column] = entry
        else:
            self.entry_next[self.last_entry[column]] = entry
        self.last_entry[column] = entry
        self.distinct[column] += 1
        self.arena_bytes += length
        self.entries = entry + 1
        return entry

    @cython.cfunc
    @cython.exceptval(0, check=True)
    def _scope_charset(self, scope: cython.int) -> cython.ulonglong:
        """The id of the SpecificCharacterSet in force: that of the data set, or of one that encloses it."""
        while scope >= 0 and self.scope_length[scope] < 0:
            scope = self.scope_parent[scope]
        if scope < 0 or self.scope_length[scope] == 0:
            return 0
        offset: cython.longlong = self.scope_offset[scope]
        length: cython.longlong = min(self.scope_length[scope], 1024)
        if (
            self.last_charset is not None
            and len(self.last_charset) == length
            and memcmp(cython.address(self.buf[offset]), cython.cast(cython.p_char, self.last_charset), length) == 0
        ):
            return self.last_charset_id
        self.last_charset = bytes(self.buf[offset : offset + length])
        self.last_charset_id = self._charset_id(self.last_charset)
        return self.last_charset_id

    @cython.cfunc
    @cython.exceptval(0, check=True)
    def _charset_id(self, charset: bytes) -> cython.ulonglong:
        found = self.charset_ids.get(charset)
        if found is None:
            found = self.charset_ids[charset] = len(self.charsets)
            self.charsets.append(charset)
        return found

    # ---- growth --------------------------------------------------------------------------------------------------

    def _make_entries(self, count: cython.int):
        """Room for ``count`` entries; what is there is kept."""
        kept: cython.bint = self.entries > 0
        self.entry_hash = _grown(self.entry_hash if kept else None, count, np.uint64)
        self.entry_context = _grown(self.entry_context if kept else None, count, np.uint64)
        self.entry_offset = _grown(self.entry_offset if kept else None, count, np.int64)
        self.entry_length = _grown(self.entry_length if kept else None, count, np.int64)
        self.entry_column = _grown(self.entry_column if kept else None, count, np.int32)
        self.entry_code = _grown(self.entry_code if kept else None, count, np.int32)
        self.entry_next = _grown(self.entry_next if kept else None, count, np.int32)

    def _grow_table(self):
        """Twice the slots, all entries put in again."""
        slots: cython.longlong = 2 * self.table.shape[0]
        entry: cython.int
        slot: cython.longlong
        self.table = np.full(slots, -1, dtype=np.int32)
        for entry in range(self.entries):
            slot = cython.cast(cython.longlong, self.entry_hash[entry] & cython.cast(cython.ulonglong, slots - 1))
            while self.table[slot] >= 0:
                slot = (slot + 1) & (slots - 1)
            self.table[slot] = entry

    def _grow_arena(self, needed: cython.longlong):
        grown = bytearray(max(needed, 2 * self.arena.shape[0]))
        grown[: self.arena_bytes] = self.arena[: self.arena_bytes]
        self.arena = grown


def _grown(array, count, kind):
    grown = np.zeros(count, dtype=kind)
    if array is not None:
        old = np.asarray(array)
        grown[: len(old)] = old
    return grown
