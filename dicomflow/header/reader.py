"""Read one header after another into a batch of distinct raw values.  Sans-I/O: whoever owns the file feeds the buffer.

In: the first bytes of a file in ``buffer``; more when asked.  Out: an ``Outcome`` per header, and the batch.
Knows neither files nor Arrow.  The element walk and the interning are compiled (``header.scan``, ``header.intern``); where
they are missing, and for headers that the walk does not support, pydicom reads (``header.fallback``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dicomflow.errors import Code, IssueCode, Status
from dicomflow.header.fallback import FallbackHeader, read_with_pydicom
from dicomflow.header.inflate import Inflater
from dicomflow.header.paths import Hits, ScanTables, compile_tables, make_hits
from dicomflow.header.vr import CHARSET_VRS, STRING_VRS, tabulate_bits
from dicomflow.model import Issue, Outcome, RawValue
from dicomflow.schema.column import Column

try:
    from dicomflow.header.intern import Interner
    from dicomflow.header.scan import Scanner

    COMPILED = True
except (ImportError, AttributeError):  # no C compiler when this was installed (AttributeError: but Cython is there)
    from dicomflow.header.plain import PlainInterner as Interner  # type: ignore[assignment]
    from dicomflow.header.plain import UnsupportedScanner as Scanner  # type: ignore[assignment]

    COMPILED = False

OK, NEED_MORE, TRUNCATED, EMPTY, DICOMDIR, DEFLATED, TOO_LONG = 0, 1, 2, 8, 10, 11, 13

OUTCOMES: dict[int, tuple[Status, Code, str]] = {
    2: (Status.PARTIAL, Code.TRUNCATED, "the file ends inside this element"),
    3: (Status.PARTIAL, Code.BAD_LENGTH, "this element reaches past the end of the sequence or item that holds it"),
    4: (Status.PARTIAL, Code.BAD_SEQUENCE, "something other than an item stands in this sequence"),
    5: (Status.PARTIAL, Code.BAD_ELEMENT, "no data element can be read here"),
    6: (Status.PARTIAL, Code.LIMIT_ELEMENTS, "more elements than header.max_elements allows"),
    7: (Status.PARTIAL, Code.LIMIT_DEPTH, "sequences are nested deeper than header.max_depth allows"),
    8: (Status.NOT_DICOM, Code.EMPTY_FILE, "the file is empty"),
    9: (Status.NOT_DICOM, Code.NO_DICOM_HEADER, "no DICOM header at offset 0, 128 or 132"),
    10: (Status.SKIPPED, Code.DICOMDIR, "a DICOMDIR lists instances, it is none"),
    12: (Status.PARTIAL, Code.UNREADABLE_HEADER, "the first data element makes no sense in any transfer syntax"),
    13: (Status.PARTIAL, Code.LIMIT_HEADER_BYTES, "the header is longer than header.max_header_bytes allows"),
}
"""Verdict of the scanner -> how the ledger says it."""

UNSUPPORTED = frozenset({4, 5, 12})
"""Verdicts after which pydicom is asked, if the walk could not go on: it is more lenient with broken structure."""

_MAX_VALUE_BYTES = 1 << 20
_PYDICOM_BYTES = 1 << 20  # of a broken header, what pydicom gets to see
_PYDICOM_READS = 20_000 if COMPILED else 2_000_000  # and how often it may read: it knows no limits of its own
_FIRST_INFLATE = 1 << 18

_INFLATE_FAULTS = {
    Code.INFLATE_ERROR: (Status.PARTIAL, "the deflated data set is damaged after this element"),
    Code.LIMIT_INFLATED_BYTES: (Status.FAILED, "inflates to more than header.max_inflated_bytes allows"),
}
"""Why no more of a deflated data set can be had; a bomb is no row, even where it begins like a header."""


class HeaderReader:
    """Reads headers against a set of columns and collects them in a batch of at most ``rows``.

    Feed it like this::

        size = read_into(reader.buffer)
        while reader.scan(size, at_end) == NEED_MORE:      # then read at least reader.needed bytes
            reader.grow(reader.needed); ...
        outcome = reader.accept()                          # None: all is well, the row was added

    Args:
        columns: what to take; column 0 is the key (SOPInstanceUID).
        rows: how many rows a batch holds.
        max_elements, max_depth, max_inflated_bytes: limits per header.
        prefix_bytes: size of the buffer to begin with.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        rows: int = 8192,
        max_elements: int = 2_000_000,
        max_depth: int = 64,
        max_inflated_bytes: int = 1 << 28,
        prefix_bytes: int = 1 << 15,
    ) -> None:
        self.columns = tuple(columns)
        self.tables: ScanTables = compile_tables(self.columns)
        self.hits: Hits = make_hits(self.tables)
        self.scanner = Scanner(self.tables, self.hits, max_elements, max_depth)
        self.batch = Interner(self.hits, self.tables.column_leaves, rows, _vr_kinds(), _MAX_VALUE_BYTES)
        self.max_inflated_bytes = max_inflated_bytes
        self.verdict = OK
        self.needed = 0
        self.by_pydicom = False
        self.has_remarks = False  # ``remarks`` of the header accepted last are not empty
        self.buffer = bytearray()
        self._size = 0
        self._stop: int | None = None
        self._inflate_code: Code | None = None
        self._borrowed_key = False
        self.buffer = bytearray()
        self.grow(prefix_bytes)

    def grow(self, size: int) -> None:
        """A larger buffer; what was read stays in it."""
        grown = bytearray(size)
        kept = min(size, len(self.buffer))
        grown[:kept] = self.buffer[:kept]
        self.buffer = grown
        self.view = memoryview(grown)
        self._bytes = self.view
        self.scanner.use_buffer(grown)
        self.batch.use_buffer(grown)

    def scan(self, size: int, at_end: bool) -> int:
        """Scan the first ``size`` bytes of the buffer; NEED_MORE asks for ``needed`` bytes, everything else is final."""
        if self._bytes is not self.view:
            self._use(self.buffer)
        self._size, self._stop, self._inflate_code = size, None, None
        self.verdict = verdict = self.scanner.scan(size, at_end)
        if verdict == OK:
            return OK
        if verdict == NEED_MORE:
            self.needed = self.scanner.needed
        elif verdict == DEFLATED:
            self._scan_deflated(self.scanner.offset, size, at_end)
        elif self._asks_pydicom() and not at_end and size < _PYDICOM_BYTES:  # pydicom wants to see more of it
            self.verdict, self.needed = NEED_MORE, min(4 * size, _PYDICOM_BYTES)
        return self.verdict

    def give_up(self, size: int) -> None:
        """The header is longer than the caller is willing to read: keep what the first ``size`` bytes hold."""
        self.scan(size, at_end=True)
        if self.verdict in (OK, TRUNCATED):
            self.verdict = TOO_LONG

    def accept(self) -> Outcome | None:
        """Add the scanned header to the batch; None if it is whole, else how it ended (no row unless partial)."""
        self.by_pydicom = self._borrowed_key = False
        self.has_remarks = self.scanner.remarkable
        if self.verdict == OK:
            return None if self._has_row() else self._without_key()
        status, code, message = OUTCOMES[self.verdict]
        if self._inflate_code is not None:
            status, message = _INFLATE_FAULTS[self._inflate_code]
            code = self._inflate_code
        elif self._asks_pydicom() and (read := self._read_by_pydicom()) is not None:
            return self._accept_from_pydicom(read, code, message)
        if status is Status.PARTIAL and not self._has_row():
            status, message = Status.FAILED, f"{message}; no SOP Instance UID before it"
        return Outcome(status=status, code=code, message=message, offset=self.scanner.offset)

    @property
    def header_bytes(self) -> int:
        """Offset of the stop tag, or of the end of the header where there is none."""
        return self.scanner.stop if self._stop is None else self._stop

    @property
    def header(self) -> memoryview:
        """The bytes of the header up to the stop tag (inflated where the data set is deflated)."""
        return self._bytes[: self.header_bytes]

    def remarks(self) -> list[Issue]:
        """Issues of the header as a whole: encoded otherwise than declared, repeated tags, a borrowed key."""
        if self.by_pydicom:
            return [Issue(self.columns[0].name, IssueCode.UID_FROM_FILE_META, "")] if self._borrowed_key else []
        found = []
        if self.scanner.syntax_differs:
            found.append(Issue("TransferSyntaxUID", IssueCode.TRANSFER_SYNTAX, ""))
        if self.batch.chosen[0] > 0:
            found.append(Issue(self.columns[0].name, IssueCode.UID_FROM_FILE_META, ""))
        if self.scanner.repeated:
            found.extend(Issue(name, IssueCode.REPEATED_TAG, "") for name in self._repeated_columns())
        return found

    def _repeated_columns(self) -> list[str]:
        return [
            column.name
            for index, column in enumerate(self.columns)
            if (place := self.batch.chosen[index]) >= 0 and self.hits.twice[self.tables.column_leaves[index][place]]
        ]

    def _has_row(self) -> bool:
        """Add the row if it has a key, and remember whether the key is a borrowed one."""
        key = self.batch.add_row()
        if key == 1:
            return True
        if key == 2:
            self.has_remarks = True
            return True
        self.batch.drop_row()
        return False

    def _without_key(self) -> Outcome:
        return Outcome(
            status=Status.FAILED,
            code=Code.MISSING_SOP_INSTANCE_UID,
            message="neither SOPInstanceUID (0008,0018) nor MediaStorageSOPInstanceUID (0002,0003) has a value",
            offset=self.scanner.offset,
        )

    def _asks_pydicom(self) -> bool:
        """Whether the walk met what it does not support, and could not go on."""
        return self.verdict in UNSUPPORTED and not self.scanner.whole

    def _read_by_pydicom(self) -> FallbackHeader | None:
        """What pydicom reads; None where it cannot, or finds no key: then what the scanner found stands."""
        if self._bytes is not self.view:  # inflated already, which pydicom would try again
            return None
        header = read_with_pydicom(bytes(self.view[: self._size]), self.columns, _PYDICOM_READS)
        return header if header is not None and (header.is_dicomdir or header.values[0] is not None) else None

    def _accept_from_pydicom(self, header: FallbackHeader, code: Code, message: str) -> Outcome | None:
        """Add what pydicom read; it is ``partial`` where the scanner knows at which offset the structure is broken."""
        if header.is_dicomdir:
            status, code, message = OUTCOMES[DICOMDIR]
            return Outcome(status=status, code=code, message=message)
        self.by_pydicom, self._borrowed_key = True, header.borrowed_key
        self.has_remarks = header.borrowed_key
        self._stop = header.stop
        self.batch.add_values(header.values)
        if COMPILED:
            return Outcome(status=Status.PARTIAL, code=code, message=message, offset=self.scanner.offset)
        if header.complete:
            return None
        return Outcome(status=Status.PARTIAL, code=Code.TRUNCATED, message=OUTCOMES[TRUNCATED][2], offset=header.stop)

    # ---- deflated transfer syntax (PS3.5 A.5) --------------------------------------------------------------------

    def _scan_deflated(self, start: int, size: int, at_end: bool) -> None:
        """Inflate as far as the header needs, at most ``max_inflated_bytes``."""
        stream = Inflater(bytes(self.view[start:size]))
        wanted = _FIRST_INFLATE
        while True:
            stream.inflate(min(wanted, self.max_inflated_bytes))
            inflated = bytearray(self.view[:start]) + stream.out
            final = stream.damaged or stream.ended or (stream.starved and at_end) or wanted >= self.max_inflated_bytes
            self._use(inflated)
            self.verdict = self.scanner.scan(len(inflated), final, start)
            if self.verdict != NEED_MORE:
                break
            if stream.starved:
                self._use(self.buffer)
                self.needed = 2 * size
                return
            wanted = max(4 * wanted, self.scanner.needed - start)
        if self.verdict in (OK, TRUNCATED) and not (self.scanner.stopped or stream.ended):
            self.verdict = TRUNCATED  # also where the cut falls between two elements
            if not stream.starved:
                self._inflate_code = Code.INFLATE_ERROR if stream.damaged else Code.LIMIT_INFLATED_BYTES

    def _use(self, buffer: bytearray) -> None:
        self._bytes = self.view if buffer is self.buffer else memoryview(buffer)
        self.scanner.use_buffer(buffer)
        self.batch.use_buffer(buffer)


def raw_value(raw: bytes, context: int, charsets: Sequence[bytes | None]) -> RawValue:
    """The RawValue behind a context number of the batch."""
    vr = chr((context >> 8) & 0xFF) + chr(context & 0xFF)
    return RawValue(raw, vr, bool(context & 0x10000), charsets[context >> 17])


@lru_cache(maxsize=1)
def _vr_kinds() -> npt.NDArray[np.uint8]:
    """1 text, 2 depends on SpecificCharacterSet, as the bytes of UN may."""
    return tabulate_bits({1: STRING_VRS, 2: CHARSET_VRS | {"UN"}})
