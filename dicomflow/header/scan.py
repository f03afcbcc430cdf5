# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False, cdivision=True
"""The hot loop: walk the elements of one header and note where each wanted value lies.  Compiled with Cython.

In: a buffer that starts with the first byte of a file, the wanted paths as tables (``header.paths``).
Out: a verdict and, for each wanted leaf, offset, length and VR of its value (``Hits``).
Knows no files, no values: only how elements are laid out (PS3.5 chapter 7, PS3.10 chapter 7).

``scan`` is sans-I/O: it either ends with a verdict or says how many bytes it needs and is called again, from the start,
with a longer buffer.  Wanted paths form a trie: a node holds the sorted tags that matter inside one data set; all else is
skipped by its length and nothing is built per element.  Bounds checks stay on: the input is hostile.
"""

import cython
import numpy as np
from cython.cimports.libc.string import memcmp, memcpy

_OK = cython.declare(cython.int, 0)
_NEED_MORE = cython.declare(cython.int, 1)
_TRUNCATED = cython.declare(cython.int, 2)
_BAD_LENGTH = cython.declare(cython.int, 3)
_BAD_SEQUENCE = cython.declare(cython.int, 4)
_BAD_ELEMENT = cython.declare(cython.int, 5)
_LIMIT_ELEMENTS = cython.declare(cython.int, 6)
_LIMIT_DEPTH = cython.declare(cython.int, 7)
_EMPTY_FILE = cython.declare(cython.int, 8)
_NO_DICOM_HEADER = cython.declare(cython.int, 9)
_DICOMDIR = cython.declare(cython.int, 10)
_DEFLATED = cython.declare(cython.int, 11)
_UNREADABLE = cython.declare(cython.int, 12)

_ITEM = cython.declare(cython.uint, 0xFFFEE000)
_ITEM_END = cython.declare(cython.uint, 0xFFFEE00D)
_SEQUENCE_END = cython.declare(cython.uint, 0xFFFEE0DD)
_STOP_TAG = cython.declare(cython.uint, 0x7FE00008)
_ABOVE_STOP = cython.declare(cython.uint, 0x7FE00007)  # ``tag - 1`` is at least this for the stop tag and for tag 0
_DIRECTORY_RECORDS = cython.declare(cython.uint, 0x00041220)
_CHARSET = cython.declare(cython.uint, 0x00080005)
_SOP_CLASS = cython.declare(cython.uint, 0x00080016)
_PIXEL_REPRESENTATION = cython.declare(cython.uint, 0x00280103)
_UNDEFINED = cython.declare(cython.uint, 0xFFFFFFFF)
_ENDLESS = cython.declare(cython.longlong, 1 << 62)

# bits of vr_flags
_KNOWN = cython.declare(cython.int, 1)
_LONG = cython.declare(cython.int, 2)  # two reserved bytes, then a 32-bit length (PS3.5 7.1.2)
_ITEMS = cython.declare(cython.int, 4)  # SQ and UN: may hold items (PS3.5 6.2.2)
_UN = cython.declare(cython.int, 8)
_FRAGMENTS = cython.declare(cython.int, 16)  # of undefined length: fragments, not data sets (PS3.5 A.4)

_VR_SQ = cython.declare(cython.int, 0x5351)
_VR_UN = cython.declare(cython.int, 0x554E)
_VR_US = cython.declare(cython.int, 0x5553)
_VR_SS = cython.declare(cython.int, 0x5353)
_BIG = cython.declare(cython.int, 0x10000)  # bit of ``hit_vr``: the value is big endian

_ALL_ITEMS = cython.declare(cython.int, -1)
# columns of ``found``: which list leaf and item, where the value lies, its VR, its scope
_WHICH = cython.declare(cython.int, 0)
_OFFSET = cython.declare(cython.int, 1)
_LENGTH = cython.declare(cython.int, 2)
_VR = cython.declare(cython.int, 3)
_SCOPE = cython.declare(cython.int, 4)
_MANY_ROWS = cython.declare(cython.longlong, 1 << 18)
_MAX_CHARSET = cython.declare(cython.longlong, 1024)  # all defined terms together are shorter
_ITEM_BITS = cython.declare(cython.int, 32)
_RECORD = cython.declare(cython.longlong, 12)  # bytes before the charset and the value of an item (``header.items``)


@cython.cclass
class Scanner:
    """Scan headers against one set of wanted paths.

    Args:
        tables: the compiled paths (``header.paths.ScanTables``).
        hits: where the result of a scan is noted (``header.paths.Hits``).
        max_elements: limit of elements per header, nested ones included.
        max_depth: limit of nested sequences.
    """

    buf: cython.uchar[::1]
    size: cython.longlong
    at_end: cython.bint
    verdict: cython.int
    offset = cython.declare(cython.longlong, visibility="readonly")
    needed = cython.declare(cython.longlong, visibility="readonly")
    stop = cython.declare(cython.longlong, visibility="readonly")
    stopped = cython.declare(cython.bint, visibility="readonly")
    whole = cython.declare(cython.bint, visibility="readonly")
    elements = cython.declare(cython.longlong, visibility="readonly")
    last_tag = cython.declare(cython.uint, visibility="readonly")
    syntax_differs = cython.declare(cython.bint, visibility="readonly")
    repeated = cython.declare(cython.bint, visibility="readonly")
    remarkable = cython.declare(cython.bint, visibility="readonly")
    fault: cython.int  # the first one that did not end the walk
    fault_offset: cython.longlong
    content_end: cython.longlong
    delimiter: cython.longlong
    max_elements: cython.longlong
    max_depth: cython.int
    # the trie
    node_lo: cython.int[::1]
    node_hi: cython.int[::1]
    entry_tag: cython.uint[::1]
    entry_vr: cython.int[::1]
    entry_leaf: cython.int[::1]
    entry_own_lo: cython.int[::1]
    entry_own_hi: cython.int[::1]
    entry_child_lo: cython.int[::1]
    entry_child_hi: cython.int[::1]
    entry_leaf_lo: cython.int[::1]
    entry_leaf_hi: cython.int[::1]
    entry_list_lo: cython.int[::1]
    entry_list_hi: cython.int[::1]
    child_item: cython.int[::1]
    child_node: cython.int[::1]
    ambiguous: cython.int[::1]
    own_list: cython.int[::1]
    inner_list: cython.int[::1]
    list_level: cython.int[::1]
    list_ambiguous: cython.int[::1]
    private_lo: cython.int[::1]
    private_hi: cython.int[::1]
    private_group: cython.int[::1]
    private_low: cython.int[::1]
    private_creator: cython.int[::1]
    private_entry: cython.int[::1]
    creators: list
    owners: cython.int[:, :, ::1]
    group_slot: cython.int[::1]
    known_tags: cython.uchar[:, ::1]
    vr_flags: cython.uchar[::1]
    # the hits
    hit_offset: cython.longlong[::1]
    hit_length: cython.longlong[::1]
    hit_vr: cython.int[::1]
    hit_scope: cython.int[::1]
    hit_twice: cython.uchar[::1]
    scopes: cython.int
    scope_parent: cython.int[::1]
    scope_offset: cython.longlong[::1]
    scope_length: cython.longlong[::1]
    scope_signed: cython.int[::1]
    # the hits of list leaves
    found: cython.longlong[:, ::1]
    found_count: cython.longlong
    list_from: cython.longlong[::1]  # the first row of ``found`` that counts
    list_last: cython.longlong[::1]  # the last one
    list_items: cython.longlong[::1]  # how many items the sequence has
    item_at: cython.longlong[::1]  # by level: which item is walked
    # file meta information
    syntax_offset: cython.longlong
    syntax_length: cython.longlong
    class_offset: cython.longlong
    class_length: cython.longlong
    data_class_offset: cython.longlong  # SOPClassUID of the data set
    data_class_length: cython.longlong

    def __init__(self, tables, hits, max_elements: int, max_depth: int):
        self.max_elements = max_elements
        self.max_depth = max_depth
        self.node_lo = tables.node_lo
        self.node_hi = tables.node_hi
        self.entry_tag = tables.entry_tag
        self.entry_vr = tables.entry_vr
        self.entry_leaf = tables.entry_leaf
        self.entry_own_lo = tables.entry_own_lo
        self.entry_own_hi = tables.entry_own_hi
        self.entry_child_lo = tables.entry_child_lo
        self.entry_child_hi = tables.entry_child_hi
        self.entry_leaf_lo = tables.entry_leaf_lo
        self.entry_leaf_hi = tables.entry_leaf_hi
        self.entry_list_lo = tables.entry_list_lo
        self.entry_list_hi = tables.entry_list_hi
        self.child_item = tables.child_item
        self.child_node = tables.child_node
        self.ambiguous = tables.ambiguous
        self.own_list = tables.own_list
        self.inner_list = tables.inner_list
        self.list_level = tables.list_level
        self.list_ambiguous = tables.list_ambiguous
        self.found = np.zeros((1, 5), np.int64)
        self.list_from = np.zeros(max(1, tables.lists), np.int64)
        self.list_last = np.zeros(max(1, tables.lists), np.int64)
        self.list_items = np.zeros(max(1, tables.lists), np.int64)
        self.item_at = np.zeros(hits.owners.shape[0] + 1, np.int64)
        self.private_lo = tables.private_lo
        self.private_hi = tables.private_hi
        self.private_group = tables.private_group
        self.private_low = tables.private_low
        self.private_creator = tables.private_creator
        self.private_entry = tables.private_entry
        self.creators = list(tables.creators)
        self.owners = hits.owners
        self.group_slot = tables.group_slot
        self.known_tags = tables.known_tags
        self.vr_flags = tables.vr_flags
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

    @cython.cdivision(True)
    def scan(self, size: cython.longlong, at_end: cython.bint, inflated: cython.longlong = -1) -> int:
        """Scan the header in the first ``size`` bytes of the buffer; return a verdict (``header.reader.VERDICTS``).

        Args:
            size: bytes of the buffer that hold data.
            at_end: True if the file ends there; else the verdict may be NEED_MORE, with ``needed`` set.
            inflated: for a deflated data set that was inflated into the buffer: the offset where it begins.

        Afterwards ``offset`` is where the verdict applies and ``stop`` where the header ends; ``whole`` says that the walk
        came to its end (in spite of faults inside sequences), ``stopped`` that this end is a stop tag.
        """
        if size > self.buf.shape[0]:
            raise ValueError("size is beyond the buffer")
        self.size = size
        self.at_end = at_end
        self._reset()
        self._scan(inflated)
        self.whole = self.verdict == _OK
        self.stop = self.offset
        if self.fault != _OK and self.verdict != _NEED_MORE and self.verdict != _DICOMDIR:
            self._fail(self.fault, self.fault_offset)
        self.remarkable = self.syntax_differs or self.repeated
        self._resolve_ambiguous()
        return self.verdict

    @cython.cfunc
    def _scan(self, inflated: cython.longlong) -> cython.int:
        pos: cython.longlong
        if self.size == 0 and self.at_end:
            return self._fail(_EMPTY_FILE, 0)
        pos = self._begin()
        if pos < 0:
            return self.verdict
        if self._is(self.class_offset, self.class_length, b"1.2.840.10008.1.3.10"):
            return self._fail(_DICOMDIR, pos)
        return self._scan_data_set(pos, inflated)

    @cython.cfunc
    def _reset(self) -> cython.void:
        leaf: cython.int
        for leaf in range(self.hit_length.shape[0]):
            self.hit_length[leaf] = -1
            self.hit_twice[leaf] = 0
        for leaf in range(self.list_items.shape[0]):
            self.list_items[leaf] = self.list_from[leaf] = 0
            self.list_last[leaf] = -1
        self.found_count = 0
        if self.found.shape[0] > _MANY_ROWS:  # one giant header must not cost its memory for ever
            self.found = np.zeros((256, 5), np.int64)
        self.verdict = _OK
        self.offset = self.needed = self.elements = 0
        self.last_tag = 0
        self.data_class_length = -1
        self.data_class_offset = 0
        self.syntax_differs = self.repeated = self.stopped = False
        self.fault = _OK
        self.content_end = -1
        self.scopes = 1
        self.scope_parent[0] = -1
        self.scope_length[0] = -1
        self.scope_signed[0] = -1
        self.syntax_length = self.class_length = -1
        self.syntax_offset = self.class_offset = 0

    @cython.cfunc
    @cython.inline
    def _fail(self, verdict: cython.int, offset: cython.longlong) -> cython.int:
        self.verdict = verdict
        self.offset = offset
        return verdict

    @cython.cfunc
    @cython.inline
    def _short(self, offset: cython.longlong, needed: cython.longlong) -> cython.longlong:
        """The buffer ends inside the element at ``offset``: ask for more, or the file is cut."""
        self.needed = needed
        self._fail(_TRUNCATED if self.at_end else _NEED_MORE, offset)
        return -1

    @cython.cfunc
    @cython.inline
    def _u16(self, pos: cython.longlong, big: cython.bint) -> cython.uint:
        a: cython.uint = self.buf[pos]
        b: cython.uint = self.buf[pos + 1]
        return (a << 8) | b if big else a | (b << 8)

    @cython.cfunc
    @cython.inline
    def _u32(self, pos: cython.longlong, big: cython.bint) -> cython.uint:
        if big:
            return (self._u16(pos, big) << 16) | self._u16(pos + 2, big)
        return self._u16(pos, big) | (self._u16(pos + 2, big) << 16)

    @cython.cfunc
    @cython.inline
    def _flags(self, pos: cython.longlong) -> cython.int:
        """Flags of the VR at ``pos``; 0 for two capitals that are no VR, -1 if these are not two capitals."""
        a: cython.int = cython.cast(cython.int, self.buf[pos]) - 65
        b: cython.int = cython.cast(cython.int, self.buf[pos + 1]) - 65
        if a < 0 or a > 25 or b < 0 or b > 25:
            return -1
        return self.vr_flags[a * 26 + b]

    @cython.cfunc
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

    # ---- where the data set begins -------------------------------------------------------------------------------

    @cython.cfunc
    def _begin(self) -> cython.longlong:
        """Sniff, read the file meta information; the offset of the data set, or -1 with a verdict."""
        pos: cython.longlong
        if self.size < 140 and not self.at_end:
            return self._short(0, 140)
        if self.size >= 132 and memcmp(cython.address(self.buf[128]), b"DICM", 4) == 0:
            return self._scan_meta(132)
        for pos in range(0, 129, 128):
            if self._plausible(pos):
                if self._u16(pos, False) == 2:
                    return self._scan_meta(pos)
                return pos
        self._fail(_NO_DICOM_HEADER, 0)
        return -1

    @cython.cfunc
    def _plausible(self, pos: cython.longlong) -> cython.bint:
        """Could a known element of group 0002 or 0008 begin here?  For files without preamble and ``DICM``."""
        group: cython.uint
        flags: cython.int
        big: cython.bint
        if pos + 8 > self.size:
            return False
        big = self._u16(pos, False) == 0x0800
        group = self._u16(pos, big)
        if group != 2 and group != 8:
            return False
        if not self.known_tags[0 if group == 2 else 1, self._u16(pos + 2, big)]:
            return False
        flags = self._flags(pos + 4)
        if flags > 0:
            return True
        return not big and self._u32(pos + 4, False) <= 1024

    @cython.cfunc
    def _scan_meta(self, pos: cython.longlong) -> cython.longlong:
        """Walk group 0002 (explicit little endian; its group length is not trusted); the end of it, or -1."""
        tag: cython.uint
        flags: cython.int
        length: cython.longlong
        value: cython.longlong
        entry: cython.int
        while True:
            if pos + 8 > self.size:
                if self.at_end and pos == self.size:
                    return pos
                return self._short(pos, pos + 8)
            tag = (self._u16(pos, False) << 16) | self._u16(pos + 2, False)
            if tag >> 16 != 2:
                return pos
            flags = self._flags(pos + 4)
            value = pos + 8
            if flags < 0:  # file meta written as implicit VR
                length = self._u32(pos + 4, False)
            elif flags & _LONG:
                if pos + 12 > self.size:
                    return self._short(pos, pos + 12)
                length = self._u32(pos + 8, False)
                value = pos + 12
            else:
                length = self._u16(pos + 6, False)
            if value + length > self.size:
                return self._short(pos, value + length + 8)
            self.elements += 1
            if self.elements > self.max_elements:
                self._fail(_LIMIT_ELEMENTS, pos)
                return -1
            if tag == 0x00020010:
                self.syntax_offset = value
                self.syntax_length = length
            elif tag == 0x00020002:
                self.class_offset = value
                self.class_length = length
            entry = self._search(tag, self.node_lo[0], self.node_hi[0])
            if entry < self.node_hi[0] and self.entry_tag[entry] == tag:
                # file meta information is in the default repertoire, whatever the data set declares (PS3.10 7.1)
                self._hit(entry, value, length, self._vr(pos, flags, entry), False, -1)
            pos = value + length

    @cython.cfunc
    def _scan_data_set(self, pos: cython.longlong, inflated: cython.longlong) -> cython.int:
        """Find out how the data set is really encoded (what is there wins over what is declared), then walk it."""
        flags: cython.int
        implicit: cython.bint
        big: cython.bint = False
        declared: cython.int = self._declared()
        if declared == 3 and inflated < 0:
            if pos + 8 > self.size and not self.at_end:
                self._short(pos, pos + 8)
                return self.verdict
            if not self._is_plain(pos):
                return self._fail(_DEFLATED, pos)
            self.syntax_differs = True
        if inflated >= 0:
            pos = inflated
        pos = self._skip_command_set(pos)
        if pos < 0:
            return self.verdict
        if pos + 8 > self.size:
            self._short(pos, pos + 8)
            return self.verdict
        flags = self._flags(pos + 4)
        implicit = flags <= 0 and not (flags == 0 and (declared == 1 or declared == 2 or declared == 3))
        if implicit:
            if self._u16(pos, True) < self._u16(pos, False) and self._u32(pos + 4, False) > 0xFFFFFF:
                return self._fail(_UNREADABLE, pos)
        elif self.buf[pos] != 0 and self.buf[pos + 1] != 0:  # neither order gives a group that data sets begin with
            big = declared == 2
        else:
            big = self._u16(pos, True) < self._u16(pos, False)
        if declared >= 0 and (implicit != (declared == 0) or big != (declared == 2)):
            self.syntax_differs = True
        self._walk(pos, _ENDLESS, 0, 0, 0, implicit, big, 0)
        return self.verdict

    @cython.cfunc
    def _is_plain(self, pos: cython.longlong) -> cython.bint:
        """Whether an element stands where a deflated stream is declared."""
        return pos + 8 <= self.size and self._u16(pos, False) == 8 and self._flags(pos + 4) > 0

    @cython.cfunc
    def _declared(self) -> cython.int:
        """The transfer syntax as declared: 0 implicit, 1 explicit, 2 big endian, 3 deflated, -1 not declared."""
        offset: cython.longlong = self.syntax_offset
        length: cython.longlong = self.syntax_length
        if length <= 0:
            return -1
        if self._is(offset, length, b"1.2.840.10008.1.2"):
            return 0
        if self._is(offset, length, b"1.2.840.113619.5.2"):  # GE: implicit header, big-endian pixels
            return 0
        if self._is(offset, length, b"1.2.840.10008.1.2.2"):
            return 2
        if self._is(offset, length, b"1.2.840.10008.1.2.1.99"):
            return 3
        return 1

    @cython.cfunc
    def _skip_command_set(self, pos: cython.longlong) -> cython.longlong:
        """Skip group 0000, which some programs leave before the data set (always implicit, PS3.7 6.3.1)."""
        length: cython.longlong
        if pos + 8 > self.size or self._u32(pos, False) != 0 or self._u32(pos + 4, False) != 4:
            return pos
        while pos + 8 <= self.size and self._u16(pos, False) == 0:
            length = self._u32(pos + 4, False)
            if pos + 8 + length > self.size:
                return self._short(pos, pos + 16 + length)
            pos += 8 + length
        return pos

    # ---- the walk ------------------------------------------------------------------------------------------------

    @cython.cfunc
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
            if pos + 8 > size or pos + 8 > end:
                if depth == 0 and last > self.last_tag:
                    self.last_tag = last
                return self._end(pos, end, depth, big)
            at = data + pos
            if big:
                tag = (self._u16(pos, big) << 16) | self._u16(pos + 2, big)
            else:
                tag = (
                    (cython.cast(cython.uint, at[1]) << 24)
                    | (cython.cast(cython.uint, at[0]) << 16)
                    | (cython.cast(cython.uint, at[3]) << 8)
                    | at[2]
                )
            if cython.cast(cython.uint, tag - 1) >= _ABOVE_STOP:
                if tag == _ITEM_END and depth > 0:
                    return pos + 8
                if tag == _ITEM or tag == _ITEM_END or tag == _SEQUENCE_END:
                    self._fail(_BAD_ELEMENT, start)
                    return -1
                if depth == 0 and (tag != 0 or self._only_zeros(pos)):
                    if last > self.last_tag:
                        self.last_tag = last
                    self.stopped = tag != 0
                    self.offset = pos
                    return pos
            self.elements += 1
            if self.elements > self.max_elements:
                self._fail(_LIMIT_ELEMENTS, start)
                return -1
            pos += 8
            flags = -1
            if not implicit:
                first = cython.cast(cython.uint, at[4]) - 65
                second = cython.cast(cython.uint, at[5]) - 65
                if first < 26 and second < 26:
                    flags = self.vr_flags[first * 26 + second]
            if flags < 0:  # implicit VR; or no VR in an explicit data set: this element was written as implicit
                raw_length = self._u32(start + 4, big)
            elif flags & _LONG:
                if pos + 4 > size:
                    return self._cut(start, pos + 4, end)
                raw_length = self._u32(pos, big)
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
                self._fail(_DICOMDIR, start)
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
                self._fail(_BAD_LENGTH, start)
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
            self._hit(found, value, length, self._vr(start, flags, found), big, scope)
            if self.entry_child_lo[found] < self.entry_child_hi[found]:
                self._forget_inner(found, level)
                if length == 0 or (flags >= 0 and not (flags & _ITEMS)):
                    continue
                if self._items(value, pos, found, level, depth, implicit, big, flags, scope) < 0:
                    if not self._tolerate(found, level):
                        return -1

    @cython.cfunc
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
    def _cut(self, start: cython.longlong, needed: cython.longlong, end: cython.longlong) -> cython.longlong:
        """The element at ``start`` reaches to ``needed``: past what holds it, or past the buffer."""
        if needed > end:
            self._fail(_BAD_LENGTH, start)
            return -1
        return self._short(start, needed)

    @cython.cfunc
    def _tolerate(self, found: cython.int, level: cython.int) -> cython.bint:
        """A sequence of defined length that cannot be walked costs what is in it; what follows can still be read."""
        if self.verdict == _LIMIT_ELEMENTS or self.verdict == _NEED_MORE:
            return False
        if self.fault == _OK:
            self.fault = self.verdict
            self.fault_offset = self.offset
        self.verdict = _OK
        self._forget_inner(found, level)
        return True

    @cython.cfunc
    def _forget_inner(self, found: cython.int, level: cython.int) -> cython.void:
        """A sequence that is there again replaces what it held before; a broken one holds nothing."""
        leaf: cython.int
        place: cython.int
        for leaf in range(self.entry_leaf_lo[found], self.entry_leaf_hi[found]):
            if self.hit_length[leaf] >= 0:
                self.hit_length[leaf] = -1
                self.hit_twice[leaf] = 1
        for place in range(self.entry_list_lo[found], self.entry_list_hi[found]):
            leaf = self.inner_list[place]
            if self.list_level[leaf] < level:  # inside one item of the list's sequence: only this item is empty again
                if self.list_last[leaf] >= 0 and self.found[self.list_last[leaf], _WHICH] == self._which(leaf):
                    self._hit_in_list(leaf, 0, -1, 0, 0)
            else:
                self.list_from[leaf] = self.found_count
                self.list_items[leaf] = 0

    @cython.cfunc
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
            self._forget_inner(found, level)
        pos = self._items(value, end, found, level, depth, implicit, big, flags, scope)
        if pos >= 0 and found >= 0:
            vr = self._vr(start, flags, found)
            if self.entry_vr[found] != _VR_SQ:
                vr = _VR_SQ  # items are no value of any other VR
            self._hit(found, value, pos - self.delimiter - value, vr, big, scope)
        return pos

    @cython.cfunc
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
        before: cython.longlong = 0
        fragments: cython.bint = flags > 0 and (flags & _FRAGMENTS) != 0
        if depth + 1 > self.max_depth:
            self._fail(_LIMIT_DEPTH, pos)
            return -1
        if flags > 0 and flags & _UN:
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
                self._fail(_BAD_SEQUENCE, start)
                return -1
            self.elements += 1
            if self.elements > self.max_elements:
                self._fail(_LIMIT_ELEMENTS, start)
                return -1
            node = -1 if fragments else self._child(found, item)
            if lists:
                self.item_at[level] = item
                before = self.found_count
            item += 1
            item_end = end  # an item of undefined length may lack its delimiter at the end of what holds it
            if raw_length != _UNDEFINED:
                item_end = pos + raw_length
                if item_end > end:
                    self._fail(_BAD_LENGTH, start)
                    return -1
                if item_end > self.size:
                    return self._short(start, item_end + 16)
                if node < 0:
                    pos = item_end
                    continue
            inner = self._new_scope(scope) if node >= 0 else scope
            if inner < 0:
                self._fail(_LIMIT_ELEMENTS, start)
                return -1
            pos = self._item(pos, item_end, node, level + 1, depth + 1, implicit, big, inner)
            if pos < 0:
                return -1
            if raw_length != _UNDEFINED:
                pos = item_end  # an item delimiter inside a defined-length item ends it early
            if lists and inner != scope:
                self._close_scope(inner, scope, found, before)

    @cython.cfunc
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
    def _only_zeros(self, pos: cython.longlong) -> cython.bint:
        """True at the exact end of the file, or if only padding zeros are left."""
        if not self.at_end:
            return False
        if self.content_end < 0:  # looked for once: zeros in between must not cost more
            self.content_end = self.size
            while self.content_end > 0 and self.buf[self.content_end - 1] == 0:
                self.content_end -= 1
        return pos >= self.content_end

    @cython.cfunc
    @cython.inline
    def _vr(self, start: cython.longlong, flags: cython.int, entry: cython.int) -> cython.int:
        """The VR's two letters as a number; the dictionary's where the file has none."""
        if flags >= 0:
            return (cython.cast(cython.int, self.buf[start + 4]) << 8) | self.buf[start + 5]
        return self.entry_vr[entry]

    @cython.cfunc
    @cython.inline
    def _hit(
        self,
        entry: cython.int,
        value: cython.longlong,
        length: cython.longlong,
        vr: cython.int,
        big: cython.bint,
        scope: cython.int,
    ) -> cython.void:
        leaf: cython.int = self.entry_leaf[entry]
        place: cython.int
        for place in range(self.entry_own_lo[entry], self.entry_own_hi[entry]):
            self._hit_in_list(self.own_list[place], value, length, vr | (_BIG if big else 0), scope)
        if leaf < 0:
            return
        if self.hit_length[leaf] >= 0:
            self.hit_twice[leaf] = 1
        if self.hit_twice[leaf]:
            self.repeated = True
        self.hit_offset[leaf] = value
        self.hit_length[leaf] = length
        self.hit_vr[leaf] = vr | (_BIG if big else 0)
        self.hit_scope[leaf] = scope

    @cython.cfunc
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
    def _close_scope(
        self, scope: cython.int, parent: cython.int, found: cython.int, before: cython.longlong
    ) -> cython.void:
        """Give a scope back that has nothing of its own: a sequence may have more items than there are scopes."""
        leaf: cython.int
        row: cython.longlong
        if scope != self.scopes - 1 or self.scope_length[scope] >= 0 or self.scope_signed[scope] >= 0:
            return
        self.scopes -= 1
        for leaf in range(self.entry_leaf_lo[found], self.entry_leaf_hi[found]):
            if self.hit_scope[leaf] == scope:
                self.hit_scope[leaf] = parent
        for row in range(before, self.found_count):
            if self.found[row, _SCOPE] == scope:
                self.found[row, _SCOPE] = parent

    # ---- lists: a value of each item -----------------------------------------------------------------------------

    @cython.cfunc
    def _hit_in_list(
        self,
        number: cython.int,
        value: cython.longlong,
        length: cython.longlong,
        vr: cython.int,
        scope: cython.int,
    ) -> cython.void:
        """Note a value of the item that is walked at the level of the list's sequence."""
        row: cython.longlong = self.found_count
        if row >= self.found.shape[0]:
            grown = np.zeros((max(256, 2 * row), 5), np.int64)
            grown[:row] = self.found[:row]
            self.found = grown
        self.found[row, _WHICH] = self._which(number)
        self.found[row, _OFFSET] = value
        self.found[row, _LENGTH] = length
        self.found[row, _VR] = vr
        self.found[row, _SCOPE] = scope
        self.found_count = row + 1
        self.list_last[number] = row

    @cython.cfunc
    @cython.inline
    def _which(self, number: cython.int) -> cython.longlong:
        """A list leaf and the item that is walked at its level, as one number."""
        return (cython.cast(cython.longlong, number) << _ITEM_BITS) | self.item_at[self.list_level[number]]

    @cython.cfunc
    def _count_items(self, found: cython.int, level: cython.int, items: cython.int) -> cython.void:
        """A sequence came to its end: its lists have so many places."""
        place: cython.int
        for place in range(self.entry_list_lo[found], self.entry_list_hi[found]):
            if self.list_level[self.inner_list[place]] == level:
                self.list_items[self.inner_list[place]] = items

    def take_list(self, number: cython.int, max_bytes: cython.longlong):
        """The values of a list leaf, packed as ``header.items`` reads them, and whether an item had more than one.

        None where no item has a value; None for the values where they would take more than ``max_bytes``.
        """
        items: cython.longlong = self.list_items[number]
        rows_array = np.full(max(1, items), -1, np.int64)
        rows: cython.longlong[::1] = rows_array
        row: cython.longlong
        item: cython.longlong
        total: cython.longlong = _RECORD * items
        repeated: cython.bint = self.list_from[number] > 0
        some: cython.bint = False
        for row in range(self.list_from[number], self.found_count):
            item = self.found[row, _WHICH] & 0xFFFFFFFF
            if self.found[row, _WHICH] >> _ITEM_BITS == number and item < items:
                repeated |= rows[item] >= 0
                rows[item] = row
        for item in range(items):
            if rows[item] >= 0 and self.found[rows[item], _LENGTH] < 0:
                rows[item] = -1
            if rows[item] >= 0:
                some |= self.found[rows[item], _LENGTH] > 0
                total += self.found[rows[item], _LENGTH] + max(0, self._scope_charset_length(rows[item]))
        if not some:
            return None
        if total > max_bytes:
            return None, repeated
        packed = bytearray(total)
        out: cython.uchar[::1] = packed
        pos: cython.longlong = 0
        for item in range(items):
            pos = self._pack(out, pos, rows[item], number)
        return packed, repeated

    @cython.cfunc
    def _pack(
        self, out: cython.uchar[::1], pos: cython.longlong, row: cython.longlong, number: cython.int
    ) -> cython.longlong:
        """One item: u32 length, u32 VR and byte order, u32 length of the charset, charset, value."""
        length: cython.longlong
        charset: cython.longlong
        scope: cython.int
        vr: cython.int
        if row < 0:
            self._put(out, pos, 0xFFFFFFFF, 0, 0xFFFFFFFF)
            return pos + _RECORD
        length = self.found[row, _LENGTH]
        vr = cython.cast(cython.int, self.found[row, _VR])
        scope = cython.cast(cython.int, self.found[row, _SCOPE])
        if self.list_ambiguous[number] and ((vr & 0xFFFF) == 0 or (vr & 0xFFFF) == _VR_UN):
            vr = _VR_SS if self._is_signed(scope) else _VR_US
        charset = self._scope_charset_length(row)
        self._put(
            out,
            pos,
            cython.cast(cython.uint, length),
            cython.cast(cython.uint, vr),
            0xFFFFFFFF if charset < 0 else cython.cast(cython.uint, charset),
        )
        pos += _RECORD
        if charset > 0:
            scope = self._charset_scope(scope)
            memcpy(cython.address(out[pos]), cython.address(self.buf[self.scope_offset[scope]]), charset)
            pos += charset
        if length > 0:
            memcpy(cython.address(out[pos]), cython.address(self.buf[self.found[row, _OFFSET]]), length)
        return pos + length

    @cython.cfunc
    def _put(
        self, out: cython.uchar[::1], pos: cython.longlong, first: cython.uint, second: cython.uint, third: cython.uint
    ) -> cython.void:
        """Three numbers, little endian."""
        place: cython.int
        for place in range(4):
            out[pos + place] = (first >> (8 * place)) & 0xFF
            out[pos + 4 + place] = (second >> (8 * place)) & 0xFF
            out[pos + 8 + place] = (third >> (8 * place)) & 0xFF

    @cython.cfunc
    def _charset_scope(self, scope: cython.int) -> cython.int:
        """The data set whose SpecificCharacterSet is in force (PS3.5 7.5.3); -1 where there is none."""
        while scope >= 0 and self.scope_length[scope] < 0:
            scope = self.scope_parent[scope]
        return scope

    @cython.cfunc
    def _scope_charset_length(self, row: cython.longlong) -> cython.longlong:
        scope: cython.int = self._charset_scope(cython.cast(cython.int, self.found[row, _SCOPE]))
        return -1 if scope < 0 else min(self.scope_length[scope], _MAX_CHARSET)

    @cython.cfunc
    def _is_signed(self, scope: cython.int) -> cython.bint:
        while scope > 0 and self.scope_signed[scope] < 0:
            scope = self.scope_parent[scope]
        return scope >= 0 and self.scope_signed[scope] > 0

    # ---- what the header says of itself --------------------------------------------------------------------------

    def take_sop_class(self) -> bytes:
        """SOPClassUID of the data set, or that of the file meta information; empty where there is none."""
        if self.data_class_length > 0:
            return bytes(self.buf[self.data_class_offset : self.data_class_offset + self.data_class_length])
        return bytes(self.buf[self.class_offset : self.class_offset + max(0, self.class_length)])

    def take_transfer_syntax(self) -> bytes:
        """TransferSyntaxUID as declared; empty where there is none."""
        return bytes(self.buf[self.syntax_offset : self.syntax_offset + max(0, self.syntax_length)])

    def has_pixel_module(self) -> bool:
        """Whether PixelRepresentation (0028,0103) is there, which an image must have (PS3.3 C.7.6.3)."""
        return self.scope_signed[0] >= 0

    @cython.cfunc
    def _resolve_ambiguous(self) -> cython.void:
        """US or SS, where the file does not say: PixelRepresentation in force decides (PS3.5 A.1)."""
        place: cython.int
        leaf: cython.int
        vr: cython.int
        for place in range(self.ambiguous.shape[0]):
            leaf = self.ambiguous[place]
            vr = self.hit_vr[leaf] & 0xFFFF
            if self.hit_length[leaf] < 0 or (vr != _VR_UN and vr != 0):
                continue
            self.hit_vr[leaf] = _VR_SS if self._is_signed(self.hit_scope[leaf]) else _VR_US

    @cython.cfunc
    def _forget_owners(self, level: cython.int) -> cython.void:
        group: cython.int
        block: cython.int
        for group in range(self.owners.shape[1]):
            for block in range(256):
                self.owners[level, group, block] = -1

    @cython.cfunc
    def _private(
        self,
        node: cython.int,
        level: cython.int,
        tag: cython.uint,
        value: cython.longlong,
        length: cython.longlong,
    ) -> cython.int:
        """Note who owns a private block, or find the entry of a private element (PS3.5 7.8.1); -1 if not wanted."""
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
                self.owners[level, slot, low] = owner  # a block has one owner: the one named last
            elif self.private_low[row] == low and self.owners[level, slot, block] == self.private_creator[row]:
                return self.private_entry[row]
        return -1
