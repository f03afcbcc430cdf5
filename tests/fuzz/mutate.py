"""Change headers where it hurts: lengths, VRs, tags, delimiters, nesting, encodings.  Knows how elements look, no more."""

import random
import re
import struct
import zlib

VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
_ANY_VR = re.compile(b"|".join(VRS))
TAGS = [
    0x00020000, 0x00020002, 0x00020003, 0x00020010, 0x00041220, 0x00080000, 0x00080005, 0x00080016, 0x00080018,
    0x00080020, 0x00080060, 0x00081140, 0x00081155, 0x00090010, 0x00091001, 0x00100010, 0x00100020, 0x00110010,
    0x00111001, 0x00189074, 0x00200013, 0x00200032, 0x00209113, 0x00280010, 0x00280030, 0x00280103, 0x00280106,
    0x00289110, 0x00290010, 0x00291008, 0x00400275, 0x0020000D, 0x52009229, 0x52009230, 0x7FDFFFFF, 0x7FE00008,
    0x7FE00010, 0xFFFCFFFC, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFFFFFF,
]  # fmt: skip
LENGTHS = [0, 1, 2, 3, 4, 7, 8, 9, 16, 0x7F, 0xFF, 0x100, 0x400, 0x401, 0x7FFE, 0xFFFE, 0xFFFF, 0x10000, 0xFFFFFF,
           0x7FFFFFF8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFF8, 0xFFFFFFFE, 0xFFFFFFFF]  # fmt: skip
UIDS = [
    b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0", b"1.2.840.10008.1.2.1.99",
    b"1.2.840.113619.5.2", b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.3.10", b"1.2.840.10008.5.1.4.1.1.66.4\0",
]  # fmt: skip
TEXTS = [
    b"\\", b"\\" * 40, b"^", b"=", b"\x1b$B", b"\x1b(B", b"ISO_IR 192", b"ISO 2022 IR 87", b"\\ISO 2022 IR 58", b"GBK",
    b"nan", b"inf", b"1e309", b"-0", b"4.1", b"99999999999999999999", b"20200230", b"235960", b"240000", b"\xff\xfe",
    b"A", b"SIEMENS CSA HEADER", b"GEMS_IDEN_01", b"MR", b" ", b"\0",
]  # fmt: skip
ITEM, ITEM_END, SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD
_MAGIC = b"DICM"


def mutate(data: bytes, max_size: int, rng: random.Random) -> bytes:
    """These bytes, changed in one place or a few."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        rng.choice(_CHANGES)(out, rng)
    return bytes(out[:max_size])


def dictionary() -> str:
    """What is worth putting in, as a libFuzzer dictionary."""
    tags = [struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in TAGS]
    big = [struct.pack(">HH", tag >> 16, tag & 0xFFFF) for tag in TAGS]
    lengths = [struct.pack(order + "I", length) for length in LENGTHS for order in "<>"]
    words = {*tags, *big, *lengths, *VRS, *(vr + b"\0\0" for vr in VRS), *UIDS, *TEXTS, _MAGIC}
    return "".join(f'"{_escaped(word)}"\n' for word in sorted(words))


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


# ---- changes: each takes the bytes to change in place, and a stream of draws -----------------------------------------


def _places(data: bytearray, rng: random.Random) -> tuple[int, int]:
    """Where two elements seem to begin, the first one first."""
    first = _place(data, rng)
    second = first
    for _ in range(rng.randrange(1, 6)):
        second = _next(data, second + 1)
    return first, max(first, second)


def _place(data: bytearray, rng: random.Random) -> int:
    """Where an element seems to begin, or anywhere that is even."""
    place = rng.randrange(len(data) + 1)
    return _next(data, place) if rng.random() < 0.9 else place & ~1


def _next(data: bytearray, place: int) -> int:
    """Found by its VR letters; without any, 16 bytes further on."""
    found = _ANY_VR.search(data, place + 4)
    return found.start() - 4 if found else min(place + 16, len(data))


def _order(rng: random.Random) -> str:
    return "<" if rng.random() < 0.8 else ">"


def _set_length(data: bytearray, rng: random.Random) -> None:
    place, order = _place(data, rng), _order(rng)
    length = rng.choice(LENGTHS) if rng.random() < 0.6 else max(0, len(data) - place - rng.randrange(-16, 40))
    form = rng.randrange(3)
    if form == 0:
        data[place + 6 : place + 8] = struct.pack(order + "H", length & 0xFFFF)
    elif form == 1:
        data[place + 4 : place + 8] = struct.pack(order + "I", length)
    else:
        data[place + 8 : place + 12] = struct.pack(order + "I", length)


def _set_vr(data: bytearray, rng: random.Random) -> None:
    place = _place(data, rng)
    data[place + 4 : place + 6] = rng.choice((*VRS, b"SQ", b"UN", b"ZZ", b"??", b"  "))


def _set_tag(data: bytearray, rng: random.Random) -> None:
    place, tag = _place(data, rng), rng.choice(TAGS)
    data[place : place + 4] = struct.pack(_order(rng) + "HH", tag >> 16, tag & 0xFFFF)


def _repeat(data: bytearray, rng: random.Random) -> None:
    start, stop = _places(data, rng)
    data[stop:stop] = data[start:stop] * rng.choice((1, 1, 2, 9))


def _delete(data: bytearray, rng: random.Random) -> None:
    start, stop = _places(data, rng)
    del data[start:stop]


def _move(data: bytearray, rng: random.Random) -> None:
    start, stop = _places(data, rng)
    taken = data[start:stop]
    del data[start:stop]
    place = _place(data, rng)
    data[place:place] = taken


def _wrap(data: bytearray, rng: random.Random) -> None:
    """Elements become the items of a sequence, of defined or undefined length, SQ or UN or with no VR."""
    start, stop = _places(data, rng)
    order, tag, inner = _order(rng), rng.choice(TAGS), bytes(data[start:stop])
    times = rng.choice((1, 1, 1, 2, 40))
    for _ in range(times):
        item = _item(inner, order, rng) * (1 if times == 40 else rng.choice((1, 1, 2, 3)))
        defined = rng.random() < 0.5
        head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + rng.choice((b"SQ\0\0", b"UN\0\0", b""))
        length = struct.pack(order + "I", len(item) if defined else 0xFFFFFFFF)
        inner = head + length + item + (b"" if defined else _delimiter(SEQUENCE_END, 0, order))
    data[start:stop] = inner


def _item(content: bytes, order: str, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return _delimiter(ITEM, len(content), order) + content
    return _delimiter(ITEM, 0xFFFFFFFF, order) + content + _delimiter(ITEM_END, 0, order)


def _delimiter(number: int, length: int, order: str) -> bytes:
    return struct.pack(order + "HHI", 0xFFFE, number, length)


def _insert_delimiter(data: bytearray, rng: random.Random) -> None:
    place = _place(data, rng)
    number = rng.choice((ITEM, ITEM_END, SEQUENCE_END))
    data[place:place] = _delimiter(number, rng.choice((0, 0, 8, 0xFFFFFFFF)), _order(rng))


def _insert_element(data: bytearray, rng: random.Random) -> None:
    place, tag, value, order = _place(data, rng), rng.choice(TAGS), rng.choice(TEXTS + UIDS), _order(rng)
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    short = rng.choice(VRS) + struct.pack(order + "H", len(value))
    form = rng.choice((short, short, b"UN\0\0" + struct.pack(order + "I", len(value)), struct.pack("<I", len(value))))
    data[place:place] = head + form + value


def _set_text(data: bytearray, rng: random.Random) -> None:
    place, text = _place(data, rng) + rng.choice((8, 12, 8)), rng.choice(TEXTS)
    data[place : place + len(text)] = text


def _set_uid(data: bytearray, rng: random.Random) -> None:
    """Another transfer syntax: the first UID that looks like one."""
    place = data.find(b"1.2.840.10008.1.2")
    if place >= 0:
        uid = rng.choice(UIDS)
        data[place : place + len(uid)] = uid


def _deflate(data: bytearray, rng: random.Random) -> None:
    place = _place(data, rng)
    packer = zlib.compressobj(rng.choice((0, 1, 9)), wbits=rng.choice((-15, -15, 15)))
    data[place:] = packer.compress(bytes(data[place:]) + bytes(rng.choice((0, 0, 5000)))) + packer.flush()
    if rng.random() < 0.7:
        start = data.find(b"1.2.840.10008.1.2")
        if start >= 0:
            data[start : start + 22] = b"1.2.840.10008.1.2.1.99"


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _pad(data: bytearray, rng: random.Random) -> None:
    data += bytes(rng.choice((1, 2, 7, 8, 9, 40)))


def _strip_preamble(data: bytearray, rng: random.Random) -> None:
    if data[128:132] == _MAGIC:
        del data[: rng.choice((132, 132, 128, 4))]
    else:
        data[:0] = bytes(128) + _MAGIC


_CHANGES = (
    *(_set_length,) * 4, _set_vr, _set_vr, _set_tag, _set_tag, _repeat, _delete, _move, _wrap, _wrap,
    _insert_delimiter, _insert_delimiter, _insert_element, _insert_element, _set_text, _set_text, _set_uid, _deflate,
    _cut, _flip, _flip, _pad, _strip_preamble,
)  # fmt: skip
