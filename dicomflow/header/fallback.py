"""Let pydicom read a header that the fast reader does not support: the same values, at pydicom's speed and leniency.

In: the bytes of a file, the columns.  Out: one RawValue (or None) per column, and whether the header is whole.
Knows no files and no batches.  One of the doors to pydicom.
"""

from __future__ import annotations

import warnings
from collections.abc import MutableSequence, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeGuard

from dicomflow.dictionary import entry_for_tag, vr_for_tag
from dicomflow.header.vr import STRING_VRS
from dicomflow.model import RawValue
from dicomflow.schema.column import Column, Step

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement, RawDataElement
    from pydicom.dataset import Dataset, FileDataset

_STOP_TAG = 0x7FE00008
_CHARSET = 0x00080005
_PIXEL_REPRESENTATION = 0x00280103


class FallbackHeader(NamedTuple):
    """What pydicom read: values by column, where it stopped, and whether that is the header's true end."""

    values: tuple[RawValue | None, ...]
    stop: int
    complete: bool
    is_dicomdir: bool
    borrowed_key: bool  # the key comes from another path than its first


def read_with_pydicom(data: bytes, columns: Sequence[Column], max_reads: int = 20_000) -> FallbackHeader | None:
    """Read the header in ``data``; None if pydicom cannot, or not with ``max_reads`` reads (some three per element).

    Completeness is checked because pydicom does not: a value shorter than its length, or an end that is neither the stop
    tag nor the end of the data, means that the header was cut.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _read(data, columns, max_reads)
        except Exception:  # noqa: BLE001  pydicom raises nearly anything on broken input: all of it means "cannot"
            return None


def _read(data: bytes, columns: Sequence[Column], max_reads: int) -> FallbackHeader:
    import pydicom  # 0.3 s that most runs never need

    stream = _Bounded(data, max_reads)
    dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
    stop = stream.tell()
    found = [_first_value(dataset, column) for column in columns]
    is_dicomdir = 0x00041220 in dataset or dataset.file_meta.get("MediaStorageSOPClassUID") == "1.2.840.10008.1.3.10"
    values = tuple(value for value, _ in found)
    return FallbackHeader(values, stop, _is_complete(dataset, data, stop), is_dicomdir, found[0][1] > 0)


class _Bounded(BytesIO):
    """Bytes that can be read only so often: pydicom itself has no limit, and broken structure can be endless elements."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data)
        self._reads = reads

    def read(self, size: int | None = -1, /) -> bytes:
        """As BytesIO, until the reads are used up."""
        self._reads -= 1
        if self._reads < 0:
            raise ValueError("too many reads")
        return super().read(size)


def _is_complete(dataset: FileDataset, data: bytes, stop: int) -> bool:
    tags = list(dataset.keys())  # a Dataset iterates over its elements, which would convert them
    if any(_is_short(_element(dataset, tag)) for tag in tags):
        return False
    rest = data[stop : stop + 8]
    if len(rest) < 8:
        return not rest.strip(b"\0")
    order: Literal["little", "big"] = "little" if dataset.original_encoding[1] else "big"
    tag = int.from_bytes(rest[:2], order) << 16 | int.from_bytes(rest[2:4], order)
    return tag >= _STOP_TAG


def _is_short(element: DataElement | RawDataElement | None) -> bool:
    if element is None or not _is_raw(element) or element.length == 0xFFFFFFFF:
        return False
    return bool(len(element.value or b"") < element.length)


def _is_raw(element: DataElement | RawDataElement) -> TypeGuard[RawDataElement]:
    """True for bytes as they stand in the file; pydicom keeps sequences of undefined length otherwise."""
    return hasattr(element, "is_little_endian") and hasattr(element, "value_tell") and isinstance(element, tuple)


def _first_value(dataset: FileDataset, column: Column) -> tuple[RawValue | None, int]:
    """The value of the first path that has one, and which path that is; -1 where none has."""
    for place, path in enumerate(column.paths):
        source = dataset.file_meta if path[0].tag >> 16 == 2 else dataset
        value = _follow(source, path, _Scope())
        if value is not None and (value.raw.strip(b" \0") if value.vr in STRING_VRS else value.raw):
            return value, place
    return None, -1


class _Scope(NamedTuple):
    """What a data set inherits from the one around it."""

    charset: bytes | None = None
    signed: bool = False

    def enter(self, dataset: Dataset) -> _Scope:
        """The scope inside a data set (PS3.5 7.5.3)."""
        charset, signed = _raw(dataset, _CHARSET), _raw(dataset, _PIXEL_REPRESENTATION)
        return _Scope(
            self.charset if charset is None else charset,
            self.signed if signed is None else signed.strip(b"\0") == b"\1",
        )


def _follow(dataset: Dataset, path: tuple[Step, ...], scope: _Scope) -> RawValue | None:
    scope = scope.enter(dataset)
    tag = _tag(dataset, path[0])
    if tag is None or tag not in dataset:
        return None
    if len(path) == 1:
        return _raw_value(dataset, tag, scope)
    items = dataset[tag].value
    index = path[0].item or 0
    if dataset[tag].VR != "SQ" or index >= len(items):
        return None
    return _follow(items[index], path[1:], scope)


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
    if isinstance(value, int) and element.VR == "US":  # PixelRepresentation; ``_raw_value`` calls it little endian
        return value.to_bytes(2, "little")
    if isinstance(value, MutableSequence) and all(isinstance(one, str) for one in value):
        return "\\".join(value).encode()
    return value if isinstance(value, bytes) else None


def _raw_value(dataset: Dataset, tag: int, scope: _Scope) -> RawValue | None:
    element = _element(dataset, tag)
    if element is None or _is_short(element) or (raw := _bytes(element)) is None:
        return None
    vr = element.VR if element.VR and len(element.VR) == 2 else _vr(tag, scope)
    return RawValue(raw, vr, _is_raw(element) and not element.is_little_endian, scope.charset)


def _vr(tag: int, scope: _Scope) -> str:
    """The VR of a value that comes without one; US or SS as PixelRepresentation says."""
    entry = entry_for_tag(tag)
    return "SS" if scope.signed and entry is not None and {"US", "SS"} <= set(entry.vrs) else vr_for_tag(tag)
