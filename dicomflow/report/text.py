r"""Make text fit for a terminal: harmless, short, with readable numbers.

In: any text or number.  Out: text.  Pure; knows nothing of DICOM.

Values of headers and names of files are strangers' text: an escape sequence in them could rewrite the screen or the title of
the window, a direction override could make one name look like another.
"""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len, set_cell_size

_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that a terminal may act on, or cannot show."""

_ELLIPSIS = "…"

_UNITS = ("kB", "MB", "GB", "TB", "PB")


def harmless(text: str) -> str:
    r"""The text with control characters, direction overrides and lone surrogates written as escapes.

    >>> print(harmless("a\x1b[31mb\n"))
    a\x1b[31mb\n
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if unicodedata.category(char) in _HARMFUL else char for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def harmless_json(text: str) -> str:
    r"""JSON text (as ``json.dumps(..., ensure_ascii=False)`` gives it) with the same characters as JSON escapes.

    >>> print(harmless_json('"\u202ea\u00fc"'))
    "\u202eaü"
    """
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(_escape_json(char) for char in text)


def _escape_json(char: str) -> str:
    if char == "\n" or char.isprintable() or unicodedata.category(char) not in _HARMFUL:
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def shorten(text: str, cells: int) -> str:
    """At most so many cells of a terminal; an ellipsis stands for what was cut.

    >>> shorten("SIEMENS HEALTHINEERS", 10)
    'SIEMENS H…'
    """
    text = text[: 4 * cells + 4]  # bounds the work; few characters take no cell
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 1).rstrip() + _ELLIPSIS


def pad(text: str, cells: int) -> str:
    """Exactly so many cells.

    >>> pad("CT", 4), pad("Modality", 4)
    ('CT  ', 'Mod…')
    """
    return set_cell_size(shorten(text, cells), cells)


def format_bytes(count: int) -> str:
    """Decimal units, as disks are sold and DICOM people speak.

    >>> format_bytes(812), format_bytes(1_250_000)
    ('812 bytes', '1.2 MB')
    """
    if count < 1000:
        return f"{count} byte{'' if count == 1 else 's'}"
    power = 1
    while count >= 999.5 * 1000**power and power < len(_UNITS):
        power += 1
    size = count / 1000**power
    return f"{size:.0f} {_UNITS[power - 1]}" if size >= 9.95 else f"{size:.1f} {_UNITS[power - 1]}"


def format_seconds(seconds: float) -> str:
    """A duration for people.

    >>> format_seconds(0.84), format_seconds(75), format_seconds(7260)
    ('0.84 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_share(share: float) -> str:
    """A share as per cent; never 0 % for something, never 100 % for less than all.

    >>> format_share(0.98), format_share(0.00001), format_share(0.99999), format_share(1)
    ('98.0 %', '<0.1 %', '>99.9 %', '100 %')
    """
    if share in (0, 1):
        return f"{share * 100:.0f} %"
    if share < 0.001:
        return "<0.1 %"
    return ">99.9 %" if share > 0.999 else f"{share * 100:.1f} %"
