"""One series encoded once; its instances are spliced from the parts.

In: a ``Draft``, a transfer syntax.  Out: ``Template``, which gives the bytes of any instance.
Knows PS3.10 files; no kinds.

Encoding a data set with pydicom costs milliseconds.  Nearly all elements of a series are the same in every instance, so
they are encoded once and joined into a few chunks; only the varying elements are encoded per instance, in tag order
between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element

from dicomflow.synth.deflate import deflate
from dicomflow.synth.study import Draft, Varying
from dicomflow.synth.syntax import PREAMBLE, Syntax, encode_element, encode_file_meta, encode_value

SOP_INSTANCE_UID = 0x00080018

Elements = tuple[tuple[int, bytes], ...]  # (tag, the whole encoded element), in tag order


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance in pieces, so that a fault can be put into it.

    ``elements`` are those of the data set, top level, each encoded whole.
    """

    syntax: Syntax
    sop_class_uid: str
    sop_instance_uid: str
    elements: Elements

    def replace(self, changed: Mapping[int, bytes | None]) -> Instance:
        """The same with elements put in, replaced, or (None) taken out."""
        merged = {**dict(self.elements), **changed}
        kept = tuple((tag, raw) for tag, raw in sorted(merged.items()) if raw is not None)
        return Instance(self.syntax, self.sop_class_uid, self.sop_instance_uid, kept)

    def encode(self) -> bytes:
        """The file as it should be (PS3.10 7)."""
        meta = encode_file_meta(self.sop_class_uid, self.sop_instance_uid, self.syntax.uid)
        return PREAMBLE + meta + encode_body(b"".join(raw for _, raw in self.elements), self.syntax)


@dataclass(frozen=True, slots=True)
class Template:
    """All instances of a series: per element the bytes, or how to make them."""

    syntax: Syntax
    sop_class_uid: str
    parts: tuple[tuple[int, bytes | Varying], ...]
    chunks: tuple[bytes | Varying, ...]

    def encode(self, index: int, sop_instance_uid: str) -> bytes:
        """The file of instance ``index``, counted from 0."""
        body = b"".join([part if isinstance(part, bytes) else self._fill(part, index) for part in self.chunks])
        meta = encode_file_meta(self.sop_class_uid, sop_instance_uid, self.syntax.uid)
        return PREAMBLE + meta + encode_body(body, self.syntax)

    def take_apart(self, index: int, sop_instance_uid: str) -> Instance:
        """The same instance in pieces."""
        elements = tuple(
            (tag, part if isinstance(part, bytes) else self._fill(part, index)) for tag, part in self.parts
        )
        return Instance(self.syntax, self.sop_class_uid, sop_instance_uid, elements)

    def _fill(self, part: Varying, index: int) -> bytes:
        raw = encode_value(part.vr, part.value(index), big_endian=self.syntax.big_endian)
        return encode_element(part.tag, part.vr, raw, self.syntax)


def make_template(draft: Draft, syntax: Syntax, *, undefined_lengths: bool = False) -> Template:
    """Encode what does not vary, once.

    Args:
        draft: the series.
        syntax: how to encode it.
        undefined_lengths: end sequences and items with delimiters instead of giving their lengths (PS3.5 7.5).
    """
    if undefined_lengths:
        _undefine_lengths(draft.header)
    varying: dict[int, bytes | Varying] = {element.tag: element for element in draft.varying}
    parts = tuple(sorted((_encode_header(draft.header, syntax) | varying).items()))
    return Template(syntax, str(draft.header.SOPClassUID), parts, _join(parts))


def encode_body(body: bytes, syntax: Syntax) -> bytes:
    """The data set as it stands in the file: deflated where the syntax says so (PS3.5 A.5)."""
    return deflate(body) if syntax.deflated else body


def _undefine_lengths(dataset: Dataset) -> None:
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _undefine_lengths(item)


def _encode_header(header: Dataset, syntax: Syntax) -> dict[int, bytes | Varying]:
    charset = header.get("SpecificCharacterSet") or None
    terms = [charset] if isinstance(charset, str) else list(charset or [])
    encoded: dict[int, bytes | Varying] = {}
    for element in header:
        stream = DicomBytesIO()
        stream.is_little_endian = not syntax.big_endian
        stream.is_implicit_VR = syntax.implicit
        write_data_element(stream, element, terms)
        encoded[int(element.tag)] = stream.getvalue()
    return encoded


def _join(parts: tuple[tuple[int, bytes | Varying], ...]) -> tuple[bytes | Varying, ...]:
    chunks: list[bytes | Varying] = []
    for is_fixed, run in groupby((part for _, part in parts), key=lambda part: isinstance(part, bytes)):
        found = list(run)
        chunks += [b"".join(part for part in found if isinstance(part, bytes))] if is_fixed else found
    return tuple(chunks)
