"""Paths with ``[*]``: a value of each item, in its place, however the items are laid out; pydicom's view as oracle."""

import struct
import tracemalloc
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.errors import ConfigError, IssueCode
from dicomflow.header.decode import decode_column_value
from dicomflow.header.items import PACKED, pack_items, unpack_items
from dicomflow.header.reader import COMPILED, HeaderReader
from dicomflow.header.vectors import decode_plain_items
from dicomflow.model import RawValue
from dicomflow.read import read_headers
from dicomflow.schema.column import make_column, parse_path
from dicomflow.synth import make_series
from tests.dicom_bytes import BIG, EXPLICIT, IMPLICIT, STOP, SYNTAX, deflated, element, file, item, sequence
from tests.scanning import KEY, UID, build, feed, scan_all, take_row
from tests.segmentation import FRAMES, SEGMENTS, make_segmentation, write_profile

PER_FRAME, POSITION, FRAME = 0x52009230, 0x00209113, 0x00209111
PATH = "PerFrameFunctionalGroupsSequence[*].PlanePositionSequence[0].ImagePositionPatient"
ENCODINGS = [EXPLICIT, IMPLICIT, BIG]


def columns(*names, **paths):
    return (
        KEY,
        *(make_column(f"c{place}", (name,)) for place, name in enumerate(names)),
        *(make_column(name, tuple(texts)) for name, texts in paths.items()),
    )


def typed(data, wanted, **options):
    """The values of the columns, and the codes of the issues."""
    reader = HeaderReader(wanted, rows=2, **options)
    outcome = feed(reader, data)
    row = take_row(reader)
    values = {
        column.name: None if row[column.name] is None else decode_column_value(row[column.name], column)
        for column in wanted[1:]
    }
    issues = [code for value in values.values() if value for code, _ in value.issues]
    issues += [issue.code for issue in reader.remarks()] if reader.has_remarks else []
    return outcome, {name: value and value.value for name, value in values.items()}, issues


def key(encoding=EXPLICIT):
    return element(UID, "UI", b"1.2.3\0", encoding)


def frame(position, encoding=EXPLICIT, **layout):
    """One item of the per-frame groups; None: without a position."""
    if position is None:
        return item(sequence(FRAME, [item(b"", encoding)], encoding, **layout), encoding, **layout)
    inner = element(0x00200032, "DS", position, encoding)
    return item(sequence(POSITION, [item(inner, encoding, **layout)], encoding, **layout), encoding, **layout)


def frames(positions, encoding=EXPLICIT, **layout):
    return sequence(PER_FRAME, [frame(one, encoding, **layout) for one in positions], encoding, **layout)


POSITIONS = [b"1\\2\\3 ", None, b"", b"4\\x\\6 ", b"7\\8\\9 "]
EXPECTED = [[1.0, 2.0, 3.0], None, None, [4.0, None, 6.0], [7.0, 8.0, 9.0]]

compiled = pytest.mark.skipif(not COMPILED, reason="the compiled modules are missing")


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("encoding", [*ENCODINGS, "deflated"])
def test_one_place_per_item(encoding, defined):
    """Absent, empty and bad values keep their place, in every encoding, with both kinds of length."""
    plain = EXPLICIT if encoding == "deflated" else encoding
    body = key(plain) + frames(POSITIONS, plain, defined=defined) + element(STOP, "OW", b"", plain)
    data = file(deflated(body), syntax=SYNTAX[EXPLICIT][:-2] + b"1.99") if encoding == "deflated" else None
    outcome, values, issues = typed(data or file(body, syntax=SYNTAX[plain]), columns(PATH))
    assert (outcome, values, issues) == (None, {"c0": EXPECTED}, [IssueCode.BAD_VALUE])


def test_the_column_is_a_list_of_lists_in_the_dataset(tmp_path):
    """``list<list<double>>`` where the attribute has several values, ``list<int64>`` where it has one."""
    profile = tmp_path / "frames.yaml"
    profile.write_text(
        f"profile: frames\ncolumns:\n  - {{name: Positions, paths: ['{PATH}', ImagePositionPatient]}}\n"
        "  - {name: Stack, path: 'PerFrameFunctionalGroupsSequence[*].FrameContentSequence[0].InStackPositionNumber'}\n"
    )
    single = file(key() + element(0x00200032, "DS", b"1\\2\\3 ") + element(STOP, "OW"))
    table = read_headers([file(key() + frames(POSITIONS) + element(STOP, "OW")), single], columns=str(profile))
    assert [str(table.schema.field(name).type) for name in ("Positions", "Stack")] == [
        "list<item: list<item: double>>",
        "list<item: int64>",
    ]
    assert table["Positions"].to_pylist() == [EXPECTED, [[1.0, 2.0, 3.0]]]
    assert table["Stack"].to_pylist() == [None, None]


@pytest.mark.parametrize("present", [[], [None, None], [b"", b"  "]])
def test_no_value_in_any_item_is_null(present):
    """As for any other attribute: empty, absent and blank are null."""
    assert typed(file(key() + frames(present)), columns(PATH))[1] == {"c0": None}


def test_the_first_path_that_is_present_wins():
    """A plain path beside it gives a list of one."""
    both = columns(Position=[PATH, "ImagePositionPatient"])
    plain = element(0x00200032, "DS", b"5\\5\\5 ")
    assert typed(file(key() + plain + frames([b"1\\2\\3 "])), both)[1] == {"Position": [[1.0, 2.0, 3.0]]}
    assert typed(file(key() + plain + frames([None])), both)[1] == {"Position": [[5.0, 5.0, 5.0]]}
    assert typed(file(key() + plain), columns(Position=["ImagePositionPatient", PATH]))[1] == {
        "Position": [[5.0, 5.0, 5.0]]
    }


def test_named_items_and_all_items_beside_each_other():
    """One column asks for an item, another for all, a third for all items of an inner sequence: each gets its own."""
    inner = "PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[*].ImagePositionPatient"
    one = "PerFrameFunctionalGroupsSequence[3].PlanePositionSequence[0].ImagePositionPatient"
    twice = item(sequence(POSITION, [item(element(0x00200032, "DS", text)) for text in (b"1\\1\\1 ", b"2\\2\\2 ")]))
    data = file(key() + sequence(PER_FRAME, [frame(None), twice, frame(None), frame(b"3\\3\\3 ")]))
    assert typed(data, columns(PATH, inner, one))[1] == {
        "c0": [None, [1.0] * 3, None, [3.0] * 3],
        "c1": [[1.0] * 3, [2.0] * 3],
        "c2": [3.0] * 3,
    }


@compiled
def test_a_repeated_value_in_an_item_is_the_last_one_with_an_issue():
    """So is a repeated sequence inside one item: the other items keep theirs."""
    position = element(0x00200032, "DS", b"1\\1\\1 ") + element(0x00200032, "DS", b"2\\2\\2 ")
    data = file(key() + sequence(PER_FRAME, [frame(b"0\\0\\0 "), item(sequence(POSITION, [item(position)]))]))
    assert typed(data, columns(PATH))[1:] == ({"c0": [[0.0] * 3, [2.0] * 3]}, [IssueCode.REPEATED_TAG])
    inner = [sequence(POSITION, [item(element(0x00200032, "DS", b"1\\1\\1 "))]), sequence(POSITION, [])]
    data = file(key() + sequence(PER_FRAME, [frame(b"0\\0\\0 "), item(b"".join(inner)), frame(b"4\\4\\4 ")]))
    assert typed(data, columns(PATH))[1] == {"c0": [[0.0] * 3, None, [4.0] * 3]}


@compiled
def test_a_repeated_sequence_replaces_the_whole_list():
    """The last of a repeated tag wins."""
    data = file(key() + frames([b"1\\1\\1 ", b"2\\2\\2 "]) + frames([b"3\\3\\3 "]))
    assert typed(data, columns(PATH))[1:] == ({"c0": [[3.0] * 3]}, [IssueCode.REPEATED_TAG])
    assert typed(file(key() + frames([b"1\\1\\1 "]) + frames([])), columns(PATH))[1] == {"c0": None}


@compiled
def test_half_a_list_is_not_delivered():
    """A sequence that breaks off, or that cannot be walked, has no list at all."""
    whole = file(key() + frames([b"1\\1\\1 ", b"2\\2\\2 ", b"3\\3\\3 "], defined=False))
    for cut in (9, 40, 90):
        outcome, values, _ = typed(whole[:-cut], columns(PATH))
        assert (str(outcome.code), values) == ("truncated", {"c0": None})
    broken = frame(b"2\\2\\2 ")[:-2] + b"\xff\xff"
    data = file(key() + element(PER_FRAME, "SQ", frame(b"1\\1\\1 ") + b"no item here " + broken) + element(STOP, "OW"))
    outcome, values, _ = typed(data, columns(PATH))
    assert (str(outcome.code), values) == ("bad_sequence", {"c0": None})


def test_each_item_has_its_own_character_set():
    """Or that of the data set around it; more items than there are scopes cost nothing."""
    name = "ReferencedImageSequence[*].CodeMeaning"
    german, greek = "Größe".encode("latin-1"), "Δόση".encode("iso8859_7")
    items = [
        item(element(0x00080104, "LO", german)),
        item(element(0x00080005, "CS", b"ISO_IR 126") + element(0x00080104, "LO", greek)),
    ]
    data = file(element(0x00080005, "CS", b"ISO_IR 100") + key() + sequence(0x00081140, items + items[:1] * 40_000))
    values = typed(data, columns(name))[1]["c0"]
    assert values[:3] == ["Größe", "Δόση", "Größe"] and len(values) == 40_002


@compiled
def test_us_or_ss_follows_the_pixel_representation_of_the_item():
    """As everywhere where the file has no VR."""
    name = "ReferencedImageSequence[*].SmallestImagePixelValue"
    low = element(0x00280106, "US", b"\xff\xff", IMPLICIT)
    items = [item(low, IMPLICIT), item(element(0x00280103, "US", b"\1\0", IMPLICIT) + low, IMPLICIT)]
    data = file(key(IMPLICIT) + sequence(0x00081140, items, IMPLICIT), syntax=SYNTAX[IMPLICIT])
    assert typed(data, columns(name))[1] == {"c0": [65535, -1]}


def test_private_elements_and_sequences_of_all_items():
    """By creator, and as DICOM JSON."""
    private = '(0019,"ACME",0C)'
    owner = element(0x00190010, "LO", b"ACME")
    items = [item(owner + element(0x0019100C, "LO", text)) for text in (b"V1", b"V2")]
    wanted = (KEY, make_column("P", (f"ReferencedImageSequence[*].{private}",), vr="LO"))
    assert typed(file(key() + sequence(0x00081140, items)), wanted)[1] == {"P": ["V1", "V2"]}
    nested = item(sequence(0x0008114A, [item(element(0x00081155, "UI", b"1.2\0"))]))
    path = "ReferencedImageSequence[*].ReferencedInstanceSequence"
    wanted = (KEY, make_column("S", (path,)))
    data = file(key() + sequence(0x00081140, [nested, item()]))
    assert typed(data, wanted)[1] == {"S": ['[{"00081155":{"vr":"UI","Value":["1.2"]}}]', None]}


@compiled
def test_a_list_too_long_to_keep_is_null_with_an_issue():
    """Of many megabytes."""
    long = element(0x00204000, "LT", bytes(60_000))
    data = file(key() + sequence(0x00081140, [item(long)] * 300))
    reader = HeaderReader(columns("ReferencedImageSequence[*].ImageComments"), rows=2)
    assert feed(reader, data) is None
    assert (take_row(reader)["c0"], reader.batch.oversized) == (None, [(0, 1)])


def test_paths():
    """One ``[*]`` in a path, not at its end."""
    assert parse_path(PATH)[0].item == -1
    for text in ("ReferencedImageSequence[*].ReferencedInstanceSequence[*].CodeValue", "ImageType[*]"):
        with pytest.raises(ConfigError):
            parse_path(text)


@given(
    st.lists(
        st.none()
        | st.builds(
            RawValue,
            st.binary(max_size=20),
            st.sampled_from(["DS", "UN", "LO"]),
            st.booleans(),
            st.none() | st.binary(max_size=9),
        )
    )
)
def test_packing_loses_nothing(values):
    """What is packed comes out again."""
    assert list(unpack_items(pack_items(values))) == values


@compiled
@given(st.lists(st.sampled_from(POSITIONS), max_size=6), st.sampled_from(ENCODINGS), st.booleans())
@settings(max_examples=60)
def test_the_list_is_what_the_items_one_by_one_are(positions, encoding, defined):
    """The law: ``[*]`` holds in each place what ``[0]``, ``[1]`` ... hold; and the scanner packs as ``pack_items`` does."""
    single = [PATH.replace("[*]", f"[{number}]") for number in range(6)]
    data = file(key(encoding) + frames(positions, encoding, defined=defined), syntax=SYNTAX[encoding])
    _, values, _ = typed(data, columns(PATH, *single))
    each = [values[f"c{number + 1}"] for number in range(len(positions))]
    assert values["c0"] == (each if any(each) else None)
    reader = HeaderReader(columns(PATH), rows=2)
    scan_all(reader, data)
    packed, _ = reader.scanner.take_list(0, 1 << 20)
    if packed is not None:
        assert pack_items(unpack_items(RawValue(packed, PACKED))).raw == packed


def test_pydicom_reads_the_same(tmp_path):
    """Per-frame positions of enhanced objects, fast and by the fallback."""
    profile = tmp_path / "frames.yaml"
    profile.write_text(f"profile: frames\ncolumns:\n  - {{name: Positions, path: '{PATH}'}}\n")
    for syntax in ("implicit", "explicit", "big-endian", "deflated"):
        (made,) = make_series("enhanced-mr", instances=1, seed=3, syntax=syntax)
        path = Path(tmp_path, f"{syntax}.dcm")
        path.write_bytes(made.data)
        expected = [
            [float(one) for one in group.PlanePositionSequence[0].ImagePositionPatient]
            for group in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
        ]
        assert len(expected) > 1
        assert read_headers(path, columns=str(profile))["Positions"].to_pylist() == [expected]


def test_numbers_keep_their_byte_order():
    """Binary values of big-endian items."""
    name = "ReferencedImageSequence[*].Rows"
    items = [item(element(0x00280010, "US", struct.pack(">H", size), BIG), BIG) for size in (1, 512)]
    data = file(key(BIG) + sequence(0x00081140, items, BIG), syntax=SYNTAX[BIG])
    assert typed(data, columns(name))[1] == {"c0": [1, 512]}


@pytest.mark.parametrize("defined", [True, False])
def test_every_frame_of_a_large_segmentation(tmp_path, defined):
    """12,000 frames, three attributes of each."""
    profile = write_profile(tmp_path / "frames.yaml")
    (row,) = read_headers(make_segmentation(defined=defined), columns=str(profile)).to_pylist()
    frames = [divmod(frame, SEGMENTS) for frame in range(FRAMES)]
    assert row["FramePositions"] == [[-180.0, -180.0, -600 + 1.25 * place] for place, _ in frames]
    assert row["FrameIndices"] == [[segment + 1, place + 1] for place, segment in frames]
    assert row["FrameSegments"] == [[segment + 1] for _, segment in frames]
    assert (row["status"], row["issues"]) == ("ok", None)


PLAIN = {
    "DS": [b"1\\2\\3 ", b"0.5 ", b"-1e3\\4", b"x", b"1,5", b"7\\"],
    "UL": [struct.pack("<2I", 1, 2**32 - 1), struct.pack("<I", 7), b"\1\2\3"],
    "FD": [struct.pack("<d", 0.1), struct.pack("<d", float("nan")), struct.pack("<3d", 1, 2, 3)],
    "US": [struct.pack("<H", 65535), struct.pack(">H", 2), b"\1"],
    "UI": [b"1.2.3\0", b"1.02", b"x"],
    "TM": [b"101530.5", b"10", b"2500"],
    "LO": [b"AB ", b" A\\B", "Größe".encode("latin-1")],
}


@given(st.sampled_from(sorted(PLAIN)), st.booleans(), st.data())
@settings(max_examples=400)
def test_vectors_and_the_careful_path_agree_on_lists(vr, many, data):
    """What is typed at once is what each value by itself is, and has no issue."""
    odd = st.builds(
        RawValue, st.sampled_from(PLAIN[vr]), st.sampled_from([vr, "UN"]), st.booleans(), st.just(b"ISO_IR 100")
    )
    same = st.builds(RawValue, st.sampled_from(PLAIN[vr][:2]), st.just(vr), st.just(False), st.just(None))
    values = data.draw(
        st.lists(st.none() | st.just(RawValue(b"", vr)) | (same if data.draw(st.booleans()) else odd), max_size=8)
    )
    column = make_column("X", ("ReferencedImageSequence[*].CodeMeaning",), vr=vr, vm="1-n" if many else "1")
    packed = pack_items(values)
    plain, careful = decode_plain_items(column, packed), decode_column_value(packed, column)
    if plain is not None:
        assert plain.type == column.arrow_type.value_type
        assert (plain.to_pylist(), ()) == careful


def test_a_batch_joins_lists_of_both_paths():
    """Plain lists, lists with a bad value, absent ones, in any order of files."""
    one, bad = (file(key() + frames(list(texts))) for texts in ((b"1\\2\\3 ", None), (b"1\\x\\3 ",)))
    items = [one, file(key()), bad, one, file(key() + frames([None]))]
    with_frames = columns(Position=[PATH])
    reader = HeaderReader(with_frames, rows=8)
    for each in items:
        assert feed(reader, each) is None
    rows = build(reader, len(items), sort=False).rows.column("Position").to_pylist()
    assert rows == [[[1.0, 2.0, 3.0], None], None, [[1.0, None, 3.0]], [[1.0, 2.0, 3.0], None], None]


@compiled
def test_what_a_repeated_tag_replaced_is_an_issue_even_where_nothing_is_left():
    """An empty sequence, an empty inner one, an empty plain element after one with a value: null, with an issue."""
    inner = sequence(POSITION, [item(element(0x00200032, "DS", b"1\\1\\1 "))]) + sequence(POSITION, [])
    plain = element(0x00200032, "DS", b"1\\1\\1 ") + element(0x00200032, "DS", b"")
    for body, names in (
        (frames([b"1\\1\\1 "]) + frames([]), (PATH,)),
        (sequence(PER_FRAME, [item(inner)]), (PATH,)),
        (plain, ()),
    ):
        wanted = columns(Position=[*names, "ImagePositionPatient", PATH])
        assert typed(file(key() + body), wanted)[1:] == ({"Position": None}, [IssueCode.REPEATED_TAG])


def test_lists_of_several_sequences_know_nothing_of_each_other():
    """The first occurrence of a sequence is no repetition, whatever stood in another."""
    images = [item(element(0x00081155, "UI", b"1.2\0")) for _ in range(3)]
    data = file(key() + sequence(0x00081140, images) + frames([b"1\\1\\1 ", b"2\\2\\2 "]))
    wanted = columns("ReferencedImageSequence[*].ReferencedSOPInstanceUID", PATH)
    assert typed(data, wanted) == (None, {"c0": ["1.2"] * 3, "c1": [[1.0] * 3, [2.0] * 3]}, [])


def test_blank_values_leave_the_place_to_the_next_path():
    """Spaces are as good as nothing, in one element and in all items."""
    plain, blank = element(0x00200032, "DS", b"5\\5\\5 "), element(0x00200032, "DS", b"    ")
    for body, names, expected in (
        (blank + frames([b"1\\2\\3 "]), ["ImagePositionPatient", PATH], [[1.0, 2.0, 3.0]]),
        (plain + frames([b"    ", b"  "]), [PATH, "ImagePositionPatient"], [[5.0] * 3]),
    ):
        assert typed(file(key() + body), columns(Position=names))[1:] == ({"Position": expected}, [])
    blanks = file(key() + sequence(0x00081140, [item(element(0x00080104, "LO", b"  "))] * 2))
    reader = HeaderReader(columns("ReferencedImageSequence[*].CodeMeaning"), rows=2)
    feed(reader, blanks)
    assert build(reader, 1).rows.column("c0").to_pylist() == [None]


@compiled
def test_repeated_empty_sequences_cost_nothing():
    """300,000 times the same empty sequence in one item: no row of the table each."""
    many = [
        PATH,
        *(f"PerFrameFunctionalGroupsSequence[*].PlanePositionSequence[0].{name}" for name in ("CodeValue", "Rows")),
    ]
    inner = sequence(POSITION, [item(element(0x00200032, "DS", b"1\\1\\1 "))]) + sequence(POSITION, []) * 300_000
    data = file(key() + sequence(PER_FRAME, [item(inner)], defined=False))
    reader = HeaderReader(columns(*many), rows=2)
    assert feed(reader, data) is None
    tracemalloc.start()
    feed(reader, data)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@compiled
def test_a_guess_is_not_delivered_where_the_header_breaks_off():
    """US or SS without a VR, and a PixelRepresentation that a cut may have taken away: no value rather than a wrong one."""
    name = "ReferencedImageSequence[0].SmallestImagePixelValue"
    low = sequence(0x00081140, [item(element(0x00280106, "US", b"\xff\xff", IMPLICIT), IMPLICIT)], IMPLICIT)
    signed = element(0x00280103, "US", b"\1\0", IMPLICIT)
    body = key(IMPLICIT) + low + signed + element(STOP, "OW", b"", IMPLICIT)
    wanted = columns(name, name.replace("[0]", "[*]"))
    assert typed(file(body, syntax=SYNTAX[IMPLICIT]), wanted)[1] == {"c0": -1, "c1": [-1]}
    for size in range(len(body) - 8 - 10, len(body) - 8):
        cut = file(body[:size], syntax=SYNTAX[IMPLICIT])
        if typed(cut, wanted)[0] is not None:
            assert typed(cut, wanted)[1] == {"c0": None, "c1": None}


@compiled
def test_an_element_without_a_vr_keeps_its_byte_order():
    """In an explicit big-endian data set, one element written as implicit."""
    name = "SmallestImagePixelValue"
    odd = element(0x00280106, "US", struct.pack(">H", 5), BIG._replace(implicit=True))
    data = file(key(BIG) + element(0x00280010, "US", b"\0\1", BIG) + odd, syntax=SYNTAX[BIG])
    assert typed(data, (KEY, make_column(name)))[1] == {name: 5}
