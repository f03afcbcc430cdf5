"""A large segmentation, laid out as highdicom writes them: one item of functional groups per frame (PS3.3 A.51, C.7.6.16).

Made from bytes, not from pydicom datasets: 12,000 frames take a fraction of a second.
"""

import struct
from pathlib import Path

from tests.dicom_bytes import STOP, element, file, item, sequence

FRAMES = 12_000
SEGMENTS = 60
_SOP_CLASS, _CT = b"1.2.840.10008.5.1.4.1.1.66.4", b"1.2.840.10008.5.1.4.1.1.2\0"
_TAIL = 1 << 16  # bytes of pixels: nobody reads them


def write_segmentation(path: Path, *, frames: int = FRAMES, defined: bool = True) -> Path:
    """One SEG file; sequences and items of defined or of undefined length."""
    path.write_bytes(make_segmentation(frames=frames, defined=defined))
    return path


def write_profile(path: Path) -> Path:
    """A profile of the standard columns and three attributes of each frame."""
    group = "PerFrameFunctionalGroupsSequence[*]"
    path.write_text(
        "profile: frames\nextends: standard\ncolumns:\n"
        f"  - {{name: FramePositions, path: '{group}.PlanePositionSequence[0].ImagePositionPatient'}}\n"
        f"  - {{name: FrameIndices, path: '{group}.FrameContentSequence[0].DimensionIndexValues'}}\n"
        f"  - {{name: FrameSegments, path: '{group}.SegmentIdentificationSequence[0].ReferencedSegmentNumber'}}\n"
    )
    return path


def make_segmentation(*, frames: int = FRAMES, defined: bool = True) -> bytes:
    """The bytes of a SEG with so many frames, each with all that highdicom writes for it; pixels are cut short."""
    seg = _Layout(defined)
    return file(
        b"".join(
            (
                _text(0x00080005, "CS", "ISO_IR 192"),
                _text(0x00080008, "CS", "DERIVED\\PRIMARY"),
                element(0x00080016, "UI", _SOP_CLASS),
                _text(0x00080018, "UI", "1.2.826.0.1.3680043.10.511.3.1"),
                _text(0x00080020, "DA", "20230115"),
                _text(0x00080030, "TM", "101530.5"),
                _text(0x00080060, "CS", "SEG"),
                _text(0x00080070, "LO", "highdicom"),
                _text(0x00100010, "PN", "Invented^Person"),
                _text(0x00100020, "LO", "SEG-1"),
                seg.sequence(0x00081115, seg.referenced_series(frames // SEGMENTS)),
                _text(0x0020000D, "UI", "1.2.826.0.1.3680043.10.511.3.2"),
                _text(0x0020000E, "UI", "1.2.826.0.1.3680043.10.511.3.3"),
                _text(0x00200011, "IS", "100"),
                _text(0x00200013, "IS", "1"),
                _text(0x00280008, "IS", str(frames)),
                element(0x00280010, "US", struct.pack("<H", 512)),
                element(0x00280011, "US", struct.pack("<H", 512)),
                element(0x00280100, "US", struct.pack("<H", 1)),
                _text(0x00620001, "CS", "BINARY"),
                seg.sequence(0x00620002, *(seg.segment(number + 1) for number in range(SEGMENTS))),
                seg.sequence(0x52009229, seg.shared_groups()),
                seg.sequence(0x52009230, *(seg.frame_groups(frame) for frame in range(frames))),
                element(STOP, "OB", bytes(_TAIL)),
            )
        ),
        element(0x00020002, "UI", _SOP_CLASS),
        element(0x00020003, "UI", b"1.2.826.0.1.3680043.10.511.3.1"),
    )


def _text(tag: int, vr: str, text: str) -> bytes:
    value = text.encode()
    return element(tag, vr, value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2))


def _source_uid(slice_number: int) -> str:
    return f"1.2.826.0.1.3680043.10.511.3.4.{slice_number}"


class _Layout:
    """Builds sequences one way: all lengths defined, or none."""

    def __init__(self, defined: bool) -> None:
        self.defined = defined

    def sequence(self, tag: int, *contents: bytes) -> bytes:
        items = [item(content, defined=self.defined) for content in contents]
        return sequence(tag, items, defined=self.defined)

    def code(self, tag: int, value: str, meaning: str) -> bytes:
        texts = ((0x00080100, "SH", value), (0x00080102, "SH", "DCM"), (0x00080104, "LO", meaning))
        return self.sequence(tag, b"".join(_text(*text) for text in texts))

    def referenced_series(self, slices: int) -> bytes:
        sources = (_text(0x00081155, "UI", _source_uid(number)) for number in range(slices))
        instances = self.sequence(0x0008114A, *(element(0x00081150, "UI", _CT) + uid for uid in sources))
        return instances + _text(0x0020000E, "UI", "1.2.826.0.1.3680043.10.511.3.5")

    def segment(self, number: int) -> bytes:
        return b"".join(
            (
                self.code(0x00620003, "T-D0050", "Tissue"),
                element(0x00620004, "US", struct.pack("<H", number)),
                _text(0x00620005, "LO", f"Segment {number}"),
                _text(0x00620008, "CS", "AUTOMATIC"),
                _text(0x00620009, "LO", "LesionNet"),
                self.code(0x0062000F, "T-62000", "Liver"),
            )
        )

    def shared_groups(self) -> bytes:
        measures = _text(0x00180050, "DS", "1.25") + _text(0x00280030, "DS", "0.703125\\0.703125")
        orientation = _text(0x00200037, "DS", "1.0\\0.0\\0.0\\0.0\\1.0\\0.0")
        return self.sequence(0x00209116, orientation) + self.sequence(0x00289110, measures)

    def frame_groups(self, frame: int) -> bytes:
        """What differs from frame to frame, derivation included: some 700 bytes."""
        slice_number, segment = divmod(frame, SEGMENTS)
        position = f"-180.0\\-180.0\\{-600 + 1.25 * slice_number}"
        index = struct.pack("<2I", segment + 1, slice_number + 1)
        source = b"".join(
            (
                element(0x00081150, "UI", _CT),
                _text(0x00081155, "UI", _source_uid(slice_number)),
                _text(0x0028135A, "CS", "YES"),
                self.code(0x0040A170, "121322", "Source image for image processing operation"),
            )
        )
        derivation = self.sequence(0x00082112, source) + self.code(0x00089215, "113076", "Segmentation")
        return b"".join(
            (
                self.sequence(0x00089124, derivation),
                self.sequence(0x00209111, element(0x00209157, "UL", index)),
                self.sequence(0x00209113, _text(0x00200032, "DS", position)),
                self.sequence(0x0062000A, element(0x0062000B, "US", struct.pack("<H", segment + 1))),
            )
        )
