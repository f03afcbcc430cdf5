"""The header reader: outcomes, the state between headers, limits, and what it remembers of each."""

import pytest

from dicomflow.errors import Code, Status
from dicomflow.header import reader as module
from dicomflow.header.element import Limits
from dicomflow.header.fallback import ReadBounds, read_with_pydicom
from dicomflow.header.reader import COMPILED, HeaderReader
from dicomflow.header.verdict import ENDS_EARLY, NEED_MORE, OUTCOMES, TIMEOUT, TOO_LONG
from tests.dicom_bytes import DEFLATED_UID, IMPLICIT_UID, STOP, deflated, element, file, sequence_end
from tests.scanning import UID, columns_of, feed, take_row

pytestmark = pytest.mark.skipif(not COMPILED, reason="the compiled modules are missing")

KEY = element(UID, "UI", b"1.2.3\0")
GOOD = file(KEY + element(0x00080060, "CS", b"MR") + element(STOP, "OW", bytes(20)))


def reader(**limits):
    rest = {"prefix_bytes": limits.pop("prefix_bytes")} if "prefix_bytes" in limits else {}
    return HeaderReader(columns_of("Modality"), rows=16, limits=Limits(**limits), **rest)


def test_the_loop_of_the_docstring_reads_a_file_in_pieces():
    """Prefix, NEED_MORE, grow, read on; the row is that of the whole file."""
    data = file(
        KEY + element(0x00080060, "CS", b"MR") + element(0x00204000, "UT", bytes(9000)) + element(STOP, "OW", b"")
    )
    one = reader(prefix_bytes=256)
    size = min(256, len(data))
    one.view[:size] = data[:size]
    rounds = 0
    while one.scan(size, size == len(data)) == NEED_MORE:
        rounds += 1
        more = min(len(data), max(one.needed, 2 * size))
        one.grow(more)
        one.view[size:more] = data[size:more]
        size = more
    assert (one.accept(), rounds, take_row(one)["Modality"].raw) == (None, 1, b"MR")
    assert one.header == data[:-12]


def test_every_verdict_has_an_outcome():
    """Closed: each status and code is one of the enums', and each failure has a message."""
    assert set(OUTCOMES) == {2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, ENDS_EARLY, TIMEOUT}
    for status, code, message in OUTCOMES.values():
        assert status in Status and code in Code and message


def test_nothing_of_a_header_reaches_the_next_one():
    """Issues, codes and values of one file are forgotten before the next, whatever the order."""
    damaged = bytearray(file(deflated(KEY + element(0x00204000, "UT", bytes(range(256)) * 40)), syntax=DEFLATED_UID))
    damaged[-30:] = b"\xff" * 30
    kinds = {
        "good": GOOD,
        "cut": file(KEY + element(0x00080060, "CS", b"M", length=9)),
        "lie": file(KEY + element(0x00080060, "CS", b"CT"), syntax=IMPLICIT_UID),
        "deflated": file(deflated(GOOD[len(file(b"")) :]), syntax=DEFLATED_UID),
        "damaged": bytes(damaged),
        "text": b"Hello, world. " * 20,
        "stray": file(KEY + sequence_end()),
    }

    def look(one, data):
        outcome = feed(one, data)
        return outcome, one.has_remarks and one.remarks(), one.by_pydicom, one.header_bytes, bytes(one.header)

    alone = {name: look(reader(), data) for name, data in kinds.items()}
    for first in kinds.values():
        for name, second in kinds.items():
            one = reader()
            feed(one, first)
            assert look(one, second) == alone[name], name


def test_a_header_that_is_given_up_is_limit_header_bytes():
    """What was read of it is a partial row; without a key there is none."""
    long = element(0x00204000, "UT", b"", length=1 << 30)
    for body, status in ((KEY + long, Status.PARTIAL), (element(0x00080060, "CS", b"MR") + long, Status.FAILED)):
        one, data = reader(), file(body)
        one.view[: len(data)] = data
        assert one.scan(len(data), False) == NEED_MORE
        one.give_up(len(data))
        outcome = one.accept()
        assert (one.verdict, outcome.status, outcome.code) == (TOO_LONG, status, Code.LIMIT_HEADER_BYTES)


def test_giving_up_does_not_hide_a_fault():
    """A header that is broken before the limit says where it is broken."""
    data = file(KEY + sequence_end() + bytes(500))
    one = reader()
    one.view[: len(data)] = data
    one.give_up(len(data))
    assert one.accept().code == Code.BAD_ELEMENT


def test_a_broken_deflated_header_keeps_what_the_scanner_read():
    """Pydicom cannot be asked about inflated bytes: the scanner's values stand."""
    one = reader()
    outcome = feed(one, file(deflated(KEY + element(0x00080060, "CS", b"MR") + sequence_end()), syntax=DEFLATED_UID))
    assert (outcome.status, outcome.code, one.by_pydicom) == (Status.PARTIAL, Code.BAD_ELEMENT, False)
    assert take_row(one)["Modality"].raw == b"MR"


def test_where_pydicom_fails_the_scanner_s_values_stand(monkeypatch):
    """A key read before the fault is a row, whatever pydicom thinks."""
    monkeypatch.setattr("dicomflow.header.reader.read_with_pydicom", lambda data, columns, reads: None)
    one = reader()
    outcome = feed(one, file(KEY + element(0x00080060, "CS", b"MR") + sequence_end()))
    assert (outcome.status, outcome.code, take_row(one)["Modality"].raw) == (Status.PARTIAL, Code.BAD_ELEMENT, b"MR")


def test_messages_hold_no_values():
    """An outcome names offset and reason, nothing that stands in the file."""
    outcome = feed(reader(), file(KEY + element(0x00100010, "PN", b"SECRET^NAME", length=4000)))
    assert "SECRET" not in repr(outcome)


@pytest.mark.parametrize("size", [0, 1, 131, 139])
def test_less_than_a_header_asks_for_more(size):
    """Before 140 bytes nothing is said about a file that goes on."""
    one = reader()
    assert one.scan(size, False) == NEED_MORE and one.needed >= 140


def test_reading_on_ends_after_max_seconds(monkeypatch):
    """A storage so slow that reading on takes too long: what was read by then is a partial row."""
    now = iter(range(0, 1000, 40))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    body = (
        KEY + element(0x00080060, "CS", b"MR") + element(0x00204000, "UT", bytes(5000)) + element(STOP, "OW", bytes(8))
    )
    data = file(body)
    one = reader(max_seconds=60.0, prefix_bytes=300)
    verdicts = []
    for size in (150, 200, 250):
        one.view[:size] = data[:size]
        verdicts.append(one.scan(size, False))
    assert verdicts == [NEED_MORE, NEED_MORE, TIMEOUT]
    outcome = one.accept()
    assert (outcome.status, outcome.code, take_row(one)["Modality"].raw) == (Status.PARTIAL, Code.TIMEOUT, b"MR")
    for _ in range(2):
        one.view[:150] = data[:150]
        assert one.scan(150, False) == NEED_MORE, "the next header has its own time"
        one.abandon()


def test_inflating_ends_after_max_seconds(monkeypatch):
    """A deflated data set whose header is long: the clock is looked at between two steps."""
    now = iter(range(0, 1000, 40))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(module, "_FIRST_INFLATE", 64)
    many = b"".join(element(0x00204000, "LT", bytes([65 + number % 26]) * 40) for number in range(400))
    outcome = feed(reader(max_seconds=10.0), file(deflated(KEY + many + element(STOP, "OW")), syntax=DEFLATED_UID))
    assert (outcome.status, outcome.code) == (Status.PARTIAL, Code.TIMEOUT)


def test_pydicom_is_given_no_more_time_than_that():
    """Nor more than it may take."""
    broken = file(KEY) + bytes(200_000)
    assert read_with_pydicom(broken, columns_of("Modality"), ReadBounds(200_000, seconds=-1.0)) is None
