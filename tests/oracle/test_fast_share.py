"""The fast reader takes nearly every file itself; what it leaves to pydicom is known by name."""

import pytest

from dicomflow.errors import Status
from dicomflow.header.reader import COMPILED, HeaderReader
from dicomflow.schema.profile import load_profile
from tests.oracle.files import oracle_files
from tests.scanning import feed

LEFT_TO_PYDICOM: dict[str, str] = {}
"""File -> why; none is left."""

pytestmark = pytest.mark.skipif(not COMPILED, reason="pydicom reads everything where nothing is compiled")


def test_the_fast_reader_takes_nearly_every_file():
    """At least 99.5 % of the files that hold a data set, and all but those that are named."""
    reader = HeaderReader(load_profile("standard").columns, rows=len(oracle_files()))
    data_sets, left = 0, []
    for path in oracle_files():
        outcome = feed(reader, path.read_bytes())
        if outcome is None or outcome.status is not Status.NOT_DICOM:
            data_sets += 1
            left += [path.name] if reader.by_pydicom else []
    assert set(left) <= LEFT_TO_PYDICOM.keys()
    assert len(left) <= 0.005 * data_sets, (left, data_sets)
    assert data_sets >= 80  # what pydicom brings along
