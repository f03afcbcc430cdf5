"""Faults as archives have them, put into an instance on purpose.

In: the name of a fault, an ``Instance``, a stream of draws.  Out: the bytes of the faulty file.
Knows what is wrong, not what a reader makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from types import MappingProxyType

from dicomflow.synth.dicomdir import make_dicomdir
from dicomflow.synth.draw import Draw, make_uid
from dicomflow.synth.syntax import PIXEL_DATA, PREAMBLE, SYNTAXES, encode_element, encode_file_meta, encode_value
from dicomflow.synth.template import SOP_INSTANCE_UID, Instance, encode_body

_LONG_ENOUGH = 10  # bytes of an encoded element that has a value to cut into
_HEADER_SIZE = 12  # of an element, at most
_DECLARED_INSTEAD = MappingProxyType({"explicit": "implicit", "implicit": "explicit", "big-endian": "explicit"})
_CONFLICTS = ("SERIES", "TEXT")


def corrupt_instance(name: str, instance: Instance, draw: Draw) -> bytes:
    """The file with one of ``CORRUPTIONS``; for ``duplicate`` and ``conflict``, ``instance`` is the original."""
    return _FAULTS[name](instance, draw)


def _truncate_between(instance: Instance, draw: Draw) -> bytes:
    """The file ends between two header elements, after SOPInstanceUID: nothing but the missing rest betrays it.

    A deflated data set is cut at the same offset of its stream.  No code is shorter than eight bits, so this is in
    the header too.
    """
    head, ends = _measure(instance)
    return instance.encode()[: head + draw.pick(ends[:-1])]


def _truncate_within(instance: Instance, draw: Draw) -> bytes:
    """The file ends inside the value of a header element after SOPInstanceUID."""
    head, ends = _measure(instance)
    spans = [(start, end) for start, end in pairwise(ends) if end - start >= _LONG_ENOUGH]
    start, end = draw.pick(spans)
    return instance.encode()[: head + draw.integer(min(start + _HEADER_SIZE + 1, end - 1), end - 1)]


def _measure(instance: Instance) -> tuple[int, list[int]]:
    """Bytes before the data set; where header elements from SOPInstanceUID on end, counted from its start."""
    sizes = list(accumulate(len(raw) for _, raw in instance.elements))
    tags = [tag for tag, _ in instance.elements]
    ends = [end for tag, end in zip(tags, sizes, strict=True) if SOP_INSTANCE_UID <= tag < PIXEL_DATA]
    return len(PREAMBLE) + len(_encode_meta(instance)), ends


def _encode_meta(instance: Instance) -> bytes:
    return encode_file_meta(instance.sop_class_uid, instance.sop_instance_uid, instance.syntax.uid)


def _encode_dataset(instance: Instance) -> bytes:
    return encode_body(b"".join(raw for _, raw in instance.elements), instance.syntax)


def _write_text(_: Instance, draw: Draw) -> bytes:
    lines = (f"2021-03-{draw.integer(10, 28)} export of series {draw.integer(1, 99)} finished" for _ in range(6))
    return "\n".join(lines).encode() + b"\n"


def _conflict(instance: Instance, draw: Draw) -> bytes:
    """The same SOP Instance UID sent again: in another series, or with another comment."""
    key = draw.integer(0, 10**9)
    if draw.pick(_CONFLICTS) == "SERIES":
        return _replace_text(instance, 0x0020000E, "UI", make_uid("conflict", key))
    return _replace_text(instance, 0x00204000, "LT", f"sent again, corrected, no. {key}")


def _replace_text(instance: Instance, tag: int, vr: str, text: str) -> bytes:
    return _replace(instance, tag, vr, encode_value(vr, text))


def _replace(instance: Instance, tag: int, vr: str, raw: bytes) -> bytes:
    return instance.replace({tag: encode_element(tag, vr, raw, instance.syntax)}).encode()


def _bad_text(tag: int, vr: str, *texts: str) -> Callable[[Instance, Draw], bytes]:
    """A fault that replaces (or adds) one element by one of these texts."""
    return lambda instance, draw: _replace_text(instance, tag, vr, draw.pick(texts))


def _undeclare_charset(instance: Instance, _: Draw) -> bytes:
    """UTF-8 in PatientName without SpecificCharacterSet."""
    raw = "Ñandú^Zoë".encode()
    name = encode_element(0x00100010, "PN", raw + b" " * (len(raw) % 2), instance.syntax)
    return instance.replace({0x00080005: None, 0x00100010: name}).encode()


def _drop_preamble(instance: Instance, _: Draw) -> bytes:
    return _encode_meta(instance) + _encode_dataset(instance)


def _drop_file_meta(instance: Instance, _: Draw) -> bytes:
    """The data set alone; readable only where it is native, so a compressed or deflated one keeps its file meta."""
    native = not instance.syntax.deflated and not instance.syntax.codec
    return (b"" if native else _encode_meta(instance)) + _encode_dataset(instance)


def _declare_other_syntax(instance: Instance, _: Draw) -> bytes:
    """File meta names another transfer syntax than the data set has; a deflated one is not deflated."""
    if instance.syntax.deflated:
        body = b"".join(raw for _, raw in instance.elements)
        return PREAMBLE + _encode_meta(instance) + body
    declared = SYNTAXES[_DECLARED_INSTEAD.get(instance.syntax.name, "implicit")]
    meta = encode_file_meta(instance.sop_class_uid, instance.sop_instance_uid, declared.uid)
    return PREAMBLE + meta + _encode_dataset(instance)


def _drop_uid(instance: Instance, _: Draw) -> bytes:
    """No SOP Instance UID anywhere."""
    meta = encode_file_meta(instance.sop_class_uid, None, instance.syntax.uid)
    return PREAMBLE + meta + _encode_dataset(instance.replace({SOP_INSTANCE_UID: None}))


_FAULTS: MappingProxyType[str, Callable[[Instance, Draw], bytes]] = MappingProxyType(
    {
        "truncated-header": _truncate_between,
        "duplicate": lambda instance, draw: instance.encode(),
        "truncated-element": _truncate_within,
        "conflict": _conflict,
        "text-file": _write_text,
        "empty-file": lambda instance, draw: b"",
        "dicomdir": lambda instance, draw: make_dicomdir(draw),
        "random-bytes": lambda instance, draw: PREAMBLE + draw.blob(draw.integer(200, 2000)),
        "no-preamble": _drop_preamble,
        "no-file-meta": _drop_file_meta,
        "lying-syntax": _declare_other_syntax,
        "no-sop-instance-uid": _drop_uid,
        "uid-in-file-meta": lambda instance, draw: instance.replace({SOP_INSTANCE_UID: None}).encode(),
        "bad-ds": _bad_text(0x00101030, "DS", "1,5", "@", "nan", "12.3456789012345678"),
        "bad-is": _bad_text(0x00200013, "IS", "4.1", "1e3", "F"),
        "bad-da": _bad_text(0x00080020, "DA", "20200230", "00000000", "2020"),
        "bad-tm": _bad_text(0x00080030, "TM", "240000", "235960", "1:2"),
        "bad-uid": _bad_text(0x00200052, "UI", "2.25." + "1" * 70, "1.02..3", "N/A"),
        "bad-us": lambda instance, draw: _replace(instance, 0x00280010, "US", b"\x10\x00\x01"),
        "undeclared-utf8": _undeclare_charset,
    }
)

CORRUPTIONS: tuple[str, ...] = tuple(_FAULTS)
"""Names of the faults; files take them in turn."""

FILE_NAMES: MappingProxyType[str, str] = MappingProxyType({"text-file": "{}.txt", "dicomdir": "{}.media/DICOMDIR"})
"""Fault -> name of the file, where it is not that of the instance."""
