"""Let pydicom read a header that the fast reader does not support: the same values, at pydicom's speed and leniency.

In: the bytes of a file, the columns.  Out: one RawValue (or None) per column, and whether the header is whole.
Knows no files and no batches.  One of the doors to pydicom.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import MutableSequence, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeGuard

from dicomflow.dictionary import entry_for_tag, vr_for_tag
from dicomflow.header.element import EXPLICIT_LE, Encoding, Limits
from dicomflow.header.inflate import Inflater
from dicomflow.header.items import PACKED, is_blank, pack_items
from dicomflow.header.vr import STRING_VRS
from dicomflow.header.walk import Bound, Fault, Walk
from dicomflow.model import RawValue
from dicomflow.schema.column import ALL_ITEMS, STOP_TAG, Column, Step

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement, RawDataElement
    from pydicom.dataset import Dataset, FileDataset

_TRANSFER_SYNTAX = 0x00020010
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_DIRECTORY_RECORDS = 0x00041220
_ITEM_GROUP = 0xFFFE
_SOP_CLASS = 0x00080016
_CHARSET = 0x00080005
_PIXEL_REPRESENTATION = 0x00280103
_SIZES = {"US": 2, "UL": 4}
"""Bytes of the numbers that pydicom decodes for itself."""
_CLOCK_EVERY = 64  # reads between two looks at the clock


class FallbackHeader(NamedTuple):
    """What pydicom read: values by column, where it stopped, and whether that is the header's true end."""

    values: tuple[RawValue | None, ...]
    stop: int
    complete: bool
    is_dicomdir: bool
    borrowed_key: bool  # the key comes from another path than its first
    stopped: bool  # at a stop tag, or at the true end of a deflated data set
    sop_class: str
    last_tag: int


class ReadBounds(NamedTuple):
    """How often and how long pydicom may read: it knows no limits of its own."""

    reads: int = 20_000
    seconds: float = 60.0


def read_with_pydicom(
    data: bytes, columns: Sequence[Column], bounds: ReadBounds | None = None
) -> FallbackHeader | None:
    """Read the header in ``data``; None if pydicom cannot, or not within ``bounds`` (it takes some three reads per element).

    Completeness is checked because pydicom does not: a value shorter than its length, or an end that is neither the stop
    tag nor the end of the data, means that the header was cut.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _read(data, columns, bounds or ReadBounds())
        except MemoryError:
            raise  # says nothing of the header
        except Exception:  # noqa: BLE001  pydicom raises nearly anything on broken input: all of it means "cannot"
            return None


def _read(data: bytes, columns: Sequence[Column], bounds: ReadBounds) -> FallbackHeader:
    import pydicom  # 0.3 s that most runs never need

    inflated = _inflate(data)
    stream = _Bounded(data, bounds)
    dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
    if any(tag >> 16 == _ITEM_GROUP for tag in dataset.keys()):  # noqa: SIM118  a Dataset iterates over elements
        raise ValueError("items where elements should be: what they hold would pass for the data set's own")
    stop = stream.tell()
    scope = _Scope(data=data if inflated is None else inflated)
    # Sequences first, the outer before the inner: once pydicom has parsed one, its length is gone.
    order = sorted(range(len(columns)), key=lambda place: (columns[place].vr != "SQ", len(columns[place].paths[0])))
    by_place = {place: _first_value(dataset, columns[place], scope) for place in order}
    found = [by_place[place] for place in range(len(columns))]
    media_class = str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    sop_class = (_raw(dataset, _SOP_CLASS) or b"").strip(b" \0").decode("latin-1")
    return FallbackHeader(
        values=tuple(value for value, _ in found),
        stop=stop,
        complete=_is_complete(dataset, data, stop),
        is_dicomdir=_DIRECTORY_RECORDS in dataset or media_class == "1.2.840.10008.1.3.10",
        borrowed_key=found[0][1] > 0,
        # a deflated stream says where it ends: pydicom raises where it is cut
        stopped=inflated is not None or _is_stop_tag(dataset, data[stop : stop + 8]),
        sop_class=sop_class or media_class,
        last_tag=max(dataset.keys(), default=0),
    )


def _inflate(data: bytes) -> bytes | None:
    """A deflated data set as pydicom inflates it, which is what its offsets count in; None for any other.

    Raises:
        ValueError: it inflates to more than it may; pydicom itself has no limit.
    """
    meta = Walk(data, Limits())
    meta.run(132 if data[128:132] == b"DICM" else 0, EXPLICIT_LE, group=0x0002)
    if not any(one.tag == _TRANSFER_SYNTAX and one.value == _DEFLATED for one in meta.found):
        return None
    stream, limit = Inflater(data[meta.pos :]), Limits().max_inflated_bytes
    stream.inflate(limit)
    if len(stream.out) >= limit:
        raise ValueError("inflates to too much")
    return bytes(stream.out)


class _Bounded(BytesIO):
    """Bytes that can be read only so often: pydicom itself has no limit, and broken structure can be endless elements."""

    def __init__(self, data: bytes, bounds: ReadBounds) -> None:
        super().__init__(data)
        self._reads = bounds.reads
        self._deadline = time.monotonic() + bounds.seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """As BytesIO, until the reads or the time are used up."""
        self._reads -= 1
        if self._reads < 0 or (self._reads % _CLOCK_EVERY == 0 and time.monotonic() > self._deadline):
            raise ValueError("too many reads")
        return super().read(size)


def _is_complete(dataset: FileDataset, data: bytes, stop: int) -> bool:
    tags = list(dataset.keys())  # a Dataset iterates over its elements, which would convert them
    if any(_is_short(_element(dataset, tag)) for tag in tags):
        return False
    rest = data[stop : stop + 8]
    return not rest.strip(b"\0") if len(rest) < 8 else _is_stop_tag(dataset, rest)


def _is_stop_tag(dataset: FileDataset, rest: bytes) -> bool:
    """Whether pydicom stopped before an element that ends the header."""
    order: Literal["little", "big"] = "little" if dataset.original_encoding[1] else "big"
    tag = int.from_bytes(rest[:2], order) << 16 | int.from_bytes(rest[2:4], order)
    return len(rest) == 8 and tag >= STOP_TAG


def _is_short(element: DataElement | RawDataElement | None) -> bool:
    if element is None or not _is_raw(element) or element.length == 0xFFFFFFFF:
        return False
    return bool(len(element.value or b"") < element.length)


def _is_raw(element: DataElement | RawDataElement) -> TypeGuard[RawDataElement]:
    """True for bytes as they stand in the file; pydicom keeps sequences of undefined length otherwise."""
    return hasattr(element, "is_little_endian") and hasattr(element, "value_tell") and isinstance(element, tuple)


def _first_value(dataset: FileDataset, column: Column, scope: _Scope) -> tuple[RawValue | None, int]:
    """The value of the first path that has one, and which path that is; -1 where none has."""
    for place, path in enumerate(column.paths):
        source = dataset.file_meta if path[0].tag >> 16 == 2 else dataset
        value = _follow(source, path, scope)
        if value is not None and not _is_empty(value):
            return value, place
    return None, -1


def _is_empty(value: RawValue) -> bool:
    if value.vr == PACKED:
        return is_blank(value)
    return not (value.raw.strip(b" \0") if value.vr in STRING_VRS else value.raw)


class _Scope(NamedTuple):
    """What a data set inherits from the one around it; and the bytes that its offsets count in, from ``base`` on."""

    charset: bytes | None = None
    signed: bool = False
    data: bytes = b""
    base: int = 0

    def enter(self, dataset: Dataset) -> _Scope:
        """The scope inside a data set (PS3.5 7.5.3)."""
        charset, signed = _raw(dataset, _CHARSET), _raw(dataset, _PIXEL_REPRESENTATION)
        return self._replace(
            charset=self.charset if charset is None else charset,
            signed=self.signed if signed is None else signed.strip(b"\0") == b"\1",
        )

    def descend(self, sequence: DataElement) -> _Scope:
        """Pydicom counts anew in a sequence of defined length, which it reads from bytes of its own."""
        return self if sequence.is_undefined_length else self._replace(base=self.base + (sequence.file_tell or 0))


def _follow(dataset: Dataset, path: tuple[Step, ...], scope: _Scope) -> RawValue | None:
    scope = scope.enter(dataset)
    tag = _tag(dataset, path[0])
    if tag is None or tag not in dataset:
        return None
    if len(path) == 1:
        return _raw_value(dataset, tag, scope)
    holder = dataset[tag]
    index = path[0].item or 0
    if holder.VR != "SQ" or index >= len(holder.value):
        return None
    inner = scope.descend(holder)
    if index == ALL_ITEMS:
        values = [_follow(item, path[1:], inner) for item in holder.value]
        return pack_items(values) if any(value is not None and value.raw for value in values) else None
    return _follow(holder.value[index], path[1:], inner)


def _tag(dataset: Dataset, step: Step) -> int | None:
    """The tag of a step; a private one in its creator's block, the last that has it (PS3.5 7.8.1)."""
    if step.creator is None:
        return step.tag
    group = step.tag >> 16
    for block in range(0xFF, 0x0F, -1):
        creator = _raw(dataset, group << 16 | block)
        tag = group << 16 | block << 8 | step.tag & 0xFF
        if creator is not None and creator.strip(b" \0") == step.creator.encode() and tag in dataset:
            return tag
    return None


def _raw(dataset: Dataset, tag: int) -> bytes | None:
    element = _element(dataset, tag) if tag in dataset else None
    return None if element is None else _bytes(element)


def _element(dataset: Dataset, tag: int) -> DataElement | RawDataElement | None:
    """As it stands in the file. An empty one pydicom decodes at once, and refuses where it does not know the VR."""
    try:
        return dataset.get_item(tag)
    except NotImplementedError:
        return None


def _bytes(element: DataElement | RawDataElement) -> bytes | None:
    """The value field; pydicom has decoded what it needed itself, such as TransferSyntaxUID and SpecificCharacterSet."""
    value = element.value
    if _is_raw(element):
        return bytes(value or b"")
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, int) and element.VR in _SIZES:  # PixelRepresentation; ``_raw_value`` says little endian
        return value.to_bytes(_SIZES[element.VR], "little")
    if isinstance(value, MutableSequence) and all(isinstance(one, str) for one in value):
        return "\\".join(value).encode()
    return value if isinstance(value, bytes) else None


def _sequence_bytes(dataset: Dataset, element: DataElement | RawDataElement, scope: _Scope) -> bytes | None:
    """The items of a sequence of undefined length as they stand in the file; pydicom keeps only what it made of them."""
    implicit, little = dataset.original_encoding
    walk = Walk(scope.data, Limits())
    start = scope.base + (element.file_tell or 0)
    try:
        _, after = walk.items(start, Bound(len(scope.data), False), Encoding(bool(implicit), not little), 1)
    except Fault:
        return None
    return scope.data[start : after - 8]


def _raw_value(dataset: Dataset, tag: int, scope: _Scope) -> RawValue | None:
    element = _element(dataset, tag)
    if element is None or _is_short(element):
        return None
    raw = _bytes(element) if _is_raw(element) or element.VR != "SQ" else _sequence_bytes(dataset, element, scope)
    if raw is None:
        return None
    vr = element.VR if element.VR and len(element.VR) == 2 else _vr(tag, scope)
    little = element.is_little_endian if _is_raw(element) else element.VR != "SQ" or dataset.original_encoding[1]
    return RawValue(raw, vr, not little, scope.charset)


def _vr(tag: int, scope: _Scope) -> str:
    """The VR of a value that comes without one; US or SS as PixelRepresentation says."""
    entry = entry_for_tag(tag)
    return "SS" if scope.signed and entry is not None and {"US", "SS"} <= set(entry.vrs) else vr_for_tag(tag)
