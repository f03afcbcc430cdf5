"""The interner: each distinct value once per batch, with all that its meaning depends on; compiled and plain alike."""

import random

import numpy as np
import pytest

from dicomflow.header import plain
from dicomflow.header.paths import compile_tables, make_hits
from dicomflow.header.reader import COMPILED, HeaderReader, _vr_kinds
from dicomflow.model import RawValue
from tests.dicom_bytes import BIG, BIG_UID, EXPLICIT, element, file, item, sequence
from tests.scanning import UID, columns_of, distinct_values, feed, take_row

INTERNERS = [plain.PlainInterner]
if COMPILED:
    from dicomflow.header.intern import Interner

    INTERNERS.append(Interner)

compiled_only = pytest.mark.skipif(not COMPILED, reason="the compiled modules are missing")


def make(kind, names=("Modality", "PatientName"), rows=10_000, limit=1 << 20):
    tables = compile_tables(columns_of(*names))
    return kind(make_hits(tables), tables.column_leaves, rows, _vr_kinds(), limit)


def values_of(interner, column):
    offsets, data, contexts = interner.take_column(column)
    bounds = offsets.tolist()
    return [bytes(data[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)], contexts.tolist()


def header(*elements, uid=b"1.2.3\0", encoding=EXPLICIT):
    syntax = BIG_UID if encoding is BIG else b"1.2.840.10008.1.2.1\0"
    return file(element(UID, "UI", uid, encoding) + b"".join(elements), syntax=syntax)


@pytest.mark.parametrize("kind", INTERNERS)
def test_equal_values_share_a_code(kind):
    """A value equal to one seen before, in the row before or in any other, is kept once; null is -1."""
    interner = make(kind)
    for text in (b"MR", b"MR", b"CT", None, b"MR", b""):
        interner.add_values([RawValue(b"1", "UI"), text if text is None else RawValue(text, "CS"), None])
    assert interner.take_codes()[:, 1].tolist() == [0, 0, 1, -1, 0, -1]
    assert values_of(interner, 1)[0] == [b"MR", b"CT"]
    assert values_of(interner, 2) == ([], [])


@pytest.mark.parametrize("kind", INTERNERS)
def test_the_same_bytes_in_another_context_are_another_value(kind):
    """VR, byte order and character set belong to a value."""
    interner = make(kind)
    contexts = [
        RawValue(b"AB", "PN"),
        RawValue(b"AB", "LO"),
        RawValue(b"AB", "PN", True),
        RawValue(b"AB", "PN", False, b"ISO_IR 100"),
    ]
    for value in contexts:
        interner.add_values([RawValue(b"1", "UI"), None, value])
    assert interner.take_codes()[:, 2].tolist() == [0, 1, 2, 3]
    assert interner.charsets == [None, b"ISO_IR 100"]


@pytest.mark.parametrize("kind", INTERNERS)
def test_the_same_value_in_two_columns_has_a_code_in_each(kind):
    """Codes count per column."""
    interner = make(kind)
    interner.add_values([RawValue(b"A", "UI"), RawValue(b"X", "CS"), RawValue(b"A", "PN")])
    interner.add_values([RawValue(b"B", "UI"), RawValue(b"A", "CS"), RawValue(b"A", "PN")])
    assert interner.take_codes().tolist() == [[0, 0, 0], [1, 1, 0]]


@pytest.mark.parametrize("kind", INTERNERS)
def test_thousands_of_values_of_all_lengths_come_back_as_they_went_in(kind):
    """Tables and arena grow; each row finds its own value again."""
    chance = random.Random(7)
    interner = make(kind, rows=9000)
    rows = [
        [RawValue(chance.randbytes(chance.choice([1, 3, 8, 9, 16, 40])), vr) for vr in ("UI", "CS", "PN")]
        for _ in range(9000)
    ]
    for row in rows:
        interner.add_values(row)
    codes = interner.take_codes()
    for column in range(3):
        distinct = values_of(interner, column)[0]
        assert [distinct[code] for code in codes[:, column]] == [row[column].raw for row in rows]
        assert len(set(distinct)) == len(distinct)


@pytest.mark.parametrize("kind", INTERNERS)
def test_a_reset_forgets_all_and_leaves_what_was_taken(kind):
    """Arrays handed out before a reset stay as they are."""
    interner = make(kind)
    interner.add_values([RawValue(b"1", "UI"), RawValue(b"MR", "CS"), None])
    codes, taken = interner.take_codes(), values_of(interner, 1)
    interner.reset()
    assert (interner.rows, interner.arena_bytes, interner.oversized) == (0, 0, [])
    interner.add_values([RawValue(b"2", "UI"), RawValue(b"CT", "CS"), RawValue(b"A", "PN")])
    assert codes.tolist() == [[0, 0, -1]] and taken[0] == [b"MR"]
    assert values_of(interner, 1)[0] == [b"CT"]


@pytest.mark.parametrize("kind", INTERNERS)
def test_a_value_beyond_the_limit_is_named_and_not_kept(kind):
    """``oversized`` says row and column; a dropped row takes its entries with it."""
    interner = make(kind, limit=5)
    for text in (b"12345", b"123456"):
        interner.add_values([RawValue(b"1", "UI"), RawValue(text, "CS"), None])
    assert interner.take_codes()[:, 1].tolist() == [0, -1]
    assert interner.oversized == [(1, 1)]
    interner.drop_row()
    assert (interner.rows, interner.oversized) == (1, [])


@compiled_only
def test_a_row_without_key_leaves_nothing_behind():
    """A dropped row's oversized values are not laid at the next row's door."""
    reader = HeaderReader(columns_of("PatientComments"), rows=4)
    feed(reader, file(element(0x00104000, "UT", b"x" * ((1 << 20) + 1))))
    assert (reader.batch.rows, reader.batch.oversized) == (0, [])
    feed(reader, header(element(0x00104000, "UT", b"y" * ((1 << 20) + 1))))
    assert reader.batch.oversized == [(0, 1)]


@compiled_only
def test_text_is_the_same_in_either_byte_order_and_without_charset_where_none_counts():
    """CS from a big-endian file equals CS from a little-endian one; a number does not; only some VRs depend on the charset."""
    reader = HeaderReader(columns_of("Modality", "Rows", "PatientName"), rows=4)
    for encoding, charset in ((EXPLICIT, b"ISO_IR 100"), (BIG, b"ISO_IR 192")):
        body = [element(0x00080005, "CS", charset, encoding), element(0x00080060, "CS", b"MR", encoding)]
        body += [element(0x00100010, "PN", b"A^", encoding), element(0x00280010, "US", b"\1\1", encoding)]
        feed(reader, header(*body, encoding=encoding))
    assert reader.batch.take_codes().tolist() == [[0, 0, 0, 0], [0, 0, 1, 1]]


@compiled_only
def test_the_charset_in_force_is_that_of_the_item_or_of_what_encloses_it():
    """An item's empty SpecificCharacterSet is one of its own: none."""
    name = "ReferencedImageSequence[0].CodeMeaning"
    reader = HeaderReader(columns_of(name), rows=8)
    for own in (None, b"", b"ISO_IR 192"):
        declared = b"" if own is None else element(0x00080005, "CS", own)
        body = sequence(0x00081140, [item(declared + element(0x00080104, "LO", b"AB"))])
        feed(reader, header(element(0x00080005, "CS", b"ISO_IR 100"), body))
    assert [value.charset for value in distinct_values(reader, 1)] == [b"ISO_IR 100", None, b"ISO_IR 192"]


@compiled_only
def test_padding_alone_is_no_text_but_may_be_a_number():
    """Spaces and NULs are an absent text; two NULs of a US are 0."""
    reader = HeaderReader(columns_of("PatientID", "Rows"), rows=2)
    feed(reader, header(element(0x00100020, "LO", b" \0 \0"), element(0x00280010, "US", b"\0\0")))
    assert [value and value.raw for value in take_row(reader).values()] == [b"1.2.3\0", None, b"\0\0"]


@compiled_only
def test_a_full_batch_refuses_rows():
    """Whoever owns the batch has to take it in time."""
    reader = HeaderReader(columns_of("Modality"), rows=1)
    feed(reader, header())
    with pytest.raises(ValueError, match="full"):
        feed(reader, header())
    with pytest.raises(ValueError, match="full"):
        reader.batch.add_values([None, None])


@compiled_only
def test_codes_are_contiguous_int32():
    """What numpy and Arrow take without a copy."""
    codes = make(INTERNERS[-1]).take_codes()
    assert codes.dtype == np.int32 and codes.flags.c_contiguous
