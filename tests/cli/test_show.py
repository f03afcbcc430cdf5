"""``dicomflow show`` prints one header, as a table or as DICOM JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest

from dicomflow.synth import KINDS, make_series

from .conftest import Run


def test_table(run: Run, ct: Path) -> None:
    """File meta, data set and outcome on stdout, nothing on stderr."""
    outcome = run("show", ct)
    assert (outcome.code, outcome.err) == (0, "")
    for text in ("(0002,0010) UI  TransferSyntaxUID", "(0008,0060) CS  Modality", "\nok\n", "reader   fast"):
        assert text in outcome.out


@pytest.mark.parametrize("kind", KINDS)
def test_json_is_read_by_pydicom(run: Run, tmp_path: Path, kind: str) -> None:
    """DICOM JSON with the elements that pydicom finds up to the pixels."""
    path = tmp_path / kind
    path.write_bytes(next(make_series(kind, seed=6)).data)
    outcome = run("show", path, "--json")
    expected = pydicom.dcmread(path, stop_before_pixels=True)
    found = json.loads(outcome.out)
    assert list(found) == [f"{tag:08X}" for tag in sorted(expected.keys()) if tag.element]
    assert found["00080018"]["Value"] == [expected.SOPInstanceUID]
    assert found["00080060"]["Value"] == [expected.Modality]


def test_columns(run: Run, ct: Path) -> None:
    """Only the columns of the profile."""
    outcome = run("show", ct, "--columns", "minimal")
    assert outcome.code == 0
    assert "Modality" in outcome.out
    assert "FileMetaInformationVersion" not in outcome.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 1, "nowhere: No such file or directory"),
        (["."], 1, "is a folder"),
        (["text"], 1, "text: not DICOM: "),
        (["ct.dcm", "--columns", "standart"], 2, "did you mean 'standard'?"),
        (["ct.dcm", "--columns", "minimal", "--json"], 2, "--json shows all elements"),
        (["\x1b[31mred"], 1, "\\x1b[31mred: No such file"),
    ],
)
def test_refusals(
    monkeypatch: pytest.MonkeyPatch, run: Run, ct: Path, arguments: list[str], code: int, message: str
) -> None:
    """What cannot be shown is one clear line and its exit code."""
    monkeypatch.chdir(ct.parent)
    (ct.parent / "text").write_text("no DICOM here\n" * 20)
    outcome = run("show", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert "\x1b" not in outcome.err
