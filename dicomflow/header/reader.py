"""Read one header after another into a batch of distinct raw values.  Sans-I/O: whoever owns the file feeds the buffer.

In: the first bytes of a file in ``buffer``; more when asked.  Out: an ``Outcome`` per header, and the batch.
Knows neither files nor Arrow.  The element walk and the interning are compiled (``header.scan``, ``header.intern``); where
they are missing, and for headers that the walk does not support, pydicom reads (``header.fallback``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dicomflow.errors import Code, IssueCode, Status
from dicomflow.header.closing import ends_early
from dicomflow.header.element import Limits
from dicomflow.header.fallback import FallbackHeader, ReadBounds, read_with_pydicom
from dicomflow.header.inflate import Inflater
from dicomflow.header.items import PACKED, is_blank
from dicomflow.header.paths import Hits, Leaf, ScanTables, compile_tables, make_hits
from dicomflow.header.verdict import (
    DEFLATED,
    DICOMDIR,
    ENDS_EARLY,
    INFLATE_FAULTS,
    NEED_MORE,
    OK,
    OUTCOMES,
    TIMEOUT,
    TOO_LONG,
    TRUNCATED,
    UNSUPPORTED,
)
from dicomflow.header.vr import CHARSET_VRS, KNOWN_VRS, STRING_VRS, tabulate_bits
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

_MAX_VALUE_BYTES = 1 << 20
_MAX_LIST_BYTES = 16 * _MAX_VALUE_BYTES  # of a value of each item, packed (``intern`` says so, too)
_PYDICOM_BYTES = 1 << 20  # of a broken header, what pydicom gets to see
_PYDICOM_READS = 20_000 if COMPILED else 2_000_000  # and how often it may read: it knows no limits of its own
_FIRST_INFLATE = 1 << 18
_NONE_REPEATED: AbstractSet[int] = frozenset()


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
        limits: what no header may cross.
        prefix_bytes: size of the buffer to begin with.
        headers_only: an image without pixels is whole.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        rows: int = 8192,
        limits: Limits | None = None,
        prefix_bytes: int = 1 << 15,
        headers_only: bool = False,
    ) -> None:
        self.columns = tuple(columns)
        self.tables: ScanTables = compile_tables(self.columns)
        self.hits: Hits = make_hits(self.tables)
        self.limits = limits or Limits()
        self.scanner = Scanner(self.tables, self.hits, self.limits.max_elements, self.limits.max_depth)
        self.batch = Interner(self.hits, self.tables.column_leaves, rows, _vr_kinds(), _MAX_VALUE_BYTES)
        self.headers_only = headers_only
        self.verdict = OK
        self.needed = 0
        self.by_pydicom = False
        self.inflate_seconds = 0.0  # of all headers so far
        self.has_remarks = False  # ``remarks`` of the header accepted last are not empty
        self.buffer = bytearray()
        self._size = 0
        self._stop: int | None = None
        self._inflate_code: Code | None = None
        self._deadline: float | None = None
        self._borrowed_key = False
        self._repeated_lists: AbstractSet[int] = _NONE_REPEATED
        self._beside_lists = np.array(
            [leaf.number for leaves in self.tables.column_lists.values() for leaf in leaves if not leaf.is_list],
            np.int32,
        )
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
        self.verdict = self.scanner.scan(size, at_end)
        if self.verdict == OK:
            if not self.scanner.stopped and self._ends_early():
                self.verdict = ENDS_EARLY
        else:
            self._look_further(size, at_end)
        if self.verdict != NEED_MORE:
            self._deadline = None
        elif self._is_late():
            self.give_up(size, TIMEOUT)
        return self.verdict

    def _look_further(self, size: int, at_end: bool) -> None:
        """What a verdict other than OK asks for: more bytes, inflating, or pydicom's opinion."""
        if self.verdict == NEED_MORE:
            self.needed = self.scanner.needed
        elif self.verdict == DEFLATED:
            self._scan_deflated(self.scanner.offset, size, at_end)
        elif self._asks_pydicom() and not at_end and size < _PYDICOM_BYTES:  # pydicom wants to see more of it
            self.verdict, self.needed = NEED_MORE, min(4 * size, _PYDICOM_BYTES)

    def abandon(self) -> None:
        """The header will not be read to its end: the next scan is of another one, with its own time."""
        self._deadline = None

    def give_up(self, size: int, verdict: int = TOO_LONG) -> None:
        """No more is to be read: keep what the first ``size`` bytes hold, and end with this verdict."""
        self.scan(size, at_end=True)
        if self.verdict in (OK, TRUNCATED, ENDS_EARLY):
            self.verdict = verdict

    def _is_late(self) -> bool:
        """Whether reading on has taken ``max_seconds`` since it was first asked for."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self.limits.max_seconds
        return now > self._deadline

    def _ends_early(self) -> bool:
        """Whether the data set came to its end before what its SOP Class requires (``header.closing``)."""
        sop_class, syntax = self.scanner.take_sop_class(), self.scanner.take_transfer_syntax()
        return ends_early(
            sop_class.strip(b" \0").decode("latin-1"),
            self.scanner.last_tag,
            has_pixel_module=self.scanner.has_pixel_module(),
            transfer_syntax=syntax.strip(b" \0").decode("latin-1"),
            headers_only=self.headers_only,
        )

    def accept(self) -> Outcome | None:
        """Add the scanned header to the batch; None if it is whole, else how it ended (no row unless partial)."""
        self.by_pydicom = self._borrowed_key = False
        self.has_remarks = self.scanner.remarkable
        if self.verdict == OK:
            return None if self._has_row() else self._without_key()
        self.scanner.forget_guesses()
        status, code, message = OUTCOMES[self.verdict]
        if self._inflate_code is not None:
            status, message = INFLATE_FAULTS[self._inflate_code]
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
            repeated: list[str] = []  # pydicom does not say
        else:
            self._borrowed_key = bool(self.batch.chosen[0] > 0)
            repeated = self._repeated_columns() if self.scanner.repeated or self._repeated_lists else []
        found = [Issue(name, IssueCode.REPEATED_TAG, "") for name in repeated]
        if self.scanner.syntax_differs:
            found.insert(0, Issue("TransferSyntaxUID", IssueCode.TRANSFER_SYNTAX, ""))
        if self._borrowed_key:
            found.append(Issue(self.columns[0].name, IssueCode.UID_FROM_FILE_META, ""))
        return found

    def _repeated_columns(self) -> list[str]:
        return [column.name for index, column in enumerate(self.columns) if self._is_repeated(index)]

    def _is_repeated(self, index: int) -> bool:
        """Whether the path that was taken, or one before it, has a tag that occurs more than once; its last may be empty."""
        leaves, place = self.tables.column_leaves[index], int(self.batch.chosen[index])
        looked_at = leaves if place < 0 else leaves[: place + 1]
        return index in self._repeated_lists or any(self.hits.twice[leaf] for leaf in looked_at)

    def _has_row(self) -> bool:
        """Add the row if it has a key, and remember whether the key is a borrowed one."""
        key = self.batch.add_row()
        if self.tables.column_lists:
            self._repeated_lists = _NONE_REPEATED
            if self.scanner.has_any(self._beside_lists):
                self._add_lists()
        if key == 1:
            return True
        if key == 2:
            self.has_remarks = True
            return True
        self.batch.drop_row()
        return False

    # ---- columns with [*] ----------------------------------------------------------------------------------------

    def _add_lists(self) -> None:
        """Give the row added last its values of each item."""
        repeated: set[int] = set()
        for column, leaves in self.tables.column_lists.items():
            for leaf in leaves:
                if self._add_list(column, leaf, repeated):
                    break
        self._repeated_lists = repeated
        self.has_remarks = self.has_remarks or bool(self._repeated_lists)

    def _add_list(self, column: int, leaf: Leaf, repeated_lists: set[int]) -> bool:
        """Take the value of one path; False where it has none."""
        if not leaf.is_list:
            if self.hits.twice[leaf.number]:
                repeated_lists.add(column)
            if (value := self._hit_value(leaf.number)) is None:
                return False
        else:
            packed, repeated = self.scanner.take_list(leaf.number, _MAX_LIST_BYTES)
            if repeated:
                repeated_lists.add(column)
            if packed is None:
                return False
            value = RawValue(packed, PACKED) if packed else None
            if value is not None and is_blank(value):
                return False
        if value is None:
            self.batch.oversized.append((self.batch.rows - 1, column))
        else:
            self.batch.set_value(column, value)
        return True

    def _hit_value(self, leaf: int) -> RawValue | None:
        """The value of one leaf, with the SpecificCharacterSet in force (PS3.5 7.5.3)."""
        hits = self.hits
        if hits.length[leaf] <= 0:
            return None
        scope = int(hits.scope[leaf])
        while scope >= 0 and hits.scope_length[scope] < 0:
            scope = int(hits.scope_parent[scope])
        charset = None if scope < 0 else self._slice(hits.scope_offset[scope], hits.scope_length[scope])
        value = raw_value(self._slice(hits.offset[leaf], hits.length[leaf]), int(hits.vr[leaf]), [None])
        if value.vr in STRING_VRS and not value.raw.strip(b" \0"):
            return None
        return value._replace(charset=charset)

    def _slice(self, offset: int, length: int) -> bytes:
        return bytes(self._bytes[offset : offset + length])

    # ---- pydicom -------------------------------------------------------------------------------------------------

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
        bounds = ReadBounds(_PYDICOM_READS, self.limits.max_seconds)
        header = read_with_pydicom(bytes(self.view[: self._size]), self.columns, bounds)
        return header if header is not None and (header.is_dicomdir or header.values[0] is not None) else None

    def _accept_from_pydicom(self, header: FallbackHeader, code: Code, message: str) -> Outcome | None:
        """Add what pydicom read; it is ``partial`` where the scanner knows at which offset the structure is broken."""
        if header.is_dicomdir:
            status, code, message = OUTCOMES[DICOMDIR]
            return Outcome(status=status, code=code, message=message)
        self.by_pydicom, self._borrowed_key = True, header.borrowed_key
        self.has_remarks = header.borrowed_key or self.scanner.syntax_differs
        self._stop = header.stop
        self.batch.add_values(header.values)
        if COMPILED:
            return Outcome(status=Status.PARTIAL, code=code, message=message, offset=self.scanner.offset)
        verdict = OK if header.complete else TRUNCATED
        if (
            verdict == OK
            and not header.stopped
            and ends_early(header.sop_class, header.last_tag, headers_only=self.headers_only)
        ):
            verdict = ENDS_EARLY
        if verdict == OK:
            return None
        status, code, message = OUTCOMES[verdict]
        return Outcome(status=status, code=code, message=message, offset=header.stop)

    # ---- deflated transfer syntax (PS3.5 A.5) --------------------------------------------------------------------

    def _scan_deflated(self, start: int, size: int, at_end: bool) -> None:
        """Inflate as far as the header needs, at most ``max_inflated_bytes``."""
        stream = Inflater(bytes(self.view[start:size]))
        wanted = _FIRST_INFLATE
        while True:
            before = stream.seconds
            stream.inflate(min(wanted, self.limits.max_inflated_bytes))
            self.inflate_seconds += stream.seconds - before
            inflated = bytearray(self.view[:start]) + stream.out
            final = (
                stream.damaged
                or stream.ended
                or (stream.starved and at_end)
                or len(stream.out) >= self.limits.max_inflated_bytes
            )
            self._use(inflated)
            self.verdict = self.scanner.scan(len(inflated), final, start)
            if self.verdict != NEED_MORE:
                break
            if self._is_late():
                self.verdict = TIMEOUT
                return
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
    """1 text, 2 depends on SpecificCharacterSet, as the bytes of UN, SQ and of a VR that nobody knows may."""
    pairs = {chr(first) + chr(second) for first in range(65, 91) for second in range(65, 91)}
    return tabulate_bits({1: STRING_VRS, 2: CHARSET_VRS | {"UN", "SQ"} | (pairs - KNOWN_VRS)})
