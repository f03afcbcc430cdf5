"""Column paths as the scanner's tables."""

from itertools import pairwise

from dicomflow.header.paths import _known_tags, _vr_flags, compile_tables, make_hits
from dicomflow.header.vr import KNOWN_VRS, LONG_VRS
from dicomflow.schema.column import make_column
from dicomflow.schema.profile import load_profile
from tests.scanning import columns_of

STANDARD = load_profile("standard").columns


def test_tags_of_a_node_ascend():
    """The walk moves one pointer forward: the wanted tags of each data set are sorted."""
    tables = compile_tables(STANDARD)
    for low, high in zip(tables.node_lo, tables.node_hi, strict=True):
        assert all(one < two for one, two in pairwise(tables.entry_tag[low:high].tolist()))


def test_each_column_has_its_paths_in_order():
    """Leaves of a column follow its paths; no leaf is shared by different paths."""
    tables = compile_tables(STANDARD)
    assert [len(leaves) for leaves in tables.column_leaves] == [
        0 if column.each else len(column.paths)
        for column in STANDARD  # every item is followed in another way
    ]
    by_path = {}
    for column, leaves in zip(STANDARD, tables.column_leaves, strict=True):
        for path, leaf in zip(() if column.each else column.paths, leaves, strict=True):
            assert by_path.setdefault(path, leaf) == leaf
    assert len(set(by_path.values())) == len(by_path) == tables.leaves


def test_leaves_below_a_sequence_are_a_range():
    """So that a repeated sequence can forget all it held."""
    inner = "SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]."
    tables = compile_tables(columns_of("PatientID", inner + "PixelSpacing", inner + "SliceThickness", "Rows"))
    entry = tables.entry_tag.tolist().index(0x52009229)
    assert sorted(range(tables.entry_leaf_lo[entry], tables.entry_leaf_hi[entry])) == sorted(
        leaf for leaves in tables.column_leaves[2:4] for leaf in leaves
    )


def test_one_path_may_serve_two_columns_and_end_where_another_goes_on():
    """A sequence can be a column and be entered by another."""
    tables = compile_tables(
        columns_of("PatientID", "ReferencedImageSequence", "ReferencedImageSequence[2].ReferencedSOPInstanceUID")
        + (make_column("Same", ("PatientID",)),)
    )
    assert tables.column_leaves[1] == tables.column_leaves[4]
    entry = tables.entry_tag.tolist().index(0x00081140)
    assert tables.entry_leaf[entry] >= 0 and tables.entry_child_hi[entry] - tables.entry_child_lo[entry] == 1
    assert tables.child_item[tables.entry_child_lo[entry]] == 2


def test_only_us_or_ss_is_left_open():
    """All other VRs that a file does not name come from the dictionary."""
    tables = compile_tables(columns_of("SmallestImagePixelValue", "Rows", "PatientID"))
    assert tables.ambiguous.tolist() == [leaves[0] for leaves in tables.column_leaves[1:2]]
    assert not compile_tables(STANDARD).ambiguous.size


def test_no_columns_but_the_key_compile_too():
    """The smallest table, and no private elements."""
    tables = compile_tables(columns_of())
    assert tables.creators == () and make_hits(tables).length.tolist() == [-1, -1]


def test_vr_flags_are_those_of_the_tree():
    """Known and long VRs are the same for both readers."""
    flags = _vr_flags()
    names = [chr(65 + place // 26) + chr(65 + place % 26) for place in range(676)]
    assert {name for name, flag in zip(names, flags, strict=True) if flag & 1} == KNOWN_VRS
    assert {name for name, flag in zip(names, flags, strict=True) if flag & 2} == LONG_VRS


def test_known_tags_are_the_dictionary_s():
    """Group lengths, SOPInstanceUID and TransferSyntaxUID are; (0008,9999) is not."""
    known = _known_tags()
    assert known[0, 0] and known[0, 0x10] and known[1, 0] and known[1, 0x18] and not known[1, 0x9999]
