"""The DICOM JSON Model of both readers, held against each other element by element.

Pydicom's is first brought into the form that PS3.18 annex F wants, one named step each; what is left must be equal, but for
``RULES``: differences in which the standard is with dicomflow, each checked on the bytes of the element.
"""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomflow.header.element import Element
from dicomflow.schema.column import STOP_TAG
from tests.oracle.files import quietly

Model = dict[str, Any]

RAISES = "raises"
"""The VR that stands in pydicom's model where it cannot write an element."""


def pydicom_model(dataset: Dataset) -> Model:
    """``Dataset.to_json_dict()``; where that raises, the same element by element."""
    whole = quietly(dataset.to_json_dict)
    return whole if whole is not None else {f"{tag:08X}": pydicom_element(dataset, tag) for tag in list(dataset.keys())}


def pydicom_element(dataset: Dataset, tag: int) -> Model:
    """The same of one element; its VR is ``RAISES`` where pydicom cannot write it."""
    element = quietly(lambda: dataset[tag])
    if element is not None and element.VR == "SQ":
        return {"vr": "SQ", "Value": [pydicom_model(item) for item in element.value]}
    written = None if element is None else quietly(lambda: element.to_json_dict(None, 1024))
    return written or {"vr": RAISES}


def read_after(dataset: Dataset, offset: int) -> frozenset[str]:
    """Elements whose value pydicom took from behind this offset, where it went on although nothing can be read there."""
    places = {tag: quietly(lambda tag=tag: _place(dataset.get_item(tag))) for tag in list(dataset.keys())}
    return frozenset(f"{tag:08X}" for tag, place in places.items() if place is not None and place >= offset)


def _place(element: DataElement | RawDataElement) -> int | None:
    """Where the value stands; without converting it."""
    return element.value_tell if isinstance(element, RawDataElement) else element.file_tell


class Pair(NamedTuple):
    """One element as the two see it: the bytes, our JSON, pydicom's JSON in the standard's form."""

    element: Element
    ours: Model
    theirs: Model
    implicit: bool


def model_differences(
    elements: Iterable[Element],
    ours: Model,
    theirs: Model,
    *,
    implicit: bool = False,
    beyond: frozenset[str] = frozenset(),
    at: str = "",
) -> Iterator[str]:
    """Where our model of these elements differs from pydicom's and no rule explains it.

    Args:
        elements: what ``ours`` was made from.
        ours: our model.
        theirs: pydicom's model.
        implicit: whether the data set is in implicit VR.
        beyond: elements that pydicom read where for us no element can be, and the header had ended: ``read_after``.
        at: path to this data set, for the message.
    """
    known = {f"{element.tag:08X}": element for element in elements}
    yield from (f"{at}{tag}: not in pydicom's" for tag in ours.keys() - theirs.keys())
    for tag, model in theirs.items():
        if tag in beyond:
            continue
        if tag in ours:
            yield from element_differences(known[tag], ours[tag], model, implicit=implicit, at=at + tag)
        elif not _is_left_out(tag):
            yield f"{at}{tag}: only in pydicom's"


def _is_left_out(tag: str) -> bool:
    """Group lengths are no part of the model (PS3.18 F.2.2); the header ends at the stop tag (design, section 4)."""
    return tag.endswith("0000") or int(tag, 16) >= STOP_TAG


def element_differences(
    element: Element, ours: Model, theirs: Model, *, implicit: bool = False, at: str = ""
) -> Iterator[str]:
    """The same of one element."""
    items = theirs.get("Value", [])
    if isinstance(element.value, tuple) and theirs["vr"] == "SQ" and ours["vr"] == "SQ":
        if len(items) != len(element.value) or len(items) != len(ours.get("Value", [])):
            yield f"{at}: not as many items"
            return
        for number, (item, mine, model) in enumerate(zip(element.value, ours.get("Value", []), items, strict=True)):
            inner = item.encoding.implicit
            yield from model_differences(item.elements, mine, model, implicit=inner, at=f"{at}[{number}].")
        return
    pair = Pair(element, _with_bytes(element, ours), _in_the_standards_form(theirs), implicit)
    if pair.ours != pair.theirs and not any(rule(pair) for rule in RULES):
        yield f"{at}: {str(pair.ours)[:200]} is not {str(pair.theirs)[:200]}"


def _with_bytes(element: Element, ours: Model) -> Model:
    """A long binary value is told by its ``length`` (no server, hence no BulkDataURI): put the bytes in its place."""
    if "length" not in ours or not isinstance(element.value, bytes) or ours["length"] != len(element.value):
        return ours
    return {"vr": ours["vr"], "InlineBinary": base64.b64encode(element.value).decode()}


# ---- pydicom's model in the standard's form --------------------------------------------------------------------------


def _in_the_standards_form(theirs: Model) -> Model:
    """No Value where all are empty (PS3.18 F.2.5); pydicom has an empty list there, or empty strings."""
    values = theirs.get("Value", [])
    if theirs["vr"] != "SQ":
        values = [_value(one, theirs["vr"]) for one in values]
    rest = {name: value for name, value in theirs.items() if name != "Value"}
    return rest | ({"Value": values} if any(value is not None for value in values) else {})


def _value(value: Any, vr: str) -> Any:
    if isinstance(value, str):
        return _text(value, vr)
    if isinstance(value, dict):
        return _name(value)
    return value


def _text(text: str, vr: str) -> str | None:
    """Padding is no part of a value, nor are leading spaces for some VRs (PS3.5 table 6.2-1); empty is null (F.2.5)."""
    return text.rstrip(" \0").lstrip(" " if vr in _LEADING_SPACES else "") or None


def _name(groups: Model) -> Model | None:
    """Component groups that are empty are left out (PS3.18 F.2.2)."""
    return {name: without_escapes(group) for name, group in groups.items() if group} or None


_LEADING_SPACES = frozenset(["AE", "CS", "LO", "SH"])
_ESCAPE = re.compile(r"\x1b[$()\-]{1,2}[A-Za-z]")


def without_escapes(text: str) -> str:
    """Escape sequences designate character sets, they are no characters (PS3.5 6.1.2.5.3); pydicom leaves some in."""
    return _ESCAPE.sub("", text)


# ---- rules -----------------------------------------------------------------------------------------------------------


def several_vrs(pair: Pair) -> bool:
    """Pydicom could not choose between VRs; the model wants one (PS3.18 F.2.2), implicit curve data is OW (PS3.5 A.1)."""
    ours, theirs = pair.ours, pair.theirs
    return ours["vr"] in theirs["vr"].split(" or ")[1:] and ours == theirs | {"vr": ours["vr"]}


def private_dictionary(pair: Pair) -> bool:
    """A private element without a VR of its own is UN (PS3.5 6.2.2, 7.8); pydicom knows a VR from elsewhere.

    Our bytes, read by pydicom with that VR, must give what pydicom has.
    """
    element = pair.element
    if not element.tag >> 16 & 1 or not isinstance(element.value, bytes) or pair.ours != _unknown(element.value):
        return False
    return _read_as(pair, pair.theirs["vr"]) == pair.theirs


def _unknown(value: bytes) -> Model:
    return {"vr": "UN", "InlineBinary": base64.b64encode(value).decode()} if value else {"vr": "UN"}


def _read_as(pair: Pair, vr: str) -> Model | None:
    element, dataset = pair.element, Dataset()
    dataset.SpecificCharacterSet = (element.charset or b"").decode("latin-1").strip(" \0").split("\\")
    tag, value = Tag(element.tag), element.raw.raw
    little = not element.big_endian
    dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, pair.implicit, little)
    model = quietly(lambda: dataset[tag].to_json_dict(None, 1024))
    return None if model is None else _in_the_standards_form(model)


def number_as_text(pair: Pair) -> bool:
    """A DS or IS that is no number is written as a string, which PS3.18 table F.2.3-1 allows; pydicom raises."""
    element, kind = pair.element, {"DS": float, "IS": int}.get(pair.ours["vr"])
    if pair.theirs["vr"] != RAISES or kind is None or not isinstance(element.value, bytes):
        return False
    parts = [part.strip(" \0") for part in element.value.decode("latin-1").split("\\")]
    expected = [quietly(lambda part=part: kind(part)) for part in parts]
    expected = [(part or None) if number is None else number for part, number in zip(parts, expected, strict=True)]
    return any(isinstance(one, str) for one in expected) and pair.ours["Value"] == expected


RULES: Sequence[Callable[[Pair], bool]] = (several_vrs, private_dictionary, number_as_text)
"""Differences in which the standard is with dicomflow."""
