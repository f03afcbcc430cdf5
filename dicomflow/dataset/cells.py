# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False, cdivision=True
"""Find one row among the encoded bytes of a Parquet column, passing over the others.  Compiled with Cython.

In: an offset index, a page header, an inflated data page of version 1.  Out: numbers, and places in these bytes.  Knows Thrift's
compact protocol as far as these two structs need it, the hybrid of runs and packed bits (Encodings.md of parquet-format), and
lists of at most one level; no files, no Arrow, no types.

Whatever is not exactly as expected raises ValueError or IndexError, and every place is checked against the end of its bytes.  Each
step consumes a byte or a value, so hostile bytes end the walk soon.
"""

import cython

DATA_PAGE, DICTIONARY_PAGE = 0, 2

_VARINT_BITS = cython.declare(cython.int, 63)
_MAX_VALUES = cython.declare(cython.longlong, 1 << 31)
_MAX_ENTRIES = cython.declare(
    cython.longlong, 1 << 24
)  # of one row: a run of levels takes five bytes, however long it is


@cython.cclass
class Walk:
    """A place in bytes that moves on."""

    data: bytes
    at: cython.Py_ssize_t
    end: cython.Py_ssize_t

    def __cinit__(self, data: bytes, at: cython.longlong, end: cython.longlong):
        if not 0 <= at <= end <= len(data):
            raise ValueError("past the end")
        self.data = data
        self.at = at
        self.end = end

    @cython.cfunc
    @cython.exceptval(-1)
    def byte(self) -> cython.int:
        """The next byte."""
        if self.at >= self.end:
            raise IndexError("past the end")
        value: cython.uchar = self.data[self.at]
        self.at += 1
        return value

    @cython.cfunc
    @cython.exceptval(-1)
    def varint(self) -> cython.longlong:
        """An unsigned number of at most 63 bits."""
        value: cython.longlong = 0
        shift: cython.int = 0
        while True:
            byte: cython.longlong = self.byte()
            if shift + 7 > _VARINT_BITS:
                raise ValueError("a number too long")
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    @cython.cfunc
    @cython.exceptval(-1)
    def expect(self, wanted: cython.int) -> cython.int:
        """This byte stands here."""
        if self.byte() != wanted:
            raise ValueError("another layout")
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def positive(self, head: cython.int) -> cython.longlong:
        """A field with this head: a number that is not negative."""
        self.expect(head)
        value: cython.longlong = self.varint()
        if value & 1:
            raise ValueError("a negative number")
        return value >> 1

    @cython.cfunc
    @cython.exceptval(-1)
    def list_size(self, kind: cython.int) -> cython.longlong:
        """Head of a list of this type."""
        head: cython.int = self.byte()
        if head & 15 != kind:
            raise ValueError("another layout")
        size: cython.longlong = head >> 4
        return self.varint() if size == 15 else size


@cython.cfunc
def _read_pages(walk: Walk) -> list:
    """One OffsetIndex: (first row, offset, end) of each page.  They follow each other."""
    walk.expect(0x19)
    count: cython.longlong = walk.list_size(12)
    pages: list = []
    row: cython.longlong = -1
    end: cython.longlong = -1
    for _ in range(count):
        offset: cython.longlong = walk.positive(0x16)
        size: cython.longlong = walk.positive(0x15)
        begin: cython.longlong = walk.positive(0x16)
        walk.expect(0)
        if begin <= row or (end >= 0 and offset != end) or (row < 0 and begin):
            raise ValueError("pages out of order")
        row = begin
        end = offset + size
        pages.append((begin, offset, end))
    if not pages:
        raise ValueError("no pages")
    head: cython.int = walk.byte()
    if head == 0x19:  # unencoded_byte_array_data_bytes
        for _ in range(walk.list_size(6)):
            walk.varint()
        head = walk.byte()
    if head:
        raise ValueError("another layout")
    return pages


def read_pages(area: bytes, at: int) -> list:
    """The pages of one column, by its OffsetIndex: first row, offset in the file, and end."""
    return _read_pages(Walk(area, at, len(area)))


def find_pages(area: bytes, at: int, leaves: int, row: int, rows: int) -> list:
    """For each leaf column of a row group of so many rows, what holds this row.

    First row of the page, its offset, end and number of rows; where its dictionary begins and ends.

    The offset indexes of a row group follow each other, and so do its column chunks: what lies between the last page of a leaf and
    the first data page of the next one is the dictionary of the latter.  The first leaf has none.
    """
    walk: Walk = Walk(area, at, len(area))
    found: list = []
    before: cython.longlong = -1
    for _ in range(leaves):
        pages: list = _read_pages(walk)
        first: cython.longlong = pages[0][1]
        if before > first:
            raise ValueError("columns out of order")
        number: cython.Py_ssize_t = 0
        while number + 1 < len(pages) and pages[number + 1][0] <= row:
            number += 1
        page: tuple = pages[number]
        stop: cython.longlong = pages[number + 1][0] if number + 1 < len(pages) else rows
        found.append((page[0], page[1], page[2], stop - page[0], first if before < 0 else before, first))
        before = pages[len(pages) - 1][2]
    return found


def read_page_header(page: bytes, kind: int) -> tuple:
    """Header of a whole page of this type: (bytes inflated, CRC, values, encoding, where the header ends).

    Of a data page of version 1 without statistics, or a dictionary page; either with a checksum.
    """
    walk: Walk = Walk(page, 0, len(page))
    if walk.positive(0x15) != kind:
        raise ValueError("another kind of page")
    inflated: cython.longlong = walk.positive(0x15)
    stored: cython.longlong = walk.positive(0x15)
    walk.expect(0x15)
    number: cython.longlong = walk.varint()
    crc: cython.longlong = ((number >> 1) ^ -(number & 1)) & 0xFFFFFFFF
    walk.expect(0x1C if kind == 0 else 0x3C)
    values: cython.longlong = walk.positive(0x15)
    encoding: cython.longlong = walk.positive(0x15)
    if kind == 0 and (walk.positive(0x15) != 3 or walk.positive(0x15) != 3):
        raise ValueError("levels of another encoding")
    head: cython.int = walk.byte()
    if kind and head in (0x11, 0x12):  # is_sorted
        head = walk.byte()
    if head or walk.byte() or walk.end - walk.at != stored:
        raise ValueError("another kind of page")
    return inflated, crc, values, encoding, walk.at


@cython.cclass
class Page:
    """A page, inflated among others.

    Args:
        text: what holds it.
        begin, end: its place there.
        values: how many, nulls included.
        encoding: of the values.
    """

    text = cython.declare(bytes, visibility="readonly")
    begin = cython.declare(cython.Py_ssize_t, visibility="readonly")
    end = cython.declare(cython.Py_ssize_t, visibility="readonly")
    values = cython.declare(cython.longlong, visibility="readonly")
    encoding = cython.declare(cython.longlong, visibility="readonly")

    def __cinit__(self, text: bytes, begin: int, end: int, values: int, encoding: int):
        if not 0 <= begin <= end <= len(text):
            raise ValueError("past the end")
        self.text = text
        self.begin = begin
        self.end = end
        self.values = values
        self.encoding = encoding


@cython.cclass
class Runs(Walk):
    """The hybrid of runs and packed bits, a value or many at a time."""

    width: cython.int
    left: cython.longlong
    packed: cython.bint
    value: cython.longlong
    bit: cython.longlong

    def __cinit__(self, data: bytes, at: cython.longlong, end: cython.longlong):
        self.width = 0
        self.left = 0

    @cython.cfunc
    @cython.exceptval(-1)
    def use(self, width: cython.int) -> cython.int:
        if not 0 <= width <= 32:
            raise ValueError("not a bit width")
        self.width = width
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def load(self) -> cython.int:
        """Go on to the next run, if this one is used up."""
        while self.left == 0:
            head: cython.longlong = self.varint()
            if head >> 1 > _MAX_VALUES:
                raise ValueError("a run too long")
            self.packed = head & 1
            if self.packed:
                self.left = (head >> 1) * 8
                self.bit = cython.cast(cython.longlong, self.at) * 8
                size: cython.longlong = (head >> 1) * self.width
                if size > self.end - self.at:
                    raise IndexError("past the end")
                self.at += size
            else:
                self.left = head >> 1
                self.value = 0
                shift: cython.int = 0
                while shift < self.width:
                    self.value |= cython.cast(cython.longlong, self.byte()) << shift
                    shift += 8
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def next(self) -> cython.longlong:
        """One value."""
        self.load()
        self.left -= 1
        if not self.packed:
            return self.value
        place: cython.Py_ssize_t = self.bit >> 3
        first: cython.int = self.bit & 7
        need: cython.int = first + self.width
        word: cython.longlong = 0
        shift: cython.int = 0
        while shift < need:
            byte: cython.uchar = self.data[place]
            word |= cython.cast(cython.longlong, byte) << shift
            shift += 8
            place += 1
        self.bit += self.width
        return (word >> first) & ((cython.cast(cython.longlong, 1) << self.width) - 1)

    @cython.cfunc
    @cython.exceptval(-1)
    def count(self, values: cython.longlong, wanted: cython.longlong) -> cython.longlong:
        """Pass over so many values; how many of them are the wanted one."""
        found: cython.longlong = 0
        while values > 0:
            self.load()
            if self.packed and values >= 8 and self.width <= 2 and wanted == (1 << self.width) - 1 and not self.bit & 7:
                found += self.count_ones()
                values -= 8 // self.width
                continue
            if self.packed:
                found += self.next() == wanted
                values -= 1
                continue
            step: cython.longlong = min(values, self.left)
            if self.value == wanted:
                found += step
            self.left -= step
            values -= step
        return found

    @cython.cfunc
    @cython.exceptval(-1)
    def count_ones(self) -> cython.int:
        """Pass over a byte of packed bits; how many of its values, of one or two bits, are all ones."""
        byte: cython.uchar = self.data[self.bit >> 3]
        bits: cython.uint = byte & (byte >> 1) & 0x55 if self.width == 2 else byte
        self.bit += 8
        self.left -= 8 // self.width
        bits = (bits & 0x55) + ((bits >> 1) & 0x55)
        bits = (bits & 0x33) + ((bits >> 2) & 0x33)
        return (bits & 0x0F) + (bits >> 4)

    @cython.cfunc
    @cython.exceptval(-1)
    def skip(self, values: cython.longlong) -> cython.int:
        """Pass over so many values."""
        while values > 0:
            self.load()
            step: cython.longlong = min(values, self.left)
            if self.packed:
                self.bit += step * self.width
            self.left -= step
            values -= step
        return 0


@cython.cfunc
def _read_levels(text: bytes, at: cython.Py_ssize_t, end: cython.Py_ssize_t, highest: cython.int) -> Runs:
    """Levels, behind four bytes that tell their length."""
    size: cython.longlong = _text_size(text, at, end)
    runs: Runs = Runs(text, at + 4, at + 4 + size)
    width: cython.int = 0
    while highest >> width:
        width += 1
    runs.use(width)
    return runs


def find_entries(page: Page, row: int, rows: int, is_list: bool, highest: int) -> tuple:
    """Where a row's entries stand in a data page: (definition levels of each, values before them, where the values begin).

    Args:
        page: see ``Page``.
        row: counted from the first of the page.
        rows: of the page, by the page index, which has no checksum: so they are counted.
        is_list: whether repetition levels of 0 and 1 come first.
        highest: the definition level of a value that is there.
    """
    text: bytes = page.text
    at: cython.Py_ssize_t = page.begin
    end: cython.Py_ssize_t = page.end
    total: cython.longlong = page.values
    start: cython.longlong = row
    stop: cython.longlong = row + 1
    top: cython.int = highest
    levels: Runs
    if is_list:
        levels = _read_levels(text, at, end, 1)
        if total - levels.count(total, 1) != rows:
            raise ValueError("another number of rows")
        levels = _read_levels(text, at, end, 1)
        at = levels.end
        start, stop = _find_row(levels, total, row)
    elif total != rows:
        raise ValueError("another number of rows")
    if row >= rows or stop > total:
        raise ValueError("the row is not in this page")
    if stop - start > _MAX_ENTRIES:
        raise ValueError("a row of too many entries")
    if top == 0:
        return bytes(stop - start), start, at
    levels = _read_levels(text, at, end, top)
    before: cython.longlong = levels.count(start, top)
    found: bytearray = bytearray()
    for _ in range(stop - start):
        found.append(levels.next())
    return bytes(found), before, levels.end


@cython.cfunc
def _find_row(levels: Runs, total: cython.longlong, row: cython.longlong) -> tuple:
    """The entries of a row: from the zero that begins it to the next."""
    start: cython.longlong = -1
    place: cython.longlong = 0
    rows: cython.longlong = -1
    while place < total:
        levels.load()
        ahead: cython.longlong = row - 1 - rows  # rows that may be passed over without a look
        if not levels.packed and levels.value == 0 and ahead > 0:
            step: cython.longlong = min(min(levels.left, total - place), ahead)
            levels.left -= step
            rows += step
            place += step
            continue
        if levels.packed and ahead >= 8 and place and place + 8 <= total and not levels.bit & 7:
            rows += 8 - levels.count_ones()
            place += 8
            continue
        if levels.next() == 0:
            rows += 1
            if rows == row:
                start = place
            elif rows > row:
                return start, place
        elif place == 0:
            raise ValueError("a page begins inside a row")
        place += 1
    if start < 0:
        raise ValueError("the row is not in this page")
    return start, total


def find_nested(page: Page, row: int, rows: int, highest: int) -> tuple:
    """As ``find_entries``, for lists of lists: (repetition levels, definition levels, values before them, where values begin)."""
    text: bytes = page.text
    at: cython.Py_ssize_t = page.begin
    end: cython.Py_ssize_t = page.end
    total: cython.longlong = page.values
    start: cython.longlong = -1
    place: cython.longlong = 0
    seen: cython.longlong = -1
    levels: Runs = _read_levels(text, at, end, 2)
    if levels.count(total, 0) != rows or row >= rows:
        raise ValueError("another number of rows")
    levels = _read_levels(text, at, end, 2)
    at = levels.end
    repeats: bytearray = bytearray()
    while place < total:
        levels.load()
        ahead: cython.longlong = row - 1 - seen  # rows that may be passed over without a look
        if not levels.packed and levels.value == 0 and ahead > 0:
            step: cython.longlong = min(min(levels.left, total - place), ahead)
            levels.left -= step
            seen += step
            place += step
            continue
        repeat: cython.longlong = levels.next()
        if place == 0 and repeat:
            raise ValueError("a page begins inside a row")
        seen += repeat == 0
        if seen > row:
            break
        if seen == row:
            start = place if repeat == 0 else start
            repeats.append(repeat)
            if len(repeats) > _MAX_ENTRIES:
                raise ValueError("a row of too many entries")
        place += 1
    top: cython.int = highest
    levels = _read_levels(text, at, end, top)
    before: cython.longlong = levels.count(start, top)
    found: bytearray = bytearray()
    for _ in range(len(repeats)):
        found.append(levels.next())
    return bytes(repeats), bytes(found), before, levels.end


def read_indexes(page: Page, at: int, before: int, count: int) -> list:
    """Indexes into the dictionary: of the values that begin at ``at`` those behind ``before``, so many."""
    runs: Runs = Runs(page.text, at, page.end)
    runs.use(runs.byte())
    runs.skip(before)
    return [runs.next() for _ in range(count)]


def read_texts(page: Page, at: int, before: int, count: int) -> list:
    """Texts of plain encoding that begin at ``at``: those behind ``before``, so many."""
    text: bytes = page.text
    place: cython.Py_ssize_t = at
    end: cython.Py_ssize_t = page.end
    size: cython.longlong
    if place < 0:
        raise IndexError("before the begin")
    for _ in range(before):
        place += 4 + _text_size(text, place, end)
    found: list = []
    for _ in range(count):
        size = _text_size(text, place, end)
        found.append(text[place + 4 : place + 4 + size])
        place += 4 + size
    return found


def find_text(page: Page, wanted: bytes) -> int:
    """Which of the texts of a page of plain encoding is the wanted one; -1 for none.  All of them are walked."""
    text: bytes = page.text
    place: cython.Py_ssize_t = page.begin
    end: cython.Py_ssize_t = page.end
    length: cython.longlong = len(wanted)
    number: cython.longlong
    found: cython.longlong = -1
    for number in range(page.values):
        size: cython.longlong = _text_size(text, place, end)
        place += 4
        if size == length and found < 0 and _is_equal(text, place, wanted):
            found = number
        place += size
    if place != end:
        raise ValueError("more than the texts")
    return found


@cython.cfunc
@cython.exceptval(-1)
def _text_size(text: bytes, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.longlong:
    """Length of the text that begins here, which ends before its bytes do."""
    if end - at < 4:
        raise IndexError("past the end")
    a: cython.uchar = text[at]
    b: cython.uchar = text[at + 1]
    c: cython.uchar = text[at + 2]
    d: cython.uchar = text[at + 3]
    size: cython.longlong = a | b << 8 | c << 16 | cython.cast(cython.longlong, d) << 24
    if size > end - at - 4:
        raise IndexError("past the end")
    return size


@cython.cfunc
@cython.exceptval(-1)
def _is_equal(text: bytes, at: cython.Py_ssize_t, wanted: bytes) -> cython.int:
    """From the end, where keys differ; the caller knows that there are so many bytes."""
    place: cython.Py_ssize_t = len(wanted)
    while place > 0:
        place -= 1
        a: cython.uchar = text[at + place]
        b: cython.uchar = wanted[place]
        if a != b:
            return 0
    return 1
