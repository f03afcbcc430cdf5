"""How the scan of a header can end, as numbers, and how the ledger says it.

In: nothing.  Out: constants and tables.  The scanner (``header.scan``) uses the same numbers.
"""

from __future__ import annotations

from dicomflow.errors import Code, Status

OK, NEED_MORE, TRUNCATED, EMPTY, NO_DICOM_HEADER, DICOMDIR, DEFLATED = 0, 1, 2, 8, 9, 10, 11
TOO_LONG, ENDS_EARLY, TIMEOUT = 13, 14, 15

OUTCOMES: dict[int, tuple[Status, Code, str]] = {
    2: (Status.PARTIAL, Code.TRUNCATED, "the file ends inside this element"),
    3: (Status.PARTIAL, Code.BAD_LENGTH, "this element reaches past the end of the sequence or item that holds it"),
    4: (Status.PARTIAL, Code.BAD_SEQUENCE, "something other than an item stands in this sequence"),
    5: (Status.PARTIAL, Code.BAD_ELEMENT, "no data element can be read here"),
    6: (Status.PARTIAL, Code.LIMIT_ELEMENTS, "more elements than header.max_elements allows"),
    7: (Status.PARTIAL, Code.LIMIT_DEPTH, "sequences are nested deeper than header.max_depth allows"),
    14: (
        Status.PARTIAL,
        Code.ENDS_EARLY,
        "the file ends here, but its SOP Class requires more; if it was stripped on purpose: header.headers_only",
    ),
    15: (Status.PARTIAL, Code.TIMEOUT, "reading took longer than header.max_seconds allows"),
    8: (Status.NOT_DICOM, Code.EMPTY_FILE, "the file is empty"),
    9: (Status.NOT_DICOM, Code.NO_DICOM_HEADER, "no DICOM header at offset 0, 128 or 132"),
    10: (Status.SKIPPED, Code.DICOMDIR, "a DICOMDIR lists instances, it is none"),
    12: (Status.PARTIAL, Code.UNREADABLE_HEADER, "the first data element makes no sense in any transfer syntax"),
    13: (Status.PARTIAL, Code.LIMIT_HEADER_BYTES, "the header is longer than header.max_header_bytes allows"),
}
"""Verdict of the scanner -> how the ledger says it."""

UNSUPPORTED = frozenset({4, 5, 12})
"""Verdicts after which pydicom is asked, if the walk could not go on: it is more lenient with broken structure."""

INFLATE_FAULTS: dict[Code, tuple[Status, str]] = {
    Code.INFLATE_ERROR: (Status.PARTIAL, "the deflated data set is damaged after this element"),
    Code.LIMIT_INFLATED_BYTES: (Status.FAILED, "inflates to more than header.max_inflated_bytes allows"),
}
"""Why no more of a deflated data set can be had; a bomb is no row, even where it begins like a header."""
