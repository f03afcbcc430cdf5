"""What must hold for any part file whatever: one function, ``check``, for the fuzzer and for the tests.

The bytes stand for the pages of one small part, inflated, each behind its header, and for its page index.  They are put in the
place of the part's own: a page that was changed is deflated again into its room, with the checksum that it then has, so that what is
behind the checksum is reached.  The footer stays, because Arrow ends the process over a damaged one.

Then ``RowReader`` reads some rows: it must refuse, or say what Arrow says of the same bytes.
"""

import io
import random
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dicomflow.dataset import cells, onerow
from dicomflow.dataset.footer import count_row_groups, end_of_schema, find_keys
from dicomflow.dataset.keyfilter import _read_place
from dicomflow.dataset.lookup import _UNKNOWN, _ask_arrow
from dicomflow.dataset.onerow import RowReader

_ISSUE = pa.struct([pa.field("path", pa.string()), pa.field("code", pa.string(), nullable=False), ("raw", pa.string())])
SCHEMA = pa.schema(
    [
        pa.field("SOPInstanceUID", pa.string(), nullable=False),
        ("Modality", pa.string()),
        ("StudyDate", pa.date32()),
        ("StudyTime", pa.time64("us")),
        ("AcquisitionDateTime", pa.timestamp("us")),
        ("Rows", pa.int32()),
        ("SliceThickness", pa.float64()),
        pa.field("source_size", pa.int64(), nullable=False),
        ("ImageType", pa.list_(pa.string())),
        ("PixelSpacing", pa.list_(pa.float64())),
        ("FrameImagePositionPatient", pa.list_(pa.list_(pa.float64()))),
        pa.field("issues", pa.list_(_ISSUE), nullable=False),
    ]
)
ROWS = 48
KEYS = tuple(f"1.2.{number * 7919}" for number in range(ROWS))
_CODED = ["Modality", "ImageType", "Rows", "issues.list.element.path"]
_STRUCT = "issues"
_OFTEN, _SELDOM = 4, 16
"""One input in so many is read in all of its rows; is compared with Arrow though no row has changed."""

_ZSTD = pa.Codec("zstd", 3)
_SKIPPABLE = struct.Struct("<II")  # RFC 8878 3.1.2: a frame that is passed over


class Page(NamedTuple):
    """A page of the part: where it lies, its header, where in that the checksum is, its bytes inflated."""

    offset: int
    end: int
    header: bytes
    crc_at: int
    body: bytes


class Part(NamedTuple):
    """The part that is changed: its bytes, its pages, where its page index begins and ends, its rows."""

    data: bytes
    pages: tuple[Page, ...]
    index: int
    footer: int
    rows: tuple[dict[str, Any], ...]


@cache
def base() -> Part:
    """The same on every machine; hardly compressed, so that a changed page finds room."""
    chance = random.Random(1)
    rows = pa.Table.from_pylist([_make_row(key, number, chance) for number, key in enumerate(KEYS)], SCHEMA)
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink,
        SCHEMA,
        compression="zstd",
        compression_level=-100,
        use_dictionary=_CODED,
        data_page_size=160,
        write_batch_size=4,
        write_statistics=False,
        write_page_index=True,
        write_page_checksum=True,
    ) as writer:
        writer.write_table(rows)
    data = sink.getvalue()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    index = _find_index(data[footer:-8])
    return Part(data, tuple(_find_pages(data, index, footer)), index, footer, tuple(rows.to_pylist()))


def _make_row(key: str, number: int, chance: random.Random) -> dict[str, Any]:
    def some(value: Any) -> Any:
        return None if chance.random() < 0.2 else value

    vectors = [some([some(chance.random()) for _ in range(chance.randrange(4))]) for _ in range(chance.randrange(5))]
    issues = [
        some({"path": some("Rows"), "code": "BAD", "raw": some("x" * number)}) for _ in range(chance.randrange(3))
    ]
    return {
        "SOPInstanceUID": key,
        "Modality": some(chance.choice(["CT", "MR", "", "é"])),
        "StudyDate": some(chance.randrange(20000)),
        "StudyTime": some(chance.randrange(86_400_000_000)),
        "AcquisitionDateTime": some(chance.randrange(1 << 50)),
        "Rows": some(chance.choice([64, 512])),
        "SliceThickness": some(chance.random()),
        "source_size": number,
        "ImageType": some([some(chance.choice(["ORIGINAL", "π"])) for _ in range(chance.randrange(4))]),
        "PixelSpacing": some([some(0.5)] * chance.randrange(3)),
        "FrameImagePositionPatient": some(vectors),
        "issues": issues,
    }


def _find_index(footer: bytes) -> int:
    groups, at = count_row_groups(footer, end_of_schema(footer))
    (place,) = [_read_place(footer, end) for end in find_keys(footer, SCHEMA.names[0], at, groups)]
    assert place.pages is not None
    return place.pages


def _find_pages(data: bytes, index: int, footer: int) -> Iterator[Page]:
    """In the order of the file."""
    group = pq.read_metadata(io.BytesIO(data)).row_group(0)
    for column in map(group.column, range(group.num_columns)):
        begin = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
        end = begin + column.total_compressed_size
        while begin < end:
            kind = cells.DICTIONARY_PAGE if begin < column.data_page_offset else cells.DATA_PAGE
            size, crc_at, at = _measure_header(data, begin)
            yield _read_page(data, begin, begin + at + size, crc_at, kind)
            begin += at + size


def _measure_header(data: bytes, begin: int) -> tuple[int, int, int]:
    """Bytes of the page as stored, where the checksum is, and where the header ends."""
    at, found = begin, []
    for _ in range(4):  # kind, bytes inflated, bytes stored, checksum
        assert data[at] == 0x15
        at, start = at + 1, at + 1
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                break
        found.append((value >> 1, start - begin, at - begin))
    size = found[2][0]
    for end in range(at, at + 64):
        try:
            head = cells.read_page_header(data[begin : end + size], found[0][0])
        except (ValueError, IndexError):
            continue
        return size, found[3][1], head[4]
    raise AssertionError("a page that is not understood")


def _read_page(data: bytes, begin: int, end: int, crc_at: int, kind: int) -> Page:
    inflated, _, _, _, at = cells.read_page_header(data[begin:end], kind)
    body = _ZSTD.decompress(data[begin + at : end], inflated, asbytes=True)
    return Page(begin, end, data[begin : begin + at], crc_at, body)


def seed() -> bytes:
    """The bytes that stand for the part as it is."""
    part = base()
    return b"".join([*(page.header + page.body for page in part.pages), part.data[part.index : part.footer]])


def assemble(data: bytes, only: frozenset[int] | None = None) -> bytes | None:
    """The part that these bytes stand for; None where a page does not fit into its room.

    Args:
        data: as ``seed`` gives it, changed; what is missing is as it was.
        only: the pages to change; all, and the page index, if None.
    """
    part = base()
    whole, made, at = data + seed()[len(data) :], bytearray(part.data), 0
    for number, page in enumerate(part.pages):
        header, body = whole[at : at + len(page.header)], whole[at + len(page.header) : (at := at + _size(page))]
        if only is not None and number not in only:
            continue
        if (stored := _store(page, header, body)) is None:
            return None
        made[page.offset : page.end] = stored
    if only is None:
        made[part.index : part.footer] = whole[at : at + part.footer - part.index]
    return bytes(made)


@cache
def pages_of(row: int) -> frozenset[int]:
    """The pages that hold something of a row, dictionaries and all keys included."""
    part = base()
    places = cells.find_pages(part.data[part.index : part.footer], 0, len(_leaves()), row, ROWS)
    offsets = {place[1] for place in places} | {place[4] for place in places if place[4] < place[5]}
    keys = range(len(cells.read_pages(part.data[part.index : part.footer], 0)))
    return frozenset({*keys, *(number for number, page in enumerate(part.pages) if page.offset in offsets)})


def _leaves() -> list[str]:
    group = pq.read_metadata(io.BytesIO(base().data)).row_group(0)
    return [group.column(number).path_in_schema for number in range(group.num_columns)]


def _size(page: Page) -> int:
    return len(page.header) + len(page.body)


def _store(page: Page, header: bytes, body: bytes) -> bytes | None:
    """The page in as many bytes as it had."""
    part, room = base(), page.end - page.offset - len(page.header)
    if body == page.body:
        return header + part.data[page.offset + len(page.header) : page.end]
    packed: bytes = _ZSTD.compress(body, asbytes=True)
    left = room - len(packed)
    if left and left < _SKIPPABLE.size:
        return None
    packed += _SKIPPABLE.pack(0x184D2A50, left - _SKIPPABLE.size) + bytes(left - _SKIPPABLE.size) if left else b""
    before = _crc_size(page)
    crc = zlib.crc32(packed)
    signed = crc - (1 << 32) if crc >> 31 else crc
    written = _write_varint((signed << 1) ^ (signed >> 31), before)
    if written is None or len(packed) != room or header[page.crc_at : page.crc_at + before] != _crc(page):
        return None if len(packed) != room else header + packed
    return header[: page.crc_at] + written + header[page.crc_at + before :] + packed


def _crc_size(page: Page) -> int:
    at = page.crc_at
    while page.header[at] > 127:
        at += 1
    return at + 1 - page.crc_at


def _crc(page: Page) -> bytes:
    return page.header[page.crc_at : page.crc_at + _crc_size(page)]


def _write_varint(value: int, size: int) -> bytes | None:
    """In so many bytes, which may be more than are needed; None where they do not do."""
    value &= (1 << 32) - 1
    if value >> 7 * size:
        return None
    return bytes((value >> 7 * place & 127) | (128 if place < size - 1 else 0) for place in range(size))


def mutate(data: bytes, max_size: int, rng: random.Random) -> bytes:
    """These bytes, changed in one place or a few, as long as before: everything in them has its place."""
    out = bytearray(data or seed())
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(_CHANGES)(out, rng.randrange(len(out)), rng)
    return bytes(out[: min(max_size, len(seed()))])


def _flip(out: bytearray, at: int, rng: random.Random) -> None:
    out[at] ^= 1 << rng.randrange(8)


def _set(out: bytearray, at: int, rng: random.Random) -> None:
    out[at] = rng.choice((0, 1, 2, 3, 8, 0x15, 0x16, 0x19, 127, 128, 254, 255))


def _step(out: bytearray, at: int, rng: random.Random) -> None:
    out[at] = (out[at] + rng.choice((-2, -1, 1, 2))) & 255


def _set_number(out: bytearray, at: int, rng: random.Random) -> None:
    number = rng.choice((0, 1, 5, 1000, 2**31 - 1, 2**31, 2**32 - 1)).to_bytes(4, "little")
    out[at : at + 4] = number[: len(out) - at]


def _copy(out: bytearray, at: int, rng: random.Random) -> None:
    start = rng.randrange(len(out))
    taken = out[start : start + rng.randrange(1, 24)][: len(out) - at]
    out[at : at + len(taken)] = taken


def _fill(out: bytearray, at: int, rng: random.Random) -> None:
    count = min(rng.randrange(1, 12), len(out) - at)
    out[at : at + count] = bytes([rng.choice((0, 255, 127, 128))]) * count


_CHANGES = (_flip, _set, _step, _set_number, _copy, _fill)


def check(data: bytes, *, thorough: bool = False) -> int:
    """Read rows of the part that these bytes stand for; AssertionError, or whatever else comes out, is a defect.

    Args:
        data: any bytes.
        thorough: read all rows, and always ask Arrow.

    Returns:
        How many rows were read, and not refused.
    """
    assert onerow.COMPILED, "there is nothing to fuzz without the compiled modules"
    made = assemble(data)
    if made is None:
        return 0
    draw, part, read = zlib.crc32(data), base(), 0
    every = thorough or draw % _OFTEN == 0
    for place in range(ROWS) if every else (draw % ROWS,):
        try:
            row = RowReader(SCHEMA, SCHEMA.names[0]).find(made, part.index, KEYS[place].encode())  # type: ignore[arg-type]
        except _UNKNOWN:
            continue  # Arrow is asked
        read += 1
        if thorough or draw % _SELDOM == 0 or str(row) != str(part.rows[place]):
            _compare(data, place, row)
    return read


def _compare(data: bytes, place: int, row: dict[str, Any] | None) -> None:
    """Ask Arrow, which is always right.

    It reads a column from its begin: where the pages before the row's have more or fewer rows than they should, it takes another
    row for this one.  So it gets them as they were.  What it refuses nobody has to know better.  Where fields of one struct do
    not agree which lists are there, it takes items of one row for those of another; so where they were changed it is not asked.
    """
    made = assemble(data, pages_of(place))
    assert made is not None
    try:
        expected = _ask_arrow(made, None, SCHEMA, KEYS[place])  # type: ignore[arg-type]
    except (pa.ArrowException, OSError, LookupError, ValueError, OverflowError):
        return
    left_out = {_STRUCT} if made[_struct_bytes()] != base().data[_struct_bytes()] else set()
    assert _say(row, left_out) == _say(expected, left_out), "another row than Arrow's"


def _say(row: dict[str, Any] | None, left_out: set[str]) -> str:
    return str(row and {name: value for name, value in row.items() if name not in left_out})


@cache
def _struct_bytes() -> slice:
    """Where the pages of the structs lie: its fields are the last columns."""
    group = pq.read_metadata(io.BytesIO(base().data)).row_group(0)
    column = group.column(_leaves().index(f"{_STRUCT}.list.element.path"))
    return slice(column.dictionary_page_offset, base().index)
