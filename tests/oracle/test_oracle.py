"""The oracle itself: what it must object to, on a row that is made wrong on purpose."""

import json
from typing import Any

import pytest

from dicomflow.header.dicom_json import to_dicom_json
from dicomflow.header.tree import read_tree
from dicomflow.read import read_headers
from dicomflow.schema.profile import load_profile
from tests.dicom_bytes import element, file, item, sequence
from tests.oracle.columns import row_differences, sequence_differences
from tests.oracle.files import read_dataset
from tests.oracle.model import model_differences, pydicom_model

DATA = file(
    element(0x00080018, "UI", b"1.2.3\0")
    + element(0x00080020, "DA", b"20200131")
    + element(0x00080030, "TM", b"12:30:01")
    + element(0x00081140, "SQ", b"")
    + sequence(0x00082112, [item(element(0x00081155, "UI", b"1.2.4\0"))])
    + element(0x00100010, "PN", b"A^B=")
    + element(0x00100030, "DA", b"*** ")
    + element(0x00191001, "UN", b"\1\0")
    + element(0x00280030, "DS", b"0.5\\x\\0.25 ")
)
COLUMNS = ["StudyDate", "StudyTime", "SourceImageSequence", "PatientName", "PatientBirthDate", "PixelSpacing"]


def differences(tmp_path, **changes: Any) -> list[str]:
    """What is objected to in the row of ``DATA`` with these changes."""
    (tmp_path / "own.yaml").write_text("profile: own\ncolumns: [" + ", ".join(COLUMNS) + "]\n")
    columns = load_profile(str(tmp_path / "own.yaml")).columns
    (row,) = read_headers(DATA, columns=str(tmp_path / "own.yaml")).to_pylist()
    dataset, elements = read_dataset(DATA), read_tree(DATA).elements
    row |= changes
    found = [*row_differences(row, dataset, columns), *sequence_differences(row, dataset, elements, columns)]
    return [one.partition(":")[0] for one in found]


def test_a_right_row_is_accepted(tmp_path):
    """The old time, the group at the end of the name and the two bad values are explained, all else is equal."""
    assert differences(tmp_path) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"StudyDate": None},
        {"StudyTime": None},
        {"PatientName": "A"},
        {"PatientName": "A^B=C"},
        {"PixelSpacing": [0.5, None, 0.26]},
        {"PixelSpacing": [0.5, 0.25]},
        {"PixelSpacing": None},
        {"SourceImageSequence": None},
    ],
)
def test_a_wrong_value_is_not(tmp_path, changes):
    """Also a null, and also beside a value that has an issue."""
    assert differences(tmp_path, **changes) == list(changes)


@pytest.mark.parametrize("code", ["bad_value", "utc_offset", "charset_undeclared"])
def test_an_issue_that_is_not_true_excuses_nothing(tmp_path, code):
    """A null has to have the issue that made it one."""
    issues = [{"path": "StudyDate", "code": code, "raw": "20200131"}]
    kept = [
        {"path": name, "code": "bad_value", "raw": raw}
        for name, raw in (("PatientBirthDate", "***"), ("PixelSpacing", "x"))
    ]
    assert differences(tmp_path, StudyDate=None, issues=[*issues, *kept]) == ["StudyDate"]
    assert differences(tmp_path, issues=kept[1:]) == ["PatientBirthDate"]
    assert differences(tmp_path, issues=kept[:1]) == ["PixelSpacing"]


@pytest.mark.parametrize(
    ("tag", "changed"),
    [
        ("00080020", {"vr": "DA", "Value": ["20200132"]}),
        ("00082112", {"vr": "SQ", "Value": []}),
        ("00191001", {"vr": "UN", "InlineBinary": "AgA="}),
        ("00280030", {"vr": "DS", "Value": [0.5, None, 0.25]}),
        ("00100010", {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "C"}]}),
        ("00100040", {"vr": "CS"}),
    ],
)
def test_a_wrong_model_is_not_accepted(tag, changed):
    """Each element counts, private ones too."""
    elements, theirs = read_tree(DATA).elements, pydicom_model(read_dataset(DATA))
    ours = json.loads(json.dumps(to_dicom_json(elements)))
    assert list(model_differences(elements, ours, theirs)) == []
    assert [one[:8] for one in model_differences(elements, ours | {tag: changed}, theirs)] == [tag]
    if tag in ours:
        assert list(model_differences(elements, {key: ours[key] for key in ours.keys() - {tag}}, theirs))
