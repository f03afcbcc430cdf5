"""``dicomflow show`` prints one header, as a table or as DICOM JSON."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pydicom
import pytest

from dicomflow.synth import KINDS, make_series
from tests.zipped import pack

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


# ---- members of archives ----


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("how", [{"method": zipfile.ZIP_STORED}, {}, {"stream": True}, {"prefix": b"#!/bin/sh"}])
@pytest.mark.parametrize("kind", ["ct", "sr", "seg"])
def test_member(run: Run, tmp_path: Path, kind: str, how: dict[str, Any]) -> None:
    """As the file is shown; of two with one name the last one."""
    data = next(make_series(kind, seed=6)).data
    (tmp_path / "plain").write_bytes(data)
    (tmp_path / "some.zip").write_bytes(pack([("a/é", b"other"), ("b", b"no"), ("a/é", data)], **how))
    found = run("show", tmp_path / "some.zip", "a/é", "--json")
    assert (found.code, found.err) == (0, "") and found.out == run("show", tmp_path / "plain", "--json").out
    assert run("show", tmp_path / "some.zip", "a/é").out == run("show", tmp_path / "plain").out


def test_members_that_cannot_be_shown(run: Run, tmp_path: Path) -> None:
    """One line that says why, and its exit code."""
    data = next(make_series("ct", seed=6)).data
    archive = pack([("good", data), ("text", b"no DICOM" * 50), ("bad", data)])
    path = tmp_path / "some.zip"
    path.write_bytes(archive)
    odd = bytearray(archive)
    odd[archive.rindex(b"PK\1\2") + 8] |= 1  # the last one asks for a password
    (tmp_path / "secret.zip").write_bytes(odd)
    begin = archive.rindex(b"PK\3\4")
    (tmp_path / "damaged.zip").write_bytes(archive[: begin + 40] + b"\xff" * 60 + archive[begin + 100 :])
    (tmp_path / "cut.zip").write_bytes(archive[:-30])
    (tmp_path / "plain").write_bytes(data)
    for arguments, message in [
        ([path], "name a member"),
        ([path, "nowhere"], "some.zip member nowhere: is not in the archive"),
        ([path, "text"], "some.zip member text: not DICOM: "),
        ([tmp_path / "secret.zip", "bad"], "is encrypted"),
        ([tmp_path / "damaged.zip", "bad"], "damaged inside its header"),
        ([tmp_path / "cut.zip", "good"], "was cut short"),
        ([tmp_path / "plain", "good"], "is no ZIP archive"),
        ([tmp_path, "good"], "is a folder"),
        ([tmp_path / "gone.zip", "good"], "gone.zip: No such file"),
    ]:
        outcome = run("show", *arguments)
        assert outcome.code == 1 and outcome.out == "" and message in outcome.err, (message, outcome.err)
        assert outcome.err.count("\n") == 1


def test_member_that_is_cut(run: Run, tmp_path: Path) -> None:
    """Its elements as far as they go, and that it ends."""
    data = next(make_series("ct", seed=6)).data[:900]
    (tmp_path / "some.zip").write_bytes(pack([("a", data)]))
    (tmp_path / "plain").write_bytes(data)
    found, plain = run("show", tmp_path / "some.zip", "a"), run("show", tmp_path / "plain")
    assert "partial" in found.out and found.out.splitlines()[1:5] == plain.out.splitlines()[1:5]
