"""The VRs of PS3.5 6.2 by what they have in common: the one place where they are listed.

In: nothing.  Out: sets of VRs, and tables of their bits for the compiled modules.  Knows no bytes and no values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

CHARSET_VRS = frozenset({"SH", "LO", "ST", "LT", "UT", "UC", "PN"})
"""VRs that SpecificCharacterSet applies to (PS3.5 6.1.2.2); all other strings are in the default repertoire."""
STRING_VRS = CHARSET_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
"""VRs that hold text, padded with spaces or a NUL."""
FRAGMENTED_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})
"""VRs whose undefined length may hold fragments instead of items (PS3.5 A.4)."""
LONG_VRS = FRAGMENTED_VRS | {"SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
"""VRs with a 32-bit length in explicit VR (PS3.5 7.1.2)."""
KNOWN_VRS = STRING_VRS | LONG_VRS | {"AT", "FD", "FL", "SL", "SS", "UL", "US"}


def tabulate_bits(bits: Mapping[int, Collection[str]]) -> npt.NDArray[np.uint8]:
    """``uint8[676]``: the bits of each pair of capitals, at 26 times the first letter plus the second.

    >>> int(tabulate_bits({4: ["AB"]})[1])
    4
    """
    table = np.zeros(26 * 26, np.uint8)
    for bit, names in bits.items():
        for name in names:
            table[(ord(name[0]) - 65) * 26 + ord(name[1]) - 65] |= bit
    return table
