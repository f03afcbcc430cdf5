"""What a protocol of a scanner decides, and how a few series come to be made otherwise.

In: a ``Series``, its attributes.  Out: a stream of draws that all series of the protocol share; the attributes, drifted or not.
Knows which settings people change by hand; no bytes, no files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from dicomflow.synth.draw import Draw
from dicomflow.synth.geometry import format_decimal
from dicomflow.synth.study import Attributes, Series

DRIFT = 0.12
"""Share of series that were made with one setting changed."""

_Change = Callable[[Any], Any]

_KVP = {"80": "100", "100": "120", "120": "100", "140": "120"}


def _stretch(value: str) -> str:
    return format_decimal(round(float(value) * 1.1, 2))


_CHANGES: Mapping[str, Mapping[str, _Change]] = MappingProxyType(
    {
        "CT": {
            "KVP": _KVP.__getitem__,
            "ConvolutionKernel": lambda kernel: "B31f" if kernel == "STANDARD" else "STANDARD",
            "SpiralPitchFactor": lambda pitch: round(pitch + 0.25, 6),
        },
        "MR": {
            "RepetitionTime": _stretch,
            "EchoTime": _stretch,
            "FlipAngle": lambda angle: str(int(angle) - 5),
        },
    }
)
"""Modality -> setting -> what it becomes."""


def name_protocol(kind: str, study: str, series: str) -> str:
    """ProtocolName: in MR a sequence is a protocol, elsewhere, and in research, an examination is.

    >>> name_protocol("mr", "MR Brain", "t2_tse_tra"), name_protocol("ct", "CT Thorax", "Scout")
    ('t2_tse_tra', 'CT Thorax routine')
    """
    return series if kind in ("mr", "enhanced-mr") else f"{study} routine"


def draw_protocol(series: Series) -> Draw:
    """The draws of what a protocol decides: the same for each of its series on a scanner, whatever the seed."""
    device = series.device
    return Draw("protocol", device.manufacturer, device.serial, series.protocol)


def drift(series: Series, settings: Attributes) -> Attributes:
    """The settings, in a few series with one of them changed.

    Args:
        series: decides by its place whether and which.
        settings: as the protocol has them.
    """
    changes = _CHANGES.get(series.modality)
    draw = Draw(series.study.plan.seed, "drift", series.study.plan.index, series.plan.number)
    if changes is None or not draw.chance(DRIFT):
        return settings
    keyword = draw.pick(tuple(changes))
    return {**settings, keyword: changes[keyword](settings[keyword])}
