"""Tell a header that ends from one that was cut between two elements: what its SOP Class still requires.

In: the SOP Class, the highest tag that was read.  Out: whether the data set must go on.  Knows no bytes.

Between two elements a cut leaves no trace in the bytes.  But tags ascend, and each composite IOD has attributes that must be
present (PS3.3 annex A, type 1 and 2 of mandatory modules): a data set that ends before the highest of them is not whole.
What follows that tag may all be absent, so a cut there cannot be told.
"""

from __future__ import annotations

from functools import lru_cache

from dicomflow.schema.column import STOP_TAG

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_PROVIDER_URL = 0x00287FE0

_IMAGES = (
    "1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3 3.1 4 4.1 4.3 4.4 5 6 6.1 6.2 6.3 7 7.1 7.2 7.3 7.4 12.1 12.1.1 12.2 12.2.1 12.3"
    " 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 14.1 14.2 20 30 66.4 66.7 66.8 77.1 77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3 77.1.4"
    " 77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.4 77.1.5.5 77.1.5.6 77.1.5.7 77.1.5.8 77.1.6 77.1.7 77.1.8 77.1.9 77.2 81.1 82.1 128"
    " 128.1 130 481.1 481.23 481.24 501.1 501.2.1 501.2.2 601.1 601.2"
)
"""Storage classes whose IOD has pixels (module Image Pixel, C.7.6.3, or its floating point forms), retired ones included."""

_CLOSING: dict[str, int] = {
    **dict.fromkeys(_IMAGES.split(), STOP_TAG),
    "4.2": 0x56000020,  # MR Spectroscopy: SpectroscopyData, C.8.14.4
    **dict.fromkeys(["66.3", "66.5", "66.6", "67", "91.1"], 0x00700081),  # ContentDescription, C.12.4 and table 10-12
    "66.1": 0x00700308,  # RegistrationSequence, C.20.2
    "66.2": 0x0070031C,  # FiducialSetSequence, C.21.2
    "78.6": 0x0040A730,  # a report, as 88.*
    "79.1": 0x0040A730,
    "481.2": 0x3004000A,  # RT Dose: DoseSummationType, C.8.8.3; its pixels are conditional
    "481.3": 0x30060080,  # RT Structure Set: RTROIObservationsSequence, C.8.8.8
    **dict.fromkeys(("481.5", "481.8"), 0x300A000C),  # RT Plan, RT Ion Plan: RTPlanGeometry, C.8.8.9
    **dict.fromkeys(["481.4", "481.6", "481.7", "481.9"], 0x300C0002),  # treatment records: ReferencedRTPlanSequence
}
"""Storage class, its arc below ``1.2.840.10008.5.1.4.1.1`` -> the highest tag that its IOD requires."""

_FAMILIES: tuple[tuple[str, int], ...] = (
    ("9.100.", 0x00700083),  # waveform presentation states: PresentationCreationTime, C.11.10
    ("9.", 0x54000100),  # waveforms: WaveformSequence, C.10.9
    ("11.", 0x00700083),
    ("88.", 0x0040A730),  # structured reports: ContentSequence of the root container, C.17.3
    ("104.", 0x00420012),  # encapsulated documents: MIMETypeOfEncapsulatedDocument, C.24.2
)
"""The same for whole families: the first prefix that fits."""

_JPIP = frozenset(f"1.2.840.10008.1.2.4.{arc}" for arc in (94, 95, 204, 205))
"""Transfer syntaxes whose pixels are elsewhere (PS3.5 A.6, A.7): PixelDataProviderURL stands for them."""


def ends_early(
    sop_class: str,
    last_tag: int,
    *,
    has_pixel_module: bool = False,
    transfer_syntax: str = "",
    headers_only: bool = False,
) -> bool:
    """Whether a data set that ends after ``last_tag`` lacks what its SOP Class requires.

    Args:
        sop_class: SOPClassUID; one that is not listed here (a private one, none) requires nothing.
        last_tag: the highest outermost tag that was read; below ``STOP_TAG``.
        has_pixel_module: PixelRepresentation is there, so pixels must follow, whatever the class.
        transfer_syntax: as declared.
        headers_only: pixels were taken out on purpose and are not missed.

    >>> ends_early("1.2.840.10008.5.1.4.1.1.2", 0x00281053)     # a CT image without pixels
    True
    >>> ends_early("1.2.840.10008.5.1.4.1.1.88.11", 0x0040A730)
    False
    """
    closing = STOP_TAG if has_pixel_module else closing_tag(sop_class)
    if closing == STOP_TAG:
        closing = 0 if headers_only else _PROVIDER_URL if transfer_syntax in _JPIP else STOP_TAG
    return last_tag < closing


@lru_cache(maxsize=256)
def closing_tag(sop_class: str) -> int:
    """The highest tag that objects of this class must have; 0 where nothing is known."""
    if not sop_class.startswith(_STORAGE):
        return 0
    arc = sop_class.removeprefix(_STORAGE)
    return _CLOSING.get(arc) or next((tag for prefix, tag in _FAMILIES if arc.startswith(prefix)), 0)
