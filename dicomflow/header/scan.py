# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False, cdivision=True
"""The hot loop: walk the elements of one header and note where each wanted value lies.  Compiled with Cython.

In: a buffer that starts with the first byte of a file, the wanted paths as tables (``header.paths``).
Out: a verdict and, for each wanted leaf, offset, length and VR of its value (``Hits``).
Knows no files, no values: only how a file begins (PS3.10 chapter 7); the elements are ``scan_walk``'s, the hits ``scan_hits``'.

``scan`` is sans-I/O: it either ends with a verdict or says how many bytes it needs and is called again, from the start,
with a longer buffer.  Wanted paths form a trie: a node holds the sorted tags that matter inside one data set; all else is
skipped by its length and nothing is built per element.
"""

import cython
from cython.cimports.dicomflow.header.scan_walk import (
    DEFLATED,
    DICOMDIR,
    EMPTY_FILE,
    LIMIT_ELEMENTS,
    LONG_VR,
    NEED_MORE,
    NO_DICOM_HEADER,
    OK,
    UNREADABLE,
    ElementWalk,
)
from cython.cimports.libc.string import memcmp

_ENDLESS = cython.declare(cython.longlong, 1 << 62)


@cython.cclass
class Scanner(ElementWalk):
    """Scan headers against one set of wanted paths.

    Args:
        tables: the compiled paths (``header.paths.ScanTables``).
        hits: where the result of a scan is noted (``header.paths.Hits``).
        max_elements: limit of elements per header, nested ones included.
        max_depth: limit of nested sequences.
    """

    stop = cython.declare(cython.longlong, visibility="readonly")
    whole = cython.declare(cython.bint, visibility="readonly")
    syntax_differs = cython.declare(cython.bint, visibility="readonly")
    remarkable = cython.declare(cython.bint, visibility="readonly")
    known_tags: cython.uchar[:, ::1]
    # file meta information
    syntax_offset: cython.longlong
    syntax_length: cython.longlong
    class_offset: cython.longlong
    class_length: cython.longlong

    def __init__(self, tables, hits, max_elements: int, max_depth: int):
        ElementWalk.__init__(self, tables, hits, max_elements, max_depth)
        self.known_tags = tables.known_tags

    @cython.cdivision(True)
    def scan(self, size: cython.longlong, at_end: cython.bint, inflated: cython.longlong = -1) -> int:
        """Scan the header in the first ``size`` bytes of the buffer; return a verdict (``header.verdict``).

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
        self.keep_owners = False
        self._reset()
        self._scan(inflated)
        if self.late_owner and self.verdict != NEED_MORE:
            self.keep_owners = True
            self._reset()
            self._scan(inflated)
        self.whole = self.verdict == OK
        self.stop = self.offset
        if self.fault != OK and self.verdict != NEED_MORE and self.verdict != DICOMDIR:
            self._fail(self.fault, self.fault_offset)
        self.remarkable = self.syntax_differs or self.repeated
        self._resolve_ambiguous()
        return self.verdict

    @cython.cfunc
    @cython.exceptval(-9, check=False)
    def _scan(self, inflated: cython.longlong) -> cython.int:
        pos: cython.longlong
        if self.size == 0 and self.at_end:
            return self._fail(EMPTY_FILE, 0)
        pos = self._begin()
        if pos < 0:
            return self.verdict
        if self._is(self.class_offset, self.class_length, b"1.2.840.10008.1.3.10"):
            return self._fail(DICOMDIR, pos)
        return self._scan_data_set(pos, inflated)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _reset(self) -> cython.int:
        self._reset_walk()
        self.syntax_differs = False
        self.syntax_length = self.class_length = -1
        self.syntax_offset = self.class_offset = 0
        return 0

    # ---- where the data set begins -------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=True)
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
        self._fail(NO_DICOM_HEADER, 0)
        return -1

    @cython.cfunc
    @cython.exceptval(-1, check=False)
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
    @cython.exceptval(-1, check=True)
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
            elif flags & LONG_VR:
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
                self._fail(LIMIT_ELEMENTS, pos)
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
    @cython.exceptval(-9, check=False)
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
                return self._fail(DEFLATED, pos)
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
                return self._fail(UNREADABLE, pos)
        elif self.buf[pos] != 0 and self.buf[pos + 1] != 0:  # neither order gives a group that data sets begin with
            big = declared == 2
        else:
            big = self._u16(pos, True) < self._u16(pos, False)
        if declared >= 0 and (implicit != (declared == 0) or big != (declared == 2)):
            self.syntax_differs = True
        self._walk(pos, _ENDLESS, 0, 0, 0, implicit, big, 0)
        return self.verdict

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _is_plain(self, pos: cython.longlong) -> cython.bint:
        """Whether an element stands where a deflated stream is declared."""
        return pos + 8 <= self.size and self._u16(pos, False) == 8 and self._flags(pos + 4) > 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
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
    @cython.exceptval(-1, check=True)
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
