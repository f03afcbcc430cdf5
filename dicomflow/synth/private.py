"""Private elements as the big vendors write them: creators, blocks, CSA headers, opaque blobs (PS3.5 7.8).

In: a data set, a vendor, a stream of draws.  Out: the data set with private blocks.  Knows where vendors put which VR;
the values are random.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from pydicom.dataset import Dataset

from dicomflow.synth.draw import Draw, make_uid
from dicomflow.synth.geometry import format_decimal


class Block(NamedTuple):
    """One private block: group, creator, and its elements as ``VR:low bytes`` (``a-b`` for a range, ``*n`` items)."""

    group: int
    creator: str
    elements: str


_GE_SHORT = (
    Block(0x0009, "GEMS_IDEN_01", "SH:02,04,30,31 SL:27,E9 UI:E3"),
    Block(0x0019, "GEMS_ACQU_01", "DS:0F,19,1B,1E SS:11,12,17 LO:18,1A,9C FL:5A DT:9D"),
    Block(0x0021, "GEMS_RELA_01", "SS:35,36,37,4F DS:51,52,53"),
    Block(0x0043, "GEMS_PARM_01", "SS:01,02,03,04,06,2F DS:0B,0C IS*4:39 OB*80:28 LO*3:81"),
)

_GE_LONG = (
    Block(0x0009, "GEMS_IDEN_01", "SH:02,04,30,31 SL:27,E9 UI:E3"),
    Block(
        0x0019,
        "GEMS_ACQU_01",
        "DS:0F,19,1B,1E,7D,7F,84,87,8D,91,93,A7-BE,D9,DF,E0,E2,F9 "
        "SS:11,12,17,7E,81,85,88,8A,8B,8F,90,94,95,96,98,9B,9F,A0,A1,A4,C0,C2-CF,D2,D5,D7,D8,F2 "
        "LO:18,1A,9C,9E FL:5A SL:92,97,A2 UL:A3 DT:9D SH:D3",
    ),
    Block(0x0021, "GEMS_RELA_01", "SS:35,36,37,4F,50 DS:51,52,53,5B-5F,81-84 SL:56-5A SH:18,54"),
    Block(0x0023, "GEMS_STDY_01", "SS:10,50,7D SL:01,02,74 FD:70"),
    Block(0x0025, "GEMS_SERS_01", "SS:06,11 SL:07,10,14,17-19 SH:1A OB*1068:1B"),
    Block(0x0027, "GEMS_IMAG_01", "SL:06 SS:10,31,32,35 SH:30,40 UL:33 FL:41,60-62"),
    Block(0x0029, "GEMS_IMPS_01", "SL:15-18,34,35 SS:26"),
    Block(
        0x0043,
        "GEMS_PARM_01",
        "SS:01-04,06-0A,1C,1D,2C,2F,30,32 DS:0B-0E,91 US:10,73-76,79,7A,7D SH:2E,62,77,78 FL:33,7B,7C FL*24:38 "
        "IS:34,9A IS*4:39 IS*8:60 UL:35-37 UI:61,72 DS*4:6F LO:70,80,95 ST:71 LO*5:82 LO*7:84 CS:8A,96 LO*3:90 "
        "OB*80:28 OB*2068:29 OB*7800:2A",
    ),
)

_SIEMENS_SHORT = (
    Block(
        0x0019, "SIEMENS MR HEADER", "CS:08 LO:09 US:0A DS:0B,16,17 SH:0F,11 SL*3:12,13 IS*3:14 IS:18 FD:28 FD*12:29"
    ),
    Block(0x0029, "SIEMENS CSA HEADER", "CS:08,18 LO:09,19 OB*-1:10,20"),
    Block(0x0029, "SIEMENS MEDCOM HEADER2", "LO:60"),
    Block(0x0051, "SIEMENS MR HEADER", "CS:08 LO:09,0A,0B,0C,0E,0F,11,16,17,19 SH:0D,12,13,15"),
)

_SIEMENS_LONG = (
    *_SIEMENS_SHORT,
    Block(0x0021, "SIEMENS MR SDS 01", "IS:01-28 SH:29-40 DS:41-58 FD:59-68 UT:69-6A OB*4000:FE"),
    Block(0x0021, "SIEMENS MR SDI 02", "CS:01-0B IS:11-24 DS:25-3C FD*3:3D-48 SH:49-4C OB*2000:FE"),
)

_PHILIPS = (
    Block(
        0x2001, "Philips Imaging DD 001", "FL:01,03,09 IS:02,08,0A,1D SS:05,0F,15 CS:04,06,07,0B,0C LO:20 SL:13,14,17"
    ),
    Block(0x2005, "Philips MR Imaging DD 001", "CS:04,05,11,12 FL:00,01,02,08-0E DS:0F,10 SS:1A,1D,21 SL:20 LO:18"),
)

_SIEMENS_CT = (Block(0x0019, "SIEMENS CT VA0  COAD", "IS:10,11,20,21 DS:22,23,24,50,52,54,B0 CS:80 UL:65-67"),)
_GE_PET = (Block(0x0009, "GEMS_PETD_01", "LO:01,10,12,36,37 UI:0A,13 DT:0D,3B SH:15,3E FL:38,3A,3F,40 SL:3C,3D,47-4F"),)

_BLOCKS = {
    ("mr", "ge"): _GE_SHORT,
    ("mr", "siemens"): _SIEMENS_SHORT,
    ("mr", "philips"): _PHILIPS,
    ("mr-long", "ge"): _GE_LONG,
    ("mr-long", "siemens"): _SIEMENS_LONG,
    ("ct", "siemens"): _SIEMENS_CT,
    ("ct", "ge"): _GE_SHORT[:3],
    ("pet", "ge"): _GE_PET,
}


def add_private_elements(dataset: Dataset, kind: str, vendor: str, draw: Draw) -> None:
    """Add what this vendor writes in this kind of image; nothing where it is not known for any.

    The block number differs from series to series, as it does in archives: only the creator identifies an element.
    """
    first = draw.pick((0x10, 0x10, 0x10, 0x11, 0x20))
    for block in _BLOCKS.get((kind, vendor), ()):
        number = first
        while (block.group, number) in dataset:
            number += 1
        dataset.add_new((block.group, number), "LO", block.creator)
        for vr, count, low in _parse_elements(block.elements):
            dataset.add_new((block.group, number << 8 | low), vr, _draw_value(vr, count, draw))


def find_private_tag(dataset: Dataset, group: int, creator: str, low: int) -> int | None:
    """Where an element of a creator lies in this data set; None where it does not."""
    for number in range(0x10, 0x100):
        tag = group << 16 | number << 8 | low
        if (group, number) in dataset and dataset[group, number].value == creator and tag in dataset:
            return tag
    return None


def make_csa_header(draw: Draw, tags: int) -> bytes:
    """A Siemens CSA2 header: magic, number of tags, then per tag its name, VM, VR and items padded to four bytes."""
    names = ("EchoLinePosition", "ImaCoilString", "SliceThickness", "MrPhoenixProtocol", "B_value", "RealDwellTime")
    parts = [b"SV10\4\3\2\1", struct.pack("<II", tags, 77)]
    for number in range(tags):
        text = format_decimal(draw.real(0, 4000, 4)).encode() + b"\0"
        name = f"{draw.pick(names)}{number}".encode().ljust(64, b"\0")
        parts.append(name + struct.pack("<i4siii", 1, b"DS\0\0", 3, 6, 77))
        parts.append(
            struct.pack("<4i", len(text), len(text), 77, len(text)) + text.ljust((len(text) + 3) // 4 * 4, b"\0")
        )
        parts.append(struct.pack("<4i", 0, 0, 77, 0) * 5)
    raw = b"".join(parts)
    return raw + bytes(len(raw) % 2)


def _parse_elements(text: str) -> list[tuple[str, int, int]]:
    """``"DS:0F,19 IS*4:39"`` -> (VR, number of items, low byte) of each element."""
    found = []
    for group in text.split():
        kind, _, lows = group.partition(":")
        vr, _, count = kind.partition("*")
        for low in lows.split(","):
            first, _, last = low.partition("-")
            found += [(vr, int(count or 1), value) for value in range(int(first, 16), int(last or first, 16) + 1)]
    return found


def _draw_value(vr: str, count: int, draw: Draw) -> Any:
    if vr == "OB":
        return make_csa_header(draw, draw.integer(10, 14)) if count < 0 else draw.blob(count)
    values = [_DRAWERS[vr](draw) for _ in range(count)]
    return values[0] if count == 1 else values


_WORDS = ("IMAGE NUM 4", "NORMAL", "NONE", "HEAD", "Fast", "No", "EPI", "1.0", "GRE", "TP 0", "COL", "M/ND", "")

_DRAWERS: dict[str, Callable[[Draw], Any]] = {
    "DS": lambda draw: f"{draw.real(-500, 500, 6):.6f}",
    "IS": lambda draw: str(draw.integer(0, 20_000)),
    "SS": lambda draw: draw.integer(-20, 1000),
    "US": lambda draw: draw.integer(0, 4000),
    "SL": lambda draw: draw.integer(-1000, 1_600_000_000),
    "UL": lambda draw: draw.integer(0, 1_600_000_000),
    "FL": lambda draw: draw.integer(-4000, 4000) / 8,  # exact in 32 bits
    "FD": lambda draw: draw.real(-1000, 1000, 6),
    "CS": lambda draw: draw.pick(_WORDS).upper().replace(".", "_").replace("/", " "),
    "SH": lambda draw: draw.pick(_WORDS),
    "LO": lambda draw: f"{draw.pick(_WORDS)} {draw.integer(0, 99)}",
    "ST": lambda draw: "Simple block design",
    "UT": lambda draw: "ProtocolText=" + "#" * draw.integer(100, 400),
    "DT": lambda draw: f"2019112220{draw.integer(10, 59)}17",
    "UI": lambda draw: make_uid("private", draw.integer(0, 10**9)),
}
