"""A DICOMDIR: the directory of a DICOM medium, with records that point to each other by file offset (PS3.3 F).

In: a stream of draws.  Out: the bytes of the file.  Knows the four record types PATIENT, STUDY, SERIES, IMAGE.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicomflow.synth.draw import Draw, make_uid
from dicomflow.synth.study import Attributes, make_dataset
from dicomflow.synth.syntax import PREAMBLE, SYNTAXES, encode_element, encode_file_meta, encode_value

_SOP_CLASS = "1.2.840.10008.1.3.10"
_CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT = SYNTAXES["explicit"]
_RECORD_IN_USE = 0xFFFF


class _Record(NamedTuple):
    level: int
    attributes: Attributes


def make_dicomdir(draw: Draw) -> bytes:
    """A medium with one patient, one study and a few images in one or two series."""
    records = _draw_records(draw)
    start = len(_encode_head(0, 0, 0))
    sizes = [len(_encode_item(record, 0, 0)) for record in records]
    offsets = [start + sum(sizes[:number]) for number in range(len(sizes))]
    items = [
        _encode_item(record, _find_next(records, offsets, number), _find_lower(records, offsets, number))
        for number, record in enumerate(records)
    ]
    return _encode_head(offsets[0], offsets[0], sum(sizes)) + b"".join(items)


def _draw_records(draw: Draw) -> list[_Record]:
    key = draw.integer(0, 10**9)
    patient = {"PatientName": "Medium^Test", "PatientID": f"CD{key}"}
    study = {
        "StudyDate": "20190405",
        "StudyTime": "101500",
        "StudyDescription": "Export",
        "StudyInstanceUID": make_uid("medium", key),
        "StudyID": "1",
        "AccessionNumber": "",
    }
    records = [_make_record(0, "PATIENT", patient), _make_record(1, "STUDY", study)]
    for series in range(1, draw.integer(1, 2) + 1):
        uid = make_uid("medium", key, series)
        attributes = {"Modality": "CT", "SeriesInstanceUID": uid, "SeriesNumber": series}
        records.append(_make_record(2, "SERIES", attributes))
        records += [_make_image(key, series, image) for image in range(1, draw.integer(1, 4) + 1)]
    return records


def _make_image(key: int, series: int, image: int) -> _Record:
    attributes = {
        "ReferencedFileID": ["DICOM", f"SE{series:06d}", f"IM{image:06d}"],
        "ReferencedSOPClassUIDInFile": _CT_CLASS,
        "ReferencedSOPInstanceUIDInFile": make_uid("medium", key, series, image),
        "ReferencedTransferSyntaxUIDInFile": _EXPLICIT.uid,
        "InstanceNumber": image,
    }
    return _make_record(3, "IMAGE", attributes)


def _make_record(level: int, kind: str, attributes: Attributes) -> _Record:
    return _Record(level, {"RecordInUseFlag": _RECORD_IN_USE, "DirectoryRecordType": kind, **attributes})


def _find_next(records: list[_Record], offsets: list[int], number: int) -> int:
    """Offset of the next record under the same parent; 0 where there is none."""
    level = records[number].level
    for other in range(number + 1, len(records)):
        if records[other].level <= level:
            return offsets[other] if records[other].level == level else 0
    return 0


def _find_lower(records: list[_Record], offsets: list[int], number: int) -> int:
    """Offset of the first record below; 0 where there is none."""
    below = number + 1 < len(records) and records[number + 1].level > records[number].level
    return offsets[number + 1] if below else 0


def _encode_item(record: _Record, following: int, lower: int) -> bytes:
    links = {
        "OffsetOfTheNextDirectoryRecord": following,
        "OffsetOfReferencedLowerLevelDirectoryEntity": lower,
    }
    content = _encode(make_dataset(record.attributes | links))
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def _encode_head(first: int, last: int, items_size: int) -> bytes:
    """Everything before the first record; its length does not depend on the arguments."""
    uid = make_uid("medium", "directory")
    directory = {
        "FileSetID": "EXPORT",
        "OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity": first,
        "OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity": last,
        "FileSetConsistencyFlag": 0,
    }
    empty = encode_element(0x00041220, "SQ", b"", _EXPLICIT)
    sequence = empty[:-4] + encode_value("UL", items_size)
    return PREAMBLE + encode_file_meta(_SOP_CLASS, uid, _EXPLICIT.uid) + _encode(make_dataset(directory)) + sequence


def _encode(dataset: Dataset) -> bytes:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, dataset)
    return bytes(stream.getvalue())
