# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False, cdivision=True
"""Walk the elements of data sets, nested ones too, as they are laid out (PS3.5 chapter 7).  Compiled with Cython.

In: a buffer, where a data set begins and how it is encoded.  Out: each wanted element handed to ``HitNotes``; a verdict.
Knows no values and nothing of how a file begins.  Bounds checks stay on: the input is hostile.  The declarations of what is C
here are in ``scan_walk.pxd``.
"""

import cython
from cython.cimports.dicomflow.header.scan_hits import VR_SQ, HitNotes
from cython.cimports.dicomflow.header.scan_walk import (
    BAD_ELEMENT,
    BAD_LENGTH,
    BAD_SEQUENCE,
    DICOMDIR,
    FRAGMENTS_VR,
    ITEMS_VR,
    LIMIT_DEPTH,
    LIMIT_ELEMENTS,
    LONG_VR,
    NEED_MORE,
    OK,
    TRUNCATED,
    UN_VR,
)

_ITEM = cython.declare(cython.uint, 0xFFFEE000)
_ITEM_END = cython.declare(cython.uint, 0xFFFEE00D)
_SEQUENCE_END = cython.declare(cython.uint, 0xFFFEE0DD)
_ABOVE_STOP = cython.declare(cython.uint, 0x7FE00007)  # ``tag - 1`` is at least this for the stop tag and for tag 0
_DIRECTORY_RECORDS = cython.declare(cython.uint, 0x00041220)
_CHARSET = cython.declare(cython.uint, 0x00080005)
_SOP_CLASS = cython.declare(cython.uint, 0x00080016)
_PIXEL_REPRESENTATION = cython.declare(cython.uint, 0x00280103)
_UNDEFINED = cython.declare(cython.uint, 0xFFFFFFFF)
_ENDLESS = cython.declare(cython.longlong, 1 << 62)
_ALL_ITEMS = cython.declare(cython.int, -1)


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _load_u32(at: cython.p_uchar, big: cython.bint) -> cython.uint:
    """Four bytes, which the caller knows to be there, as a number; written so that compilers make one load of it."""
    first: cython.uint = at[0]
    second: cython.uint = at[1]
    third: cython.uint = at[2]
    fourth: cython.uint = at[3]
    if big:
        return (first << 24) | (second << 16) | (third << 8) | fourth
    return first | (second << 8) | (third << 16) | (fourth << 24)


@cython.cclass
class ElementWalk(HitNotes):
    """The walk over one data set and what it holds."""

    def __init__(self, tables, hits, max_elements: int, max_depth: int):
        HitNotes.__init__(self, tables, hits)
        self.max_elements = max_elements
        self.max_depth = max_depth
        self.node_lo = tables.node_lo
        self.node_hi = tables.node_hi
        self.entry_tag = tables.entry_tag
        self.entry_child_lo = tables.entry_child_lo
        self.entry_child_hi = tables.entry_child_hi
        self.child_item = tables.child_item
        self.child_node = tables.child_node
        self.vr_flags = tables.vr_flags

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _reset_walk(self) -> cython.int:
        self._reset_hits()
        self.verdict = OK
        self.offset = self.needed = self.elements = 0
        self.last_tag = 0
        self.stopped = False
        self.fault = OK
        self.content_end = -1
        self.data_class_length = -1
        self.data_class_offset = 0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _walk(
        self,
        pos: cython.longlong,
        end: cython.longlong,
        node: cython.int,
        level: cython.int,
        depth: cython.int,
        implicit: cython.bint,
        big: cython.bint,
        scope: cython.int,
    ) -> cython.longlong:
        """Walk one data set; the offset after it, or -1 with a verdict.

        ``end`` is where the item that holds it ends, _ENDLESS for the outermost and for items of undefined length.
        ``node`` is -1 where nothing inside is wanted; ``level`` is the depth in the trie, ``depth`` that in the file.
        """
        start: cython.longlong
        value: cython.longlong
        length: cython.longlong
        raw_length: cython.uint
        tag: cython.uint
        last: cython.uint = 0
        flags: cython.int
        entry: cython.int = 0
        entry_end: cython.int = 0
        found: cython.int
        first: cython.uint
        second: cython.uint
        privates: cython.bint = False
        wanted: cython.uint = 0xFFFFFFFF  # the next wanted tag; none is above the stop tag
        size: cython.longlong = self.size
        data: cython.p_uchar = cython.address(self.buf[0])  # each read below is guarded by a comparison with ``size``
        at: cython.p_uchar
        word: cython.uint
        vr: cython.int
        last_start: cython.longlong = min(size, end) - 8
        if node >= 0:
            entry = self.node_lo[node]
            entry_end = self.node_hi[node]
            if entry < entry_end:
                wanted = self.entry_tag[entry]
            privates = self.private_hi[node] > self.private_lo[node]
            if privates:
                self._forget_owners(level)
        while True:
            start = pos
            if pos > last_start:
                if depth == 0 and last > self.last_tag:
                    self.last_tag = last
                return self._end(pos, end, depth, big)
            at = data + pos
            if big:
                tag = (self._u16(pos, big) << 16) | self._u16(pos + 2, big)
            else:
                word = _load_u32(at, False)
                tag = (word << 16) | (word >> 16)
            if cython.cast(cython.uint, tag - 1) >= _ABOVE_STOP:
                if tag == _ITEM_END and depth > 0:
                    return pos + 8
                if tag == _ITEM and depth == 0:
                    pos = self._skip_stray_item(start, big)
                    if pos < 0:
                        return -1
                    continue
                if tag == _ITEM or tag == _ITEM_END or tag == _SEQUENCE_END:
                    self._fail(BAD_ELEMENT, start)
                    return -1
                if depth == 0 and (tag != 0 or self._only_zeros(pos)):
                    if last > self.last_tag:
                        self.last_tag = last
                    self.stopped = tag != 0 and self._is_stop(pos, tag, implicit)
                    if tag != 0 and not self.stopped and self.fault == OK:
                        self.fault = BAD_ELEMENT
                        self.fault_offset = pos
                    self.offset = pos
                    return pos
            self.elements += 1
            if self.elements > self.max_elements:
                self._fail(LIMIT_ELEMENTS, start)
                return -1
            pos += 8
            flags = -1
            if not implicit:
                first = cython.cast(cython.uint, at[4]) - 65
                second = cython.cast(cython.uint, at[5]) - 65
                if first < 26 and second < 26:
                    flags = self.vr_flags[first * 26 + second]
                elif self._is_placeholder(start + 4):
                    flags = 0
            if flags < 0:  # implicit VR; or no VR in an explicit data set: this element was written as implicit
                raw_length = _load_u32(at + 4, big)
            elif flags & LONG_VR:
                if pos + 4 > size:
                    return self._cut(start, pos + 4, end)
                raw_length = _load_u32(at + 8, big)
                pos += 4
            elif big:
                raw_length = self._u16(start + 6, big)
            else:
                raw_length = at[6] | (cython.cast(cython.uint, at[7]) << 8)
            value = pos
            # is this a wanted entry?  Tags ascend, so the pointer does; a tag out of order starts a search
            found = -1
            if node >= 0 and (tag >= wanted or tag < last):
                if tag < last:
                    if depth == 0 and last > self.last_tag:
                        self.last_tag = last
                    entry = self._search(tag, self.node_lo[node], entry_end)
                else:
                    while entry < entry_end and self.entry_tag[entry] < tag:
                        entry += 1
                wanted = self.entry_tag[entry] if entry < entry_end else 0xFFFFFFFF
                if wanted == tag:
                    found = entry
            last = tag
            if tag == _DIRECTORY_RECORDS and depth == 0:
                self._fail(DICOMDIR, start)
                return -1
            if privates and (tag >> 16) & 1:
                found = self._private(node, level, tag, value, raw_length)
            if raw_length == _UNDEFINED:
                pos = self._undefined(start, value, end, found, level, depth, implicit, big, flags, scope)
                if pos < 0:
                    return -1
                continue
            length = raw_length
            pos = value + length
            if pos > end:
                self._fail(BAD_LENGTH, start)
                return -1
            if pos > size:
                return self._short(start, pos + 16)
            if node < 0:
                continue
            if tag == _CHARSET:
                self.scope_offset[scope] = value
                self.scope_length[scope] = length
            elif tag == _PIXEL_REPRESENTATION and length == 2:
                self.scope_signed[scope] = (self.buf[value] | self.buf[value + 1]) == 1
            elif tag == _SOP_CLASS and depth == 0:
                self.data_class_offset = value
                self.data_class_length = length
            if found < 0:
                continue
            vr = (cython.cast(cython.int, at[4]) << 8) | at[5] if flags >= 0 else self.entry_vr[found]
            self._hit(found, value, length, vr, big, scope)
            if self.entry_child_lo[found] < self.entry_child_hi[found]:
                self._forget_inner(found, level, True)
                if length == 0 or (flags > 0 and not (flags & ITEMS_VR)):
                    continue
                if self._items(value, pos, found, level, depth, implicit, big, flags, scope) < 0:
                    if not self._tolerate(found, level):
                        return -1

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _end(self, pos: cython.longlong, end: cython.longlong, depth: cython.int, big: cython.bint) -> cython.longlong:
        """No further element fits: the end of the data set, or a fault."""
        if pos == end:
            return pos
        # padding; but the first byte of a tag may be a zero as well (5200,9229), and that would be a cut
        if depth == 0 and (pos == self.size or (not big and pos + 1 < self.size)) and self._only_zeros(pos):
            self.offset = pos
            return pos
        return self._cut(pos, pos + 8, end)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _is_stop(self, pos: cython.longlong, tag: cython.uint, implicit: cython.bint) -> cython.bint:
        """Whether an element begins here; a wrong length leads into the middle of a value, where any tag may seem to stand.

        Above (7FFF,FFFF) there are signatures, padding and private elements (PS3.6 chapter 6).
        """
        group: cython.uint = tag >> 16
        if group < 0x8000 or group == 0xFFFA or group == 0xFFFC:
            return True
        return group & 1 != 0 and group != 0xFFFF if implicit else self._flags(pos + 4) > 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _cut(self, start: cython.longlong, needed: cython.longlong, end: cython.longlong) -> cython.longlong:
        """The element at ``start`` reaches to ``needed``: past what holds it, or past the buffer."""
        if needed > end:
            self._fail(BAD_LENGTH, start)
            return -1
        return self._short(start, needed)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _skip_stray_item(self, start: cython.longlong, big: cython.bint) -> cython.longlong:
        """An item whose sequence is gone: what follows it can be read; what it holds belongs to nothing that is known.

        Without a length nobody can say where it ends, and its elements would pass for the data set's.
        """
        length: cython.uint = self._u32(start + 4, big)
        if length == 0 or length == _UNDEFINED:
            self._fail(BAD_ELEMENT, start)
            return -1
        self.elements += 1
        if self.elements > self.max_elements:
            self._fail(LIMIT_ELEMENTS, start)
            return -1
        if start + 8 + length > self.size:
            return self._short(start, start + 24 + length)
        if self.fault == OK:
            self.fault = BAD_ELEMENT
            self.fault_offset = start
        return start + 8 + length

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _tolerate(self, found: cython.int, level: cython.int) -> cython.bint:
        """A sequence of defined length that cannot be walked costs what is in it; what follows can still be read."""
        if self.verdict == LIMIT_ELEMENTS or self.verdict == NEED_MORE:
            return False
        if self.fault == OK:
            self.fault = self.verdict
            self.fault_offset = self.offset
        self.verdict = OK
        self._forget_inner(found, level, False)
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _undefined(
        self,
        start: cython.longlong,
        value: cython.longlong,
        end: cython.longlong,
        found: cython.int,
        level: cython.int,
        depth: cython.int,
        implicit: cython.bint,
        big: cython.bint,
        flags: cython.int,
        scope: cython.int,
    ) -> cython.longlong:
        """An element of undefined length: items or fragments up to a sequence delimiter (PS3.5 7.5, A.4)."""
        pos: cython.longlong
        vr: cython.int
        if found >= 0:
            self._forget_inner(found, level, True)
        pos = self._items(value, end, found, level, depth, implicit, big, flags, scope)
        if pos >= 0 and found >= 0:
            vr = self._vr(start, flags, found)
            if self.entry_vr[found] != VR_SQ:
                vr = VR_SQ  # items are no value of any other VR
            self._hit(found, value, pos - self.delimiter - value, vr, big, scope)
        return pos

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _items(
        self,
        pos: cython.longlong,
        end: cython.longlong,
        found: cython.int,
        level: cython.int,
        depth: cython.int,
        implicit: cython.bint,
        big: cython.bint,
        flags: cython.int,
        scope: cython.int,
    ) -> cython.longlong:
        """Walk the items of a sequence, or fragments; the offset after them, or -1 with a verdict.

        ``end`` is where the sequence ends, or, if its length is undefined, where what holds it ends.
        """
        tag: cython.uint
        raw_length: cython.uint
        item: cython.int = 0
        node: cython.int
        item_end: cython.longlong
        inner: cython.int
        start: cython.longlong
        lists: cython.bint = found >= 0 and self.entry_list_lo[found] < self.entry_list_hi[found]
        before: cython.longlong
        fragments: cython.bint = flags > 0 and (flags & FRAGMENTS_VR) != 0
        if depth + 1 > self.max_depth:
            self._fail(LIMIT_DEPTH, pos)
            return -1
        if flags > 0 and flags & UN_VR:
            big = False  # a sequence hidden in UN is implicit little endian (PS3.5 6.2.2)
            implicit = True
        while True:
            if pos == end:  # also where a delimiter is missing, if what holds the sequence ends here
                self.delimiter = 0
                if lists:
                    self._count_items(found, level, item)
                return pos
            if pos + 8 > end or pos + 8 > self.size:
                return self._cut(pos, pos + 8, end)
            start = pos
            tag = (self._u16(pos, big) << 16) | self._u16(pos + 2, big)
            raw_length = self._u32(pos + 4, big)
            pos += 8
            if tag == _SEQUENCE_END:
                self.delimiter = 8
                if lists:
                    self._count_items(found, level, item)
                return pos
            if tag != _ITEM or (raw_length == _UNDEFINED and fragments):
                self._fail(BAD_SEQUENCE, start)
                return -1
            self.elements += 1
            if self.elements > self.max_elements:
                self._fail(LIMIT_ELEMENTS, start)
                return -1
            node = -1 if fragments else self._child(found, item)
            before = self.found_count
            if lists:
                self.item_at[level] = item
            item += 1
            item_end = end  # an item of undefined length may lack its delimiter at the end of what holds it
            if raw_length != _UNDEFINED:
                item_end = pos + raw_length
                if item_end > end:
                    self._fail(BAD_LENGTH, start)
                    return -1
                if item_end > self.size:
                    return self._short(start, item_end + 16)
                if node < 0:
                    pos = item_end
                    continue
            inner = self._new_scope(scope) if node >= 0 else scope
            if inner < 0:
                self._fail(LIMIT_ELEMENTS, start)
                return -1
            pos = self._item(pos, item_end, node, level + 1, depth + 1, implicit, big, inner)
            if pos < 0:
                return -1
            if raw_length != _UNDEFINED:
                pos = item_end  # an item delimiter inside a defined-length item ends it early
            if inner != scope:
                self._close_scope(inner, scope, found, before)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _item(
        self,
        pos: cython.longlong,
        end: cython.longlong,
        node: cython.int,
        level: cython.int,
        depth: cython.int,
        implicit: cython.bint,
        big: cython.bint,
        scope: cython.int,
    ) -> cython.longlong:
        """Walk the data set of one item; some writers switch to implicit VR inside explicit sequences."""
        length: cython.longlong
        if pos + 8 > end or pos + 8 > self.size:
            return pos if pos == end else self._cut(pos, pos + 8, end)
        if self._u16(pos, big) != 0xFFFE:
            if not implicit:
                implicit = self._flags(pos + 4) < 0
            elif self._flags(pos + 4) > 0:  # two letters may be a length as well, but not one that reaches past the end
                length = self._u32(pos + 4, big)
                if end == _ENDLESS and not self.at_end and length > self.size - pos:
                    return self._short(pos, pos + length)
                implicit = length <= min(end, self.size) - pos
        return self._walk(pos, end, node, level, depth, implicit, big, scope)

    # ---- small steps ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-9, check=False)
    @cython.inline
    def _fail(self, verdict: cython.int, offset: cython.longlong) -> cython.int:
        self.verdict = verdict
        self.offset = offset
        return verdict

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    @cython.inline
    def _short(self, offset: cython.longlong, needed: cython.longlong) -> cython.longlong:
        """The buffer ends inside the element at ``offset``: ask for more, or the file is cut."""
        self.needed = needed
        self._fail(TRUNCATED if self.at_end else NEED_MORE, offset)
        return -1

    @cython.cfunc
    @cython.exceptval(0xFFFFFFFF, check=True)
    @cython.inline
    def _u16(self, pos: cython.longlong, big: cython.bint) -> cython.uint:
        a: cython.uint = self.buf[pos]
        b: cython.uint = self.buf[pos + 1]
        return (a << 8) | b if big else a | (b << 8)

    @cython.cfunc
    @cython.exceptval(0xFFFFFFFF, check=True)
    @cython.inline
    def _u32(self, pos: cython.longlong, big: cython.bint) -> cython.uint:
        if big:
            return (self._u16(pos, big) << 16) | self._u16(pos + 2, big)
        return self._u16(pos, big) | (self._u16(pos + 2, big) << 16)

    @cython.cfunc
    @cython.exceptval(-2, check=False)
    @cython.inline
    def _flags(self, pos: cython.longlong) -> cython.int:
        """Flags of the VR at ``pos``; 0 for letters that are no VR, -1 if these are no letters but a length."""
        a: cython.int = cython.cast(cython.int, self.buf[pos]) - 65
        b: cython.int = cython.cast(cython.int, self.buf[pos + 1]) - 65
        if a < 0 or a > 25 or b < 0 or b > 25:
            return 0 if self._is_placeholder(pos) else -1
        return self.vr_flags[a * 26 + b]

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _is_placeholder(self, pos: cython.longlong) -> cython.bint:
        """Whether ``??`` or two spaces stand for a VR, which some writers put where they know none; a 16-bit length follows."""
        return self.buf[pos] == self.buf[pos + 1] and (self.buf[pos] == 63 or self.buf[pos] == 32)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    @cython.inline
    def _vr(self, start: cython.longlong, flags: cython.int, entry: cython.int) -> cython.int:
        """The VR's two letters as a number; the dictionary's where the file has none."""
        if flags >= 0:
            return (cython.cast(cython.int, self.buf[start + 4]) << 8) | self.buf[start + 5]
        return self.entry_vr[entry]

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _search(self, tag: cython.uint, low: cython.int, high: cython.int) -> cython.int:
        middle: cython.int
        while low < high:
            middle = (low + high) // 2
            if self.entry_tag[middle] < tag:
                low = middle + 1
            else:
                high = middle
        return low

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _child(self, found: cython.int, item: cython.int) -> cython.int:
        """The trie's node for this item of the sequence; -1 where nothing in it is wanted."""
        child: cython.int
        if found < 0:
            return -1
        for child in range(self.entry_child_lo[found], self.entry_child_hi[found]):
            if self.child_item[child] == item or self.child_item[child] == _ALL_ITEMS:
                return self.child_node[child]
        return -1

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _only_zeros(self, pos: cython.longlong) -> cython.bint:
        """True at the exact end of the file, or if only padding zeros are left."""
        if not self.at_end:
            return False
        if self.content_end < 0:  # looked for once: zeros in between must not cost more
            self.content_end = self.size
            while self.content_end > 0 and self.buf[self.content_end - 1] == 0:
                self.content_end -= 1
        return pos >= self.content_end
