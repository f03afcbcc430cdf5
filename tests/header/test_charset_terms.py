"""All defined terms of PS3.3 C.12.1.1.2, each over its whole repertoire, and the examples of PS3.5 as literal bytes."""

import pytest
from pydicom.charset import convert_encodings, decode_bytes

from dicomflow.errors import IssueCode
from dicomflow.header.charset import decode_text

SINGLE_BYTE = {
    100: ("latin_1", b"-A"),
    101: ("iso8859_2", b"-B"),
    109: ("iso8859_3", b"-C"),
    110: ("iso8859_4", b"-D"),
    126: ("iso8859_7", b"-F"),
    127: ("iso8859_6", b"-G"),
    138: ("iso8859_8", b"-H"),
    144: ("iso8859_5", b"-L"),
    148: ("iso8859_9", b"-M"),
    166: ("tis_620", b"-T"),
    203: ("iso8859_15", b"-b"),
}
"""ISO registration number -> Python's codec, what follows ESC (tables C.12-2 and C.12-3); 13 is apart."""

KATAKANA = "".join(map(chr, range(0xFF61, 0xFFA0)))
MULTI_BYTE = {
    "87": ("iso2022_jp", b"$B"),
    "159": ("iso2022_jp_2", b"$(D"),
    "149": ("euc_kr", b"$)C"),
    "58": ("gb2312", b"$)A"),
}
"""With code extensions (table C.12-4)."""


def upper_half(codec):
    """All characters that a single-byte set has beyond ASCII."""
    return bytes(range(0xA0, 0x100)).decode(codec, errors="ignore")


def two_byte_characters(codec, escape):
    """All characters that a multi-byte set encodes in two bytes."""
    found = []
    for number in range(0x80, 0x10000):
        try:
            raw = chr(number).encode(codec)
        except UnicodeEncodeError:
            continue
        if raw.startswith(b"\x1b" + escape) or (escape[1:2] == b")" and len(raw) == 2):
            found.append(chr(number))
    return "".join(found)


@pytest.mark.parametrize("number", SINGLE_BYTE)
def test_each_single_byte_term_decodes_its_whole_repertoire(number):
    """Alone, as the first of several, and after an escape (tables C.12-2 and C.12-3)."""
    codec, escape = SINGLE_BYTE[number]
    text = upper_half(codec)
    raw = text.encode(codec)
    assert len(text) > 40
    for term in (f"ISO_IR {number}", f"ISO 2022 IR {number}", f"ISO 2022 IR {number}\\ISO 2022 IR 87"):
        assert decode_text(raw, term.encode(), "LO") == (text, None)
    for first in (b"", b"ISO 2022 IR 6"):
        declared = first + b"\\ISO 2022 IR %d" % number
        assert decode_text(b"A\x1b" + escape + raw, declared, "LO") == ("A" + text, None)


def test_the_two_terms_of_the_default_repertoire():
    """ASCII, and nothing beyond it."""
    ascii_text = bytes(range(0x20, 0x7F)).decode()
    for term in (b"ISO_IR 6", b"ISO 2022 IR 6", b"", None):
        assert decode_text(ascii_text.encode(), term, "LO") == (ascii_text, None)
        assert decode_text(b"\xe4", term, "LO") == ("ä", IssueCode.CHARSET_UNDECLARED)


def test_the_two_terms_of_japanese_single_bytes():
    """JIS X 0201: half-width katakana in G1."""
    raw = KATAKANA.encode("shift_jis")
    assert decode_text(raw, b"ISO_IR 13", "LO") == (KATAKANA, None)
    assert decode_text(raw, b"ISO 2022 IR 13\\ISO 2022 IR 87", "LO") == (KATAKANA, None)
    assert decode_text(b"A\x1b)I" + raw, b"\\ISO 2022 IR 13", "LO") == ("A" + KATAKANA, None)


@pytest.mark.parametrize("number", MULTI_BYTE)
def test_each_multi_byte_term_decodes_its_whole_repertoire(number):
    """Each character of JIS X 0208, JIS X 0212, KS X 1001 and GB 2312, after its escape (table C.12-4)."""
    codec, escape = MULTI_BYTE[number]
    text = two_byte_characters(codec, escape).replace("\u3164", "")  # what follows this filler is half of a syllable
    assert len(text) > 5000
    declared = b"\\ISO 2022 IR " + number.encode()
    raw = text.encode(codec)
    if not raw.startswith(b"\x1b"):
        raw = b"\x1b" + escape + raw
    for vr in ("LO", "LT", "PN"):
        assert decode_text(raw + b"\x1b(B", declared, vr) == (text, None)


@pytest.mark.parametrize(("term", "codec"), [("ISO_IR 192", "utf_8"), ("GB18030", "gb18030"), ("GBK", "gbk")])
def test_each_term_without_code_extensions_decodes_its_whole_repertoire(term, codec):
    """Table C.12-5; an escape is no designation there (PS3.5 6.1.2.5.4)."""
    text = (
        two_byte_characters("gbk", b"$)A") if codec == "gbk" else "".join(map(chr, range(0x80, 0xD800))) + "\U00020bb7"
    )
    assert decode_text(text.encode(codec), term.encode(), "LO") == (text, None)
    assert decode_text(b"\x1b$B\xe4\xb8\xad" if codec == "utf_8" else b"\x1b$B\xd6\xd0", term.encode(), "LO") == (
        "\x1b$B中",
        None,
    )


NAMES = {
    "H.3.1": (
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "H.3.2": (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "I.2": (
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "J.1": (
        b"ISO_IR 192",
        b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1=",
        "Wang^XiaoDong=王^小東=",
    ),
    "J.3": (b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
    "J.4": (b"GBK", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
    "K.2": (
        b"\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东=",
    ),
    "French": (b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    "German": (b"ISO_IR 100", b"\xc4neas^R\xfcdiger", "Äneas^Rüdiger"),
    "Greek": (b"ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
    "Russian": (b"ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3", "Люкceмбypг"),
    "Arabic": (b"ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
    "Hebrew": (b"ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
    "Thai": (b"ISO_IR 166", b"\xca\xc1\xaa\xd2\xc2", "สมชาย"),
    "a set per group": (
        b"ISO 2022 IR 100\\ISO 2022 IR 126\\ISO 2022 IR 144",
        b"Buc^J\xe9r\xf4me=\x1b-F\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2=\x1b-L\xbb\xee\xdace\xdc\xd1yp\xd3",
        "Buc^Jérôme=Διονυσιος=Люкceмбypг",
    ),
    "a set per component": (
        b"ISO 2022 IR 100\\ISO 2022 IR 126\\ISO 2022 IR 144",
        b"\x1b-F\xc4^\xc4^\x1b-L\xbb=\xe9^\x1b-L\xbb",
        "Δ^Ä^Л=é^Л",
    ),
    "a set per name": (b"ISO 2022 IR 100\\ISO 2022 IR 126", b"\x1b-F\xc4\\\xc4\\\x1b-F\xe9", "Δ\\Ä\\ι"),
}
"""PS3.5 annexes H to K, and names in each alphabet: declared, bytes, text."""

PYDICOM_KEEPS_ESCAPES = {"K.2"}
"""Pydicom leaves the escape of GB 2312 in the text; escapes are no characters (PS3.5 6.1.2.5)."""


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_standard(name):
    """Component groups and components each begin in the first set."""
    charset, raw, text = NAMES[name]
    assert decode_text(raw, charset, "PN") == (text, None)


@pytest.mark.parametrize("name", sorted(set(NAMES) - PYDICOM_KEEPS_ESCAPES))
def test_pydicom_reads_the_same(name):
    """The oracle agrees."""
    charset, raw, text = NAMES[name]
    codecs = convert_encodings(charset.decode().split("\\"))
    assert decode_bytes(raw, codecs, {0x5C, 0x5E, 0x3D, 0x0A, 0x0C, 0x0D, 0x09}) == text


@pytest.mark.parametrize(
    ("charset", "raw", "text", "issue"),
    [
        (b"ISO_IR 192", b"M\xfcller", "M\ufffdller", IssueCode.CHARSET_REPLACED),
        (b"ISO_IR 166", b"\xff", "\ufffd", IssueCode.CHARSET_REPLACED),
        (b"ISO_IR 127", b"\xe2\xff", "ق\ufffd", IssueCode.CHARSET_REPLACED),
        (b"GB18030", b"M\xff\xff", "M\ufffd\ufffd", IssueCode.CHARSET_REPLACED),
        (b"\\ISO 2022 IR 149", b"\x1b$)C\xff\xff", "\ufffd\ufffd", IssueCode.CHARSET_REPLACED),
        (b"ISO_IR 999", b"\x1b-F\xc4", "\x1b-FÄ", IssueCode.CHARSET_UNKNOWN),
        (None, b"\x1b$B;3\x1b(B", "\x1b$B;3", IssueCode.CHARSET_UNDECLARED),
        (b"ISO_IR 100", b"\x1b$B;3\x1b(B", "\x1b$B;3", IssueCode.CHARSET_UNDECLARED),
        (b"\\ISO 2022 IR 149", b"\xfb\xf3", "ûó", IssueCode.CHARSET_UNDECLARED),
        (b"\\ISO_IR 192", "é".encode(), "é", IssueCode.CHARSET_UNDECLARED),
        (b"ISO_IR 192\\ISO 2022 IR 87", "山".encode(), "山", None),
        (b"ISO_IR 100\\ISO_IR 999", b"\xe9", "é", None),
        (b"ISO_IR 999\\ISO_IR 100", b"\xe9", "é", IssueCode.CHARSET_UNKNOWN),
        (b"ISO 2022 IR 87", b"Yamada=\x1b$B;3ED\x1b(B", "Yamada=山田", None),
        (b"ISO 2022 IR 149", b"Hong=\x1b$)C\xfb\xf3^\xfb\xf3", "Hong=洪^洪", None),
    ],
)
def test_wrongly_declared_sets(charset, raw, text, issue):
    """The declared set decodes; what it cannot decode, or nobody declared, is an issue (pitfall 10)."""
    assert decode_text(raw, charset, "PN") == (text, issue)
