"""A short run of the fuzzer of part files: changed pages and page indexes by a fixed draw."""

import random

import pytest

from dicomflow.dataset import onerow
from dicomflow.dataset.onerow import RowReader
from tests.fuzz import part
from tests.fuzz.part import ROWS, SCHEMA, assemble, base, check, mutate, seed

pytestmark = pytest.mark.skipif(not onerow.COMPILED, reason="the compiled modules are missing")

MUTATIONS = 400
PARTS = 2


def test_the_part_itself_is_read_whole():
    """All of its rows, as they were written; pages of all kinds are there."""
    assert assemble(seed()) == base().data == assemble(b"")
    assert check(seed(), thorough=True) == ROWS
    assert len(base().pages) > 2 * len(SCHEMA) and {len(page.body) for page in base().pages}


@pytest.mark.parametrize("draw", range(PARTS))
def test_changed_parts_break_nothing(draw):
    """A row is refused, or it is Arrow's; both happen."""
    rng, read, refused = random.Random(draw), 0, 0
    pool = [seed()]
    for _ in range(MUTATIONS):
        data = mutate(rng.choice(pool), len(seed()), rng)
        found = check(data)
        read, refused = read + (found > 0), refused + (found == 0)
        if rng.random() < 0.05:
            pool.append(data)
    assert read > MUTATIONS / 4 and refused > MUTATIONS / 20


@pytest.mark.parametrize("size", [0, 1, 100, 3000])
def test_what_is_missing_is_as_it_was(size):
    """The fuzzer cuts as it likes."""
    assert check(seed()[:size], thorough=True) == ROWS and check(seed() + bytes(size)) >= 1


def _set_levels(data, name, levels):
    """The definition levels of the first data page of a list, as one group of packed bits."""
    out, at = bytearray(data), 0
    offset = next(column for column in _columns() if column.path_in_schema.startswith(name)).data_page_offset
    for page in base().pages:
        at += len(page.header)
        if page.offset == offset:
            begin = at + 4 + int.from_bytes(page.body[:4], "little") + 4
            out[begin + 1 : begin + 1 + len(levels)] = levels
        at += len(page.body)
    return bytes(out)


def _columns():
    import io

    import pyarrow.parquet as pq

    group = pq.read_metadata(io.BytesIO(base().data)).row_group(0)
    return map(group.column, range(group.num_columns))


@pytest.mark.parametrize("name", ["ImageType", "PixelSpacing", "FrameImagePositionPatient", "issues"])
@pytest.mark.parametrize("level", [0x00, 0x55, 0xAA, 0xFF])
def test_levels_that_cannot_be(name, level):
    """An entry goes on with a list that is null or empty, a field has items that the others have not."""
    check(_set_levels(seed(), name, bytes([level]) * 3), thorough=True)


def test_the_harness_notices(monkeypatch):
    """A check that cannot fail would check nothing."""
    find = RowReader.find

    def lie(self, data, index, key):
        row = find(self, data, index, key)
        return {**row, "Rows": 7} if row else row

    monkeypatch.setattr(RowReader, "find", lie)
    with pytest.raises(AssertionError, match="another row than Arrow"):
        check(seed())
    monkeypatch.setattr(RowReader, "find", lambda *_: None)
    with pytest.raises(AssertionError, match="another row than Arrow"):
        check(seed())


def test_a_page_that_finds_no_room_is_passed_over(monkeypatch):
    """Nothing is read then, and nothing is said."""
    monkeypatch.setattr(part, "_ZSTD", _Swollen())
    data = bytearray(seed())
    data[-(base().footer - base().index) - 1] ^= 1
    assert check(bytes(data)) == 0


class _Swollen:
    def compress(self, body, asbytes):
        return b"x" * 100_000
