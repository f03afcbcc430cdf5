"""The header as people see it: every element on a line, values typed, faults marked, nothing dangerous."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from rich.cells import cell_len

from dicomflow.config import HeaderConfig
from dicomflow.report.header import inspect_header
from dicomflow.report.table import render_header
from dicomflow.schema.profile import load_profile
from dicomflow.synth import KINDS, iter_files, make_series

UNDEFINED = 0xFFFFFFFF


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """An element in explicit VR little endian."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    size = len(value) if length is None else length
    return (
        head
        + (struct.pack("<HI", 0, size) if vr in ("OB", "OW", "UN", "UT", "SQ") else struct.pack("<H", size))
        + value
    )


def item(*elements: bytes) -> bytes:
    """An item of defined length."""
    value = b"".join(elements)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def show(path: Path, *elements: bytes, width: int | None = None, columns: str | None = None) -> list[str]:
    """The lines for a file of these elements (and a SOP Instance UID)."""
    path.write_bytes(bytes(128) + b"DICM" + element(0x00080018, "UI", b"1.2.3\0") + b"".join(elements))
    return render(path, width, columns)


def render(path: Path, width: int | None = None, columns: str | None = None) -> list[str]:
    """The lines for a file."""
    report = inspect_header(str(path), load_profile(columns or "minimal"), HeaderConfig())
    chunks = render_header(report, width=width, columns=columns is not None)
    return "\n".join(chunk.plain for chunk in chunks).split("\n")


CASES = [
    (element(0x00080060, "CS", b"MR"), "(0008,0060) CS  Modality", "MR"),
    (element(0x00080020, "DA", b"20200131"), "StudyDate", "2020-01-31"),
    (element(0x00080030, "TM", b"1230"), "StudyTime", "12:30:00"),
    (element(0x0008002A, "DT", b"20200131123000.5"), "AcquisitionDateTime", "2020-01-31 12:30:00.500000"),
    (element(0x00280030, "DS", b"0.5\\0.25"), "PixelSpacing", "[0.5, 0.25]"),
    (element(0x00280030, "DS", b"0.5\\@ "), "PixelSpacing", '[0.5, null]  ! bad_value "@"'),
    (element(0x00200013, "IS", b"4.1 "), "InstanceNumber", 'null  ! not_integral "4.1"'),
    (element(0x00200013, "IS", b"1.0 "), "InstanceNumber", "1"),
    (element(0x00280010, "US", b"\x00\x02"), "Rows", "512"),
    (element(0x00080005, "CS", b""), "SpecificCharacterSet", "null"),
    (element(0x00081030, "LO", b"a\\b "), "StudyDescription", "a\\b"),
    (element(0x00104000, "LT", b"one\r\ntwo "), "PatientComments", "one\\r\\ntwo"),
    (element(0x00100010, "PN", b"\x1b[2J\x1b]0;x\x07"), "PatientName",
     '\\x1b[2J\\x1b]0;x\\x07  ! charset_undeclared "\\x1b[2J\\x1b]0;x\\x07"'),
    (element(0x00420011, "OB", bytes(1_200_000)), "EncapsulatedDocument", "<1.2 MB>"),
    (element(0x00091001, "UN", b"12345678"), "private, no creator", "<8 bytes>"),
    (element(0x00190010, "LO", b"SIEMENS MR HEADER ") + element(0x0019100C, "IS", b"1000"),
     '"SIEMENS MR HEADER",0C', "1000"),
    (element(0x00190010, "LO", b"X\x1b[1m") + element(0x0019100C, "IS", b"1000"), '"X\\x1b[1m",0C', "1000"),
    (element(0x00080060, "CS", b"MR") + element(0x00080060, "CS", b"CT"), "Modality", "CT  ! repeated_tag"),
    (element(0x00089999, "LO", b"odd!"), "not in the dictionary", "odd!"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "name", "value"), CASES)
def test_values(tmp_path: Path, data: bytes, name: str, value: str) -> None:
    """Each value as the dataset would hold it, with its name before it and its faults behind it."""
    (line,) = [line for line in show(tmp_path / "file", data) if name in line]
    assert line.partition(name)[2].strip() == value


def test_items_are_indented(tmp_path: Path) -> None:
    """Items below their sequence, and sequences in items further in; values stay in their column."""
    inner = element(0x00081140, "SQ", item(element(0x00081155, "UI", b"1.9\0")))
    lines = show(tmp_path / "file", element(0x00081115, "SQ", item(inner) + item()))
    start = next(number for number, line in enumerate(lines) if "ReferencedSeriesSequence" in line)
    found = [line.rstrip() for line in lines[start : start + 6]]
    assert [len(line) - len(line.lstrip()) for line in found] == [0, 2, 2, 4, 4, 2]
    assert [line.strip() for line in (found[1], found[3], found[5])] == ["item 1 of 2", "item 1 of 1", "item 2 of 2"]
    assert found[0].endswith("<2 items>")
    assert found[4].index("1.9") == found[0].index("<2 items>")


def test_outcome_lines(tmp_path: Path) -> None:
    """At the end: how reading ended, how the data set is encoded, the character set, which reader."""
    lines = show(tmp_path / "file", element(0x00080005, "CS", b"ISO_IR 100"))
    assert lines[-5:] == [
        "ok",
        "header   164 bytes, of a file of 164 bytes",
        "syntax   explicit VR little endian; none declared",
        "charset  ISO_IR 100",
        "reader   fast",
    ]


def test_faults_of_the_header(tmp_path: Path) -> None:
    """A lying transfer syntax and a cut are said in so many words, with the offset of the cut."""
    files = {file.corruption: file.data for file in iter_files(files=200, seed=1, corrupt=0.5)}
    (tmp_path / "lying").write_bytes(files["lying-syntax"])
    lying, cut = render(tmp_path / "lying"), show(tmp_path / "cut", element(0x00100020, "LO", b"1234", length=9))
    assert any(line.startswith("syntax ") and "but declared 1.2.840" in line for line in lying)
    assert any(line.startswith("! transfer_syntax: ") for line in lying)
    assert "partial: truncated at byte 146 (the file ends inside this element)" in cut


def test_columns(tmp_path: Path) -> None:
    """With a profile: its columns in its order, absent ones null, faults marked."""
    lines = show(tmp_path / "file", element(0x00200013, "IS", b"4.1 "), columns="minimal")
    names = [column.name for column in load_profile("minimal").columns]
    assert [line.split()[2] for line in lines[: len(names)]] == names
    rows = dict(zip(names, lines, strict=False))
    assert rows["InstanceNumber"].endswith('null  ! not_integral "4.1"')
    assert rows["PatientID"].endswith("null")


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_lines_fit_the_terminal(tmp_path: Path, kind: str, width: int) -> None:
    """No line of the table is wider than the terminal (60 cells at least), whatever the values; nothing acts on it."""
    path = tmp_path / "file"
    path.write_bytes(next(make_series(kind, seed=4)).data)
    lines = render(path, width)
    table = lines[: lines.index("")]
    assert max(map(cell_len, table)) <= max(width, 60)
    assert all(line.isprintable() or "\u3000" in line for line in lines)


def test_long_values_are_cut_even_in_a_pipe(tmp_path: Path) -> None:
    """A text of a megabyte and a list of a hundred thousand numbers are not printed in full."""
    numbers = struct.pack("<50000H", *range(50_000))
    lines = show(tmp_path / "file", element(0x0040A160, "UT", b"x" * 1_000_000),
                 element(0x00189306, "FD", b"") + element(0x00283006, "UN", numbers))  # fmt: skip
    assert max(map(len, lines)) < 1200
