"""Without the compiled modules: the same table, read by pydicom."""

import pytest

from dicomflow.header import plain, reader
from dicomflow.header.reader import HeaderReader
from dicomflow.header.verdict import NEED_MORE
from dicomflow.read import read_headers
from dicomflow.synth import KINDS, make_series
from tests.dicom_bytes import element, file
from tests.scanning import UID, columns_of, feed

SAME = ("header_digest", "header_bytes", "issues")


@pytest.fixture
def without_compiled(monkeypatch):
    """As if no C compiler had been at hand."""

    def switch():
        monkeypatch.setattr(reader, "Scanner", plain.UnsupportedScanner)
        monkeypatch.setattr(reader, "Interner", plain.PlainInterner)
        monkeypatch.setattr(reader, "COMPILED", False)

    return switch


def rows(items):
    table = read_headers(items, errors="skip")
    return table.filter([status == "ok" for status in table["status"].to_pylist()]).drop_columns(list(SAME)).to_pylist()


def test_synthetic_series_give_the_same_rows(without_compiled):
    """Every kind, implicit, explicit, big-endian and deflated."""
    files = [
        made.data
        for kind in KINDS
        for syntax in ("implicit", "explicit", "big-endian", "deflated")
        for made in make_series(kind, seed=1, syntax=syntax)
    ]
    fast = rows(files)
    without_compiled()
    assert rows(files) == fast and len(fast) == len(files)


def test_a_sample_of_the_corpus_gives_the_same_rows(without_compiled, corpus_files):
    """Every twentieth file that both call whole."""
    files = [path for path in corpus_files[::20] if path.stat().st_size < 4_000_000]
    fast = {row["source_uri"]: row for row in rows(files)}
    without_compiled()
    slow = {row["source_uri"]: row for row in rows(files)}
    assert len(slow) > 50
    wrong = {
        uri: {name: (row[name], fast[uri][name]) for name in row if row[name] != fast[uri][name]}
        for uri, row in slow.items()
        if uri in fast and row != fast[uri]
    }
    assert not wrong


def test_outcomes_without_the_compiled_modules(without_compiled):
    """Not DICOM, cut, keyless and borrowed keys are told apart as ever."""
    without_compiled()
    one = HeaderReader(columns_of("Modality"), rows=8)
    key = element(UID, "UI", b"1.2.3\0")
    assert feed(one, b"").code == "empty_file"
    assert feed(one, b"Hello, world. " * 20).code == "no_dicom_header"
    assert feed(one, file(key)) is None
    assert feed(one, file(key + element(0x00080060, "CS", b"M", length=9))).code == "truncated"
    assert feed(one, file(element(0x00080060, "CS", b"MR"))).status == "failed"
    assert feed(one, file(element(0x00080060, "CS", b"MR"), element(0x00020003, "UI", b"1.9\0"))) is None
    assert [issue.code for issue in one.remarks()] == ["uid_from_file_meta"]
    assert one.batch.rows == 3


def test_the_plain_scanner_wants_the_whole_file():
    """Nothing is decided before its end, but that it is not DICOM."""
    one = plain.UnsupportedScanner(HeaderReader(columns_of(), rows=1).tables, None, 10, 10)
    one.use_buffer(bytearray(bytes(128) + b"DICM" + bytes(200)))
    assert one.scan(100, False) == NEED_MORE and one.scan(200, False) == NEED_MORE and one.needed > 200
    one.use_buffer(bytearray(400))
    assert one.scan(200, False) == 9
