"""Decode the bytes of a text value, by the SpecificCharacterSet in force.

In: raw bytes, the value field of (0008,0005), a VR.  Out: str, and what went wrong, if anything; never an exception.
Knows the character sets of PS3.3 C.12.1.1.2 and ISO 2022; knows no tags, does not split or strip values.
"""

from __future__ import annotations

import re
from encodings.aliases import aliases
from functools import lru_cache
from typing import NamedTuple

from dicomflow.errors import IssueCode
from dicomflow.header.vr import CHARSET_VRS

_DEFAULT = ""  # codec of the default repertoire, ISO-IR 6: nothing is declared for bytes beyond ASCII
_ESC = b"\x1b"
_MAX_DECLARATION = 1024  # bytes of (0008,0005) that are looked at; all defined terms together are shorter


def _canonical(codec: str) -> str:
    """One name per codec: writers say UTF8, latin1 or cp1252 where Python says utf_8, latin_1 and cp1252."""
    name = re.sub(r"[ -]", "_", codec.lower())
    return aliases.get(name, name)


_TERMS: dict[str, str] = {
    "": _DEFAULT,
    "ISO_IR 6": _DEFAULT,
    "ISO_IR 13": "shift_jis",
    "ISO_IR 100": "latin_1",
    "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4",
    "ISO_IR 126": "iso8859_7",
    "ISO_IR 127": "iso8859_6",
    "ISO_IR 138": "iso8859_8",
    "ISO_IR 144": "iso8859_5",
    "ISO_IR 148": "iso8859_9",
    "ISO_IR 166": "tis_620",
    "ISO 2022 IR 6": _DEFAULT,
    "ISO 2022 IR 13": "shift_jis",
    "ISO 2022 IR 87": "iso2022_jp",
    "ISO 2022 IR 100": "latin_1",
    "ISO 2022 IR 101": "iso8859_2",
    "ISO 2022 IR 109": "iso8859_3",
    "ISO 2022 IR 110": "iso8859_4",
    "ISO 2022 IR 126": "iso8859_7",
    "ISO 2022 IR 127": "iso8859_6",
    "ISO 2022 IR 138": "iso8859_8",
    "ISO 2022 IR 144": "iso8859_5",
    "ISO 2022 IR 148": "iso8859_9",
    "ISO 2022 IR 149": "euc_kr",
    "ISO 2022 IR 159": "iso2022_jp_2",
    "ISO 2022 IR 166": "tis_620",
    "ISO 2022 IR 58": "gb2312",
    "ISO_IR 192": "utf_8",
    "GB18030": "gb18030",
    "ISO 2022 GBK": "gbk",
    "ISO 2022 58": "gb2312",
    "GBK": "gbk",
    "ISO_IR 203": "iso8859_15",
    "ISO 2022 IR 203": "iso8859_15",
}
"""Defined term -> Python codec (PS3.3 C.12.1.1.2), with the spellings that pydicom knows; a test holds it against pydicom's
table, which to import would cost each short run 0.3 s, and which lacks Latin alphabet No. 9."""

_STAND_ALONE = frozenset({"utf_8", "gb18030", "gbk"})
"""Codecs without code extension: an escape is no designation there (PS3.5 6.1.2.5.4 d)."""

_PYTHON_CODECS = frozenset(
    ["utf_8", "latin_1", "koi8_r", "tis_620", "gb18030", "gbk", "gb2312", "big5", "shift_jis", "cp932", "euc_kr"]
    + [f"iso8859_{part}" for part in (*range(2, 12), *range(13, 17))]
    + [f"cp125{page}" for page in range(9)]
)
"""Names of Python's that writers leave in (0008,0005); a closed list, because some codecs of Python are no text."""

_SPELLING = re.compile(r"ISO[^0-9A-Z]{0,2}(2022[^0-9A-Z]{0,2})?IR[^0-9A-Z]{0,2}([0-9]{1,3})")

_MULTI_BYTE_G0 = frozenset({"iso2022_jp", "iso2022_jp_2"})
_ASCII_ESCAPES = frozenset({b"\x1b(B", b"\x1b(J"})  # ISO-IR 6 and ISO-IR 14: ASCII but for two signs
_ESCAPES: dict[bytes, str] = {
    b"\x1b(B": "latin_1",
    b"\x1b-A": "latin_1",
    b"\x1b)I": "shift_jis",
    b"\x1b(J": "shift_jis",
    b"\x1b$B": "iso2022_jp",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-F": "iso8859_7",
    b"\x1b-G": "iso8859_6",
    b"\x1b-H": "iso8859_8",
    b"\x1b-L": "iso8859_5",
    b"\x1b-M": "iso8859_9",
    b"\x1b-T": "tis_620",
    b"\x1b$)C": "euc_kr",
    b"\x1b$(D": "iso2022_jp_2",
    b"\x1b$)A": "gb2312",
    b"\x1b-b": "iso8859_15",
}
"""Escape sequence -> Python codec (PS3.3 C.12.1.1.2)."""

_FRAGMENTS = re.compile(rb"\A[^\x1b]+|\x1b[^\x1b]*")
_HALVES = re.compile(rb"[\x00-\x7f]+|[\x80-\xff]+")
_CONTROLS = re.compile(rb"[\t\n\f\r]")
_DELIMITERS = {
    "PN": re.compile(rb"[\t\n\f\r\\^=]"),
    **dict.fromkeys(["LO", "SH", "UC"], re.compile(rb"[\t\n\f\r\\]")),
}

_BY_GRAVITY = (
    IssueCode.CHARSET_REPLACED,
    IssueCode.CHARSET_UNKNOWN,
    IssueCode.CHARSET_UNDECLARED,
)


class _Declared(NamedTuple):
    """SpecificCharacterSet, understood: the initial codec, all codecs, and whether a term is nobody's."""

    first: str
    codecs: frozenset[str]
    unknown: bool


class _Run(NamedTuple):
    """A decoded stretch of bytes."""

    text: str
    issue: IssueCode | None = None


class _State(NamedTuple):
    """Which sets are active: the escape of a two-byte set in G0 (none: ASCII), and the codec of G1."""

    g0: bytes | None
    g1: str


def decode_text(raw: bytes, charset: bytes | None, vr: str) -> tuple[str, IssueCode | None]:
    r"""Decode a whole value field; what splits at a backslash is split afterwards (0x5C is a trail byte in GBK).

    The declared set decodes; what it cannot decode is replaced (U+FFFD) and reported. Where nothing, or nothing known,
    is declared: ASCII, else strict UTF-8, else latin-1, reported where a byte beyond ASCII made it matter. Escapes
    reset at the delimiters of the VR (PS3.5 6.1.2.5.3).

    Args:
        raw: the value field.
        charset: the value field of (0008,0005) in force, None where there is none.
        vr: the VR; only ``CHARSET_VRS`` are subject to the charset.

    >>> decode_text(b"M\xfcller", b"ISO_IR 100", "PN")
    ('Müller', None)
    """
    if raw.isascii() and _ESC not in raw:
        return raw.decode("ascii"), None
    if vr not in CHARSET_VRS:
        return _decode_run(raw, _DEFAULT)
    declared = _read_declaration(charset or b"")
    if _ESC not in raw or declared.first in _STAND_ALONE:
        runs = [_decode_run(raw, declared.first)]
    else:
        runs = _decode_extended(raw, declared, _DELIMITERS.get(vr, _CONTROLS))
    return "".join(run.text for run in runs), _gravest(runs, declared.unknown)


def _gravest(runs: list[_Run], unknown: bool) -> IssueCode | None:
    issues = {run.issue for run in runs}
    if unknown and IssueCode.CHARSET_UNDECLARED in issues:
        issues.add(IssueCode.CHARSET_UNKNOWN)
    return next((issue for issue in _BY_GRAVITY if issue in issues), None)


@lru_cache(maxsize=256)
def _read_declaration(charset: bytes) -> _Declared:
    """Terms -> codecs, common misspellings understood; an unknown first term counts as the default repertoire."""
    terms = charset[:_MAX_DECLARATION].decode("latin-1").rstrip(" \0").split("\\")
    codecs = [_codec_for_term(term.strip(" \0")) for term in terms]
    known = frozenset(codec for codec in codecs if codec is not None)
    return _Declared(codecs[0] or _DEFAULT, known, None in codecs)


def _codec_for_term(term: str) -> str | None:
    """The codec of a term as found; None where nobody defines it."""
    upper = term.upper()
    if upper in _TERMS:
        return _TERMS[upper]
    if found := _SPELLING.fullmatch(upper):
        spellings = [f"ISO_IR {int(found[2])}", f"ISO 2022 IR {int(found[2])}"]
        return next((_TERMS[spelling] for spelling in spellings if spelling in _TERMS), None)
    codec = _canonical(term)
    return _DEFAULT if codec == "ascii" else codec if codec in _PYTHON_CODECS else None


def _decode_run(run: bytes, codec: str) -> _Run:
    """Bytes under one codec that has ASCII in its lower half."""
    if codec == _DEFAULT:
        return _decode_undeclared(run)
    try:
        return _Run(run.decode(codec))
    except UnicodeError:
        return _Run(run.decode(codec, errors="replace"), IssueCode.CHARSET_REPLACED)


def _decode_undeclared(run: bytes) -> _Run:
    issue = None if run.isascii() else IssueCode.CHARSET_UNDECLARED
    try:
        return _Run(run.decode("utf-8"), issue)
    except UnicodeError:
        return _Run(run.decode("latin-1"), issue)


def _decode_extended(raw: bytes, declared: _Declared, delimiters: re.Pattern[bytes]) -> list[_Run]:
    """ISO 2022: each escape designates one half; a delimiter brings the initial state back (PS3.5 6.1.2.5)."""
    initial = state = _State(None, declared.first)
    runs: list[_Run] = []
    for fragment in _FRAGMENTS.findall(raw):
        escape = _escape_of(fragment, declared)
        if escape is None and fragment.startswith(_ESC):
            runs.append(_Run(_decode_run(fragment, declared.first).text, IssueCode.CHARSET_UNDECLARED))
            continue
        state = _designate(state, escape) if escape else state
        run = fragment[len(escape or b"") :]
        found = (_CONTROLS if state.g0 else delimiters).search(run)
        cut = found.start() if found else len(run)
        runs += _decode_state(run[:cut], state)
        if found:
            state = initial
            runs.append(_decode_run(run[cut:], initial.g1))
    return runs


def _escape_of(fragment: bytes, declared: _Declared) -> bytes | None:
    """The escape sequence a fragment begins with, where the declaration allows it."""
    escape = next((fragment[:size] for size in (3, 4) if fragment[:size] in _ESCAPES), None)
    if escape is None or escape in _ASCII_ESCAPES:
        return escape
    return escape if _ESCAPES[escape] in declared.codecs else None


def _designate(state: _State, escape: bytes) -> _State:
    if escape in _ASCII_ESCAPES:
        return state._replace(g0=None)
    codec = _ESCAPES[escape]
    return state._replace(g0=escape) if codec in _MULTI_BYTE_G0 else state._replace(g1=codec)


def _decode_state(run: bytes, state: _State) -> list[_Run]:
    if state.g0 is None:
        return [_decode_run(run, state.g1)]
    codec = _ESCAPES[state.g0]
    halves = _HALVES.findall(run)
    return [_decode_run(state.g0 + half, codec) if half.isascii() else _decode_run(half, state.g1) for half in halves]
