"""``dicomflow show --json`` is pydicom's ``to_json_dict``, over all files, private elements and nested sequences included."""

import json
from pathlib import Path

import pydicom
import pytest

from dicomflow.config import HeaderConfig
from dicomflow.errors import HeaderError, Status
from dicomflow.header.dicom_json import to_dicom_json
from dicomflow.report.header import inspect_header
from dicomflow.schema.profile import load_profile
from tests.oracle.files import ONLY_WE_READ, PYDICOM_STOPS, Sight, chunks, has_key, quietly, see
from tests.oracle.model import model_differences, pydicom_model, read_after

NAMED = {
    # Its last record is longer than the sequence that holds it; a length is what ends an item, PS3.5 7.5.1.
    ("DICOMDIR-nooffset", "00041220"),
}
"""(file, element) in which the standard is with dicomflow and no rule fits."""


def differences(path: Path) -> list[str]:
    """What the command would print of this file and pydicom would not, or the other way round."""
    sight = see(path)
    try:
        header = inspect_header(str(path), load_profile("minimal"), HeaderConfig()).header
    except HeaderError as error:
        return [f"{path.name}: {error}"] if _holds_a_data_set(sight) else []
    ours = to_dicom_json(header.elements)
    json.dumps(ours, allow_nan=False)
    if sight.dataset is None:
        return [] if path.name in ONLY_WE_READ else [f"{path.name}: only we read it"]
    theirs = quietly(lambda: pydicom_model(sight.dataset))
    whole = header.outcome.status in (Status.OK, Status.SKIPPED)
    beyond = frozenset() if whole else read_after(sight.dataset, header.stop_offset)
    found = model_differences(header.elements, ours, theirs, implicit=header.encoding.implicit, beyond=beyond)
    return [f"{path.name}: {one}" for one in found if not _is_known(path.name, one)]


def _is_known(name: str, difference: str) -> bool:
    """Whether the standard is with us: a named exception, or what pydicom did not come to."""
    stops = PYDICOM_STOPS.get(name, 0xFFFFFFFF)
    place = int(difference[:8], 16)
    missed = place == stops or (place > stops and difference[8:] == ": not in pydicom's")
    return missed or (name, difference[:8]) in NAMED


def _holds_a_data_set(sight: Sight) -> bool:
    """Pydicom reads any bytes by force; a data set has a key, or begins as PS3.10 7.1 says."""
    return has_key(sight.dataset) or quietly(lambda: pydicom.dcmread(sight.path, stop_before_pixels=True)) is not None


@pytest.mark.parametrize("chunk", chunks(), ids=lambda chunk: chunk[0].name)
def test_show_json_equals_to_json_dict(chunk):
    """No difference but those that a rule of the standard explains."""
    assert [found for path in chunk for found in differences(path)] == []
