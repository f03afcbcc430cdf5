"""The values of one attribute in all items of a sequence, packed as one value; and back.

In: RawValues, one per item (None where an item has none).  Out: bytes, and the RawValues again.
The scanner packs in the same way (``header.scan_hits``), so that a batch keeps such a list like any other distinct value.

Packed, all little endian u32 unless said otherwise: the number of items, the number of character sets, the length of each of
these; then for all items the length of the value (0xFFFFFFFF: none), for all its VR and byte order, for all the number of the
character set in force (0xFFFFFFFF: none); then the character sets, then the values, as bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dicomflow.header.vr import STRING_VRS
from dicomflow.model import RawValue

PACKED = "**"
"""What stands for the VR of a packed list: no VR of DICOM."""

NONE = 0xFFFFFFFF
_BIG_ENDIAN = 0x10000

Numbers = npt.NDArray[np.uint32]


class Items(NamedTuple):
    """A packed list, taken apart: arrays of one number per item, and the bytes of all values."""

    lengths: Numbers
    contexts: Numbers
    charset_numbers: Numbers
    charsets: tuple[bytes, ...]
    values: bytes


def pack_items(values: Iterable[RawValue | None]) -> RawValue:
    """One value of all of these.

    >>> [one and one.raw for one in unpack_items(pack_items([RawValue(b"1", "DS"), None]))]
    [b'1', None]
    """
    items = list(values)
    numbers: dict[bytes, int] = {}
    for value in items:
        if value is not None and value.charset is not None:
            numbers.setdefault(value.charset, len(numbers))
    heads = [(NONE, NONE, NONE) if value is None else _head(value, numbers) for value in items]
    counts = np.array([len(items), len(numbers), *map(len, numbers)], "<u4")
    columns = np.array(heads, "<u4").reshape(len(items), 3).T
    parts = [counts.tobytes(), columns.tobytes(), *numbers, *(value.raw for value in items if value is not None)]
    return RawValue(b"".join(parts), PACKED)


def _head(value: RawValue, numbers: dict[bytes, int]) -> tuple[int, int, int]:
    context = ord(value.vr[0]) << 8 | ord(value.vr[1]) | (_BIG_ENDIAN if value.big_endian else 0)
    return len(value.raw), context, NONE if value.charset is None else numbers[value.charset]


def split_items(packed: RawValue) -> Items:
    """A packed list, taken apart."""
    data = packed.raw
    items, charsets = np.frombuffer(data, "<u4", 2).tolist()
    sizes = np.frombuffer(data, "<u4", charsets, 8).tolist()
    pos = 8 + 4 * charsets
    lengths, contexts, numbers = np.frombuffer(data, "<u4", 3 * items, pos).reshape(3, items)
    pos += 12 * items
    ends = np.cumsum([pos, *sizes]).tolist()
    texts = tuple(data[start:end] for start, end in pairwise(ends))
    return Items(lengths, contexts, numbers, texts, data[ends[-1] :])


def unpack_items(packed: RawValue) -> Iterator[RawValue | None]:
    """The values of the items, in their order; None for an item that has none."""
    items, pos = split_items(packed), 0
    for length, context, number in zip(
        items.lengths.tolist(), items.contexts.tolist(), items.charset_numbers.tolist(), strict=True
    ):
        if length == NONE:
            yield None
            continue
        charset = None if number == NONE else items.charsets[number]
        yield make_value(items.values[pos : pos + length], context, charset)
        pos += length


def is_blank(packed: RawValue) -> bool:
    """Whether no item has more than the padding of a text: as good as empty (PS3.5 6.2)."""
    items = split_items(packed)
    if items.values.strip(b" \0"):
        return False
    return all(make_value(b"", context, None).vr in STRING_VRS for context in set(items.contexts.tolist()) - {NONE})


def make_value(raw: bytes, context: int, charset: bytes | None) -> RawValue:
    """The RawValue of these bytes."""
    return RawValue(raw, chr(context >> 8 & 0xFF) + chr(context & 0xFF), bool(context & _BIG_ENDIAN), charset)
