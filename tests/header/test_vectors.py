"""The law of the vectors: where they decode a column, the careful decoder gives the same values and no issue."""

import math
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicomflow.header.values import decode_value
from dicomflow.header.vectors import _LISTS, _SCALARS, RawColumn, decode_plain
from dicomflow.model import RawValue
from dicomflow.schema.column import Column

WIDTH = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FD": 8, "FL": 4}
SHAPES = [(vr, False) for vr in _SCALARS] + [(vr, True) for vr in _LISTS]


def column(vr, many):
    return Column("X", vr, many, (), ())


def vectors(vr, many, raws, big=False):
    offsets = np.cumsum([0, *(len(raw) for raw in raws)]).astype(np.int32)
    return decode_plain(column(vr, many), vr, RawColumn(offsets, bytearray(b"".join(raws) or b"\0"), big))


def check(vr, many, raws, big=False):
    """True if the vectors took it, and rightly so."""
    array = vectors(vr, many, raws, big)
    if array is None:
        return False
    careful = [decode_value(RawValue(raw, vr, big), vr, many) for raw in raws]
    assert all(not one.issues for one in careful), careful
    assert array.type == column(vr, many).arrow_type
    assert [key(value) for value in array.to_pylist()] == [key(one.value) for one in careful]
    return True


def key(value):
    """Equal only if the same, the sign of zero included."""
    if isinstance(value, list):
        return [key(one) for one in value]
    return (value, math.copysign(1, value)) if isinstance(value, float) else (type(value), value)


numbers = st.one_of(
    st.from_regex(rb"[ ]{0,2}[+-]?[0-9]{0,17}(\.[0-9]{0,16})?([eE][+-]?[0-9]{0,3})?[ \0]{0,2}", fullmatch=True),
    st.integers(-(10**19), 10**19).map(lambda n: str(n).encode()),
    st.floats().map(lambda x: repr(x).encode()),
    st.sampled_from(
        [b"-0", b"00", b"+1", b"-", b".", b".5", b"5.", b"1e5", b"1E-5", b"nan", b"1.5\0", b"-0.0", b"0", b"1 2"]
    ),
)
times = st.one_of(
    st.from_regex(rb"[0-2][0-9]([0-6][0-9]([0-6][0-9](\.[0-9]{0,7})?)?)?[ \0]{0,2}", fullmatch=True),
    st.sampled_from([b"235960", b"240000", b"000000", b"12:30:00", b" 120000", b"120000.5 "]),
)
uids = st.from_regex(rb"[0-9]{1,4}(\.[0-9]{1,4}){0,16}[ \0]?", fullmatch=True)
texts = st.one_of(
    st.binary(max_size=12), st.from_regex(rb"[ ]{0,2}[A-Za-z0-9 \\\\^=\0]{0,10}[ \0]{0,2}", fullmatch=True)
)
lists = st.lists(numbers, min_size=1, max_size=4).map(b"\\".join)
FORMS = {"DS": numbers, "IS": numbers, "TM": times, "UI": uids, "CS": texts, "SH": texts, "LO": texts}


@settings(max_examples=400)
@given(st.data())
def test_vectors_never_say_otherwise_than_the_careful_decoder(data):
    """Adversarial texts, alone and among others: an array is given only if each value is plain and equal."""
    vr, many = data.draw(st.sampled_from([shape for shape in SHAPES if shape[0] not in WIDTH]))
    form = lists if many else st.one_of(FORMS[vr], texts)
    raws = data.draw(st.lists(form, min_size=1, max_size=3))
    check(vr, many, raws)
    for raw in raws:
        check(vr, many, [raw])


@given(numbers)
@example(b"-0")
@example(b"123456789012345.123456789012345")
@example(b"1e-99")
def test_each_number_alone(raw):
    """DS, IS and lists of DS, one text at a time."""
    for vr, many in (("DS", False), ("DS", True), ("IS", False)):
        check(vr, many, [raw])


@given(st.sampled_from(sorted(WIDTH)), st.booleans(), st.data())
def test_binary_numbers(vr, big, data):
    """All bit patterns in both byte orders; NaN and infinity, and odd lengths, are left to the careful decoder."""
    raws = data.draw(st.lists(st.binary(min_size=WIDTH[vr], max_size=WIDTH[vr]), min_size=1, max_size=4))
    check(vr, False, raws, big)
    assert vectors(vr, False, [*raws, b"\1"], big) is None


@pytest.mark.parametrize(
    ("vr", "many", "raws"),
    [
        ("UI", False, [b"1.2.840\0", b"1.2 ", b"0"]),
        ("CS", False, [b"MR", b" CT ", b"A\\B"]),
        ("DS", False, [b"1.5 ", b" -2", b"+3e2", b".5", b"5.", b"-0"]),
        ("IS", False, [b"1 ", b" -12", b"0"]),
        ("TM", False, [b"120000", b"235959.999999", b"000000.5 "]),
        ("DS", True, [b"1.5\\-2 ", b"0"]),
        ("US", False, [struct.pack("<H", 65535)]),
    ],
)
def test_plain_values_are_taken(vr, many, raws):
    """What real files hold does go the fast way."""
    assert check(vr, many, raws)


@pytest.mark.parametrize(
    ("vr", "raw"),
    [("UI", b"1.02"), ("UI", b"1." + b"1" * 63), ("DS", b"1,5"), ("DS", b"1\\2"), ("IS", b"4.1"), ("TM", b"1230"), ("LO", b"\xfc"),
     ("LO", b"A\0B"), ("FD", struct.pack("<d", math.nan)), ("CS", b"\x1b$B"), ("DS", b"")],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_careful_decoder(vr, raw):
    """One odd value is enough."""
    assert vectors(vr, False, [raw]) is None


def test_another_vr_than_the_columns_is_not_plain():
    """A DS in a column of VR FD takes the careful way; so do columns without a vector."""
    raw = RawColumn(np.array([0, 1], np.int32), bytearray(b"1"), False)
    assert decode_plain(column("FD", False), "DS", raw) is None
    assert decode_plain(column("PN", False), "PN", raw) is None
    assert decode_plain(column("IS", True), "IS", raw) is None
