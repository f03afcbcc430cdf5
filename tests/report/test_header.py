"""The header of one file is read as ``extract`` reads it, and no further than it goes."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from dicomflow.config import HeaderConfig
from dicomflow.errors import Code, HeaderError, Status
from dicomflow.read import read_headers
from dicomflow.report.header import HeaderReport, inspect_header
from dicomflow.schema.profile import load_profile
from dicomflow.synth import KINDS, iter_files, make_series
from tests.conftest import CORPUS
from tests.dicom_bytes import DICOMDIR_UID, file, item, sequence
from tests.dicom_bytes import element as dicom_element

STANDARD = load_profile("standard")


def inspect(path: Path | str, **limits: int) -> HeaderReport:
    """With the standard profile, and the default limits but for these."""
    return inspect_header(str(path), STANDARD, HeaderConfig(**limits))


def write(path: Path, data: bytes) -> Path:
    """A file."""
    path.write_bytes(data)
    return path


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """An element in explicit VR little endian."""
    if vr in (b"OB", b"UN", b"UT"):
        return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


UID = element(8, 0x18, b"UI", b"1.2.3\0")


def agree(path: Path) -> bool:
    """Whether row and issues are those of ``read_headers``; False where the file gives no row."""
    table = read_headers(path, errors="skip")
    try:
        report = inspect(path)
    except HeaderError:
        assert table.num_rows == 0
        return False
    if table.num_rows == 0:
        assert report.row == {}
        return False
    expected = table.to_pylist()[0]
    names = [column.name for column in STANDARD.columns]
    assert {name: report.row[name] for name in names} == {name: expected[name] for name in names}
    assert report.outcome.status == expected["status"]
    assert report.header_bytes == expected["header_bytes"]
    found = [(issue.path, str(issue.code), issue.raw) for issue in report.issues]
    assert found == [tuple(issue.values()) for issue in expected["issues"] or ()]
    return True


def test_synthetic_rows_are_those_of_the_dataset(tmp_path: Path) -> None:
    """Sound and faulty files of all kinds: the same row, status and issues as the dataset has."""
    for number, made in enumerate(iter_files(files=150, seed=5, corrupt=0.4)):
        agree(write(tmp_path / str(number), made.data))


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus of real files here")
def test_real_rows_are_those_of_the_dataset() -> None:
    """The same for real files, every twelfth of them."""
    files = sorted(path for path in CORPUS.rglob("*") if path.is_file())[::12]
    assert sum(agree(path) for path in files) > len(files) // 2


@pytest.mark.parametrize("kind", KINDS)
def test_small_first_reads_change_nothing(tmp_path: Path, kind: str) -> None:
    """However little the first read takes, tree and row are the same."""
    path = write(tmp_path / kind, next(make_series(kind, seed=2)).data)
    assert inspect(path, prefix_bytes=1024) == inspect(path, prefix_bytes=1 << 20)


def test_pixels_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large file only the beginning is read."""
    seen: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: seen.append(at + size) or real(fd, size, at))
    path = write(tmp_path / "big", bytes(128) + b"DICM" + UID + element(0x7FE0, 0x10, b"OB", bytes(1 << 20)))
    report = inspect(path)
    assert max(seen) <= 32 * 1024
    assert (report.size, report.outcome.status) == ((1 << 20) + len(UID) + 144, Status.OK)


def test_the_limit_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header longer than the limit is partial, and nothing beyond the limit is read."""
    seen: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: seen.append(at + size) or real(fd, size, at))
    long = b"".join(element(0x11, 0x1000 + number, b"UN", bytes(50_000)) for number in range(20))
    report = inspect(write(tmp_path / "long", bytes(128) + b"DICM" + UID + long), max_header_bytes=64 * 1024)
    assert max(seen) <= 64 * 1024
    assert (report.outcome.status, report.outcome.code) == (Status.PARTIAL, Code.LIMIT_HEADER_BYTES)
    assert report.row["SOPInstanceUID"] == "1.2.3"


def test_all_records_of_a_dicomdir_are_shown(tmp_path: Path) -> None:
    """Also of one that is longer than the first read."""
    record = item(dicom_element(0x00041430, "CS", b"IMAGE "))
    kind = dicom_element(0x00020002, "UI", DICOMDIR_UID)
    path = write(tmp_path / "DICOMDIR", file(sequence(0x00041220, [record] * 3000), kind))
    report = inspect(path, prefix_bytes=1024)
    assert report.outcome.code == Code.DICOMDIR
    assert [len(one.value) for one in report.header.elements] == [3000]


def test_sequence_columns_are_those_of_the_dataset(tmp_path: Path) -> None:
    """As JSON, as ``read_headers`` gives them."""
    (tmp_path / "own.yaml").write_text("profile: own\ncolumns: [ReferencedImageSequence]\n")
    inner = item(dicom_element(0x00081155, "UI", b"1.2.4\0"))
    path = write(tmp_path / "one", file(UID + sequence(0x00081140, [inner])))
    report = inspect_header(str(path), load_profile(str(tmp_path / "own.yaml")), HeaderConfig())
    (row,) = read_headers(path, columns=str(tmp_path / "own.yaml")).to_pylist()
    assert report.row["ReferencedImageSequence"] == row["ReferencedImageSequence"]
    assert row["ReferencedImageSequence"] == '[{"00081155":{"vr":"UI","Value":["1.2.4"]}}]'


def test_a_cut_file_is_partial(tmp_path: Path) -> None:
    """The outcome names the offset where the file ends, and the elements before it are there."""
    whole = bytes(128) + b"DICM" + UID
    report = inspect(write(tmp_path / "cut", whole + element(0x10, 0x20, b"LO", b"12345678")[:-3]))
    assert (report.outcome.status, report.outcome.code, report.outcome.offset) == (
        Status.PARTIAL, Code.TRUNCATED, len(whole),
    )  # fmt: skip
    assert [one.tag for one in report.header.elements] == [0x00080018]


def test_no_uid_is_failed_but_shown(tmp_path: Path) -> None:
    """Elements are shown even where the dataset would have no row."""
    report = inspect(write(tmp_path / "no-uid", bytes(128) + b"DICM" + element(0x10, 0x20, b"LO", b"1234")))
    assert (report.outcome.code, report.row) == (Code.MISSING_SOP_INSTANCE_UID, {})
    assert len(report.header.elements) == 1


@pytest.mark.parametrize("name", ["text", "empty", "folder", "fifo", "nowhere", "nul\0", "text/below"])
def test_what_cannot_be_shown(tmp_path: Path, name: str) -> None:
    """Each is a HeaderError of one line that names the file; a FIFO is not waited for."""
    (tmp_path / "text").write_text("this is no DICOM file, but it is long enough to be looked at\n" * 4)
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(HeaderError) as caught:
        inspect(f"{tmp_path}/{name}")
    assert str(caught.value).startswith(f"{tmp_path}/{name}: ")
    assert len(str(caught.value).splitlines()) == 1
