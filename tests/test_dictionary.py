"""The one door to the DICOM dictionary."""

import subprocess
import sys

from pydicom.datadict import DicomDictionary, RepeatersDictionary

from dicomflow.dictionary import (
    elements_of_group,
    entry_for_keyword,
    entry_for_tag,
    format_tag,
    keywords,
    vr_for_tag,
)


def test_every_entry_is_pydicom_s():
    """Tag, VRs, VM, keyword and name, and back from the keyword."""
    for tag, (vr, vm, name, _, keyword) in DicomDictionary.items():
        entry = entry_for_tag(tag)
        assert (entry.tag, " or ".join(entry.vrs), entry.vm, entry.keyword, entry.name) == (tag, vr, vm, keyword, name)
        assert not keyword or entry_for_keyword(keyword) == entry
    assert len(keywords()) == len({row[4] for row in DicomDictionary.values() if row[4]})


def test_repeating_groups_are_known():
    """60xx0010 stands for each even group from 6000 on."""
    assert entry_for_tag(0x60020010).keyword == RepeatersDictionary["60xx0010"][4]
    assert entry_for_tag(0x60030010) is None


def test_what_is_in_no_dictionary_is_none():
    """Private and unknown tags, keywords that are none."""
    assert (
        entry_for_tag(0x00091001) is None and entry_for_tag(0x0008FFFF) is None and entry_for_keyword("Nothing") is None
    )


def test_vr_of_bytes_without_one():
    """Group lengths UL, creators LO, the first of several VRs, UN for the rest."""
    tags = (0x00080000, 0x00090010, 0x00091001, 0x00280106, 0x00100010, 0x0008FFFF)
    assert [vr_for_tag(tag) for tag in tags] == ["UL", "LO", "UN", "US", "PN", "UN"]


def test_elements_of_a_group_ascend():
    """For the sniffer."""
    found = elements_of_group(0x0002)
    assert list(found) == sorted(found) and 0x0010 in found


def test_tags_are_written_as_the_standard_does():
    """Upper-case hex."""
    assert format_tag(0x7FE00010) == "(7FE0,0010)"


def test_the_dictionary_does_not_import_pydicom():
    """Its tables alone: the rest of pydicom costs each short run 0.3 s."""
    code = "import sys, dicomflow.dictionary; sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
