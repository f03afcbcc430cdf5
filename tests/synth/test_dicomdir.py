"""The DICOMDIR: its records are reached by their offsets."""

from __future__ import annotations

import io

import pydicom
import pytest

from dicomflow.synth.dicomdir import make_dicomdir
from dicomflow.synth.draw import Draw


@pytest.mark.parametrize("key", range(6))
def test_offsets_lead_to_every_record(key: int) -> None:
    """Walking from the root over next and lower offsets meets every record once, children below parents."""
    dataset = pydicom.dcmread(io.BytesIO(make_dicomdir(Draw(key))))
    assert dataset.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.1.3.10"
    records = {record.seq_item_tell: record for record in dataset.DirectoryRecordSequence}
    found = []

    def walk(offset: int, level: int) -> None:
        while offset:
            record = records[offset]
            assert record.DirectoryRecordType == ("PATIENT", "STUDY", "SERIES", "IMAGE")[level]
            found.append(offset)
            walk(record.OffsetOfReferencedLowerLevelDirectoryEntity, level + 1)
            offset = record.OffsetOfTheNextDirectoryRecord

    walk(dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity, 0)
    assert found == sorted(records)
