"""Every column of every file equals what pydicom reads: the ``standard`` profile, and all attributes that occur."""

from functools import lru_cache
from pathlib import Path

import pytest

from dicomflow.dictionary import entry_for_keyword, entry_for_tag
from dicomflow.header.tree import read_tree
from dicomflow.read import read_headers
from dicomflow.schema.column import ARROW_TYPES, STOP_TAG, Column
from dicomflow.schema.profile import load_profile
from tests.oracle.columns import row_differences, sequence_differences
from tests.oracle.files import ONLY_WE_READ, PYDICOM_STOPS, all_tags, chunks, has_key, see


@lru_cache(maxsize=2)
def load_columns(profile: str) -> tuple[Column, ...]:
    """Its columns."""
    return load_profile(profile).columns


def differences(chunk: tuple[Path, ...], columns: str) -> list[str]:
    """Where the rows of these files differ from pydicom."""
    profile, found = load_columns(columns), []
    sequences = any(column.vr == "SQ" for column in profile)
    rows = {row["source_uri"]: row for row in read_headers(chunk, columns=columns, errors="skip").to_pylist()}
    for path in chunk:
        sight, row = see(path), rows.get(str(path))
        if row is None:
            instance = has_key(sight.dataset) and "DirectoryRecordSequence" not in sight.dataset
            found += [f"{path.name}: no row"] if instance else []
        elif sight.dataset is None:
            found += [] if path.name in ONLY_WE_READ else [f"{path.name}: only we read it"]
        else:
            elements = read_tree(sight.data).elements if sequences else ()
            wrong = [
                *row_differences(row, sight.dataset, profile),
                *sequence_differences(row, sight.dataset, elements, profile),
            ]
            found += [f"{path.name}: {one}" for one in wrong if not _pydicom_missed(path.name, one)]
    return found


def _pydicom_missed(name: str, difference: str) -> bool:
    """Whether only we have a value because pydicom did not come so far."""
    keyword, _, why = difference.partition(": ")
    entry = entry_for_keyword(keyword)
    stops, place = PYDICOM_STOPS.get(name, 0xFFFFFFFF), entry.tag if entry else 0
    return place == stops or (place > stops and why in ("pydicom has nothing", "only we have it"))


@pytest.fixture(scope="module", params=chunks(), ids=lambda files: files[0].name)
def chunk(request):
    """Some of the files; both tests run on one chunk before the next, so that each file is read once."""
    return request.param


def test_the_standard_columns_equal_pydicom(chunk):
    """No difference but those that a rule of the standard or an issue explains."""
    assert differences(chunk, "standard") == []


@pytest.fixture(scope="session")
def all_attributes(tmp_path_factory):
    """A profile of all attributes that occur, sequences among them."""
    entries = [make_entry(tag) for tag in all_tags() if is_column(tag)]
    assert len(entries) > 200
    profile = tmp_path_factory.mktemp("profile") / "all.yaml"
    profile.write_text("profile: all\ncolumns:\n" + "".join(f"  - {entry}\n" for entry in entries))
    return str(profile)


def test_all_attributes_equal_pydicom(chunk, all_attributes):
    """The same for each attribute of the dictionary that occurs in any of the files, sequences as JSON."""
    assert differences(chunk, all_attributes) == []


def is_column(tag: int) -> bool:
    """Bulk data is no column, nor is a command set (PS3.7 6.3.1) that was left before the data set."""
    entry = entry_for_tag(tag)
    return entry is not None and entry.vrs[0] in ARROW_TYPES and 0x00020000 <= tag < STOP_TAG


def make_entry(tag: int) -> str:
    """A keyword; where that does not say which repeating group, the tag."""
    entry = entry_for_tag(tag)
    if (known := entry_for_keyword(entry.keyword)) is not None and known.tag == tag:
        return entry.keyword
    return f"{{name: {entry.keyword}{tag >> 16:04X}, path: '({tag >> 16:04X},{tag & 0xFFFF:04X})'}}"
