"""The script that people write first, as the benchmark's yardstick: dask.bag + dcmread + 44 attributes + pandas + Parquet.

Usage: python usual_script.py SOURCE DEST.parquet
"""

from __future__ import annotations

import os
import sys
from typing import Any

import dask.bag
import pandas as pd
import pydicom

ATTRIBUTES = [
    "SOPInstanceUID",
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientWeight",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "StationName",
    "InstitutionName",
    "SeriesNumber",
    "SeriesDescription",
    "SeriesDate",
    "ProtocolName",
    "BodyPartExamined",
    "PatientPosition",
    "InstanceNumber",
    "AcquisitionNumber",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentDate",
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SliceLocation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "RepetitionTime",
    "EchoTime",
    "FlipAngle",
    "MagneticFieldStrength",
]


def read_one(path: str) -> dict[str, Any]:
    """One row per file, every value as text."""
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    row = {name: str(dataset.get(name, "")) for name in ATTRIBUTES}
    row["path"] = path
    return row


def run(source: str, dest: str) -> int:
    """Read all files below ``source`` into one Parquet file; the number of rows."""
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]
    rows = dask.bag.from_sequence(paths, npartitions=8 * (os.cpu_count() or 1)).map(read_one).compute()
    frame = pd.DataFrame(rows)
    frame.to_parquet(dest)
    return len(frame)


if __name__ == "__main__":
    print(run(sys.argv[1], sys.argv[2]))
