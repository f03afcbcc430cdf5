"""A short run of the fuzzer without its tools: seeds, what fuzzing found before, and changed headers by a fixed draw."""

import random
from pathlib import Path

import pytest
from hypothesis import given

from dicomflow.header.reader import COMPILED, HeaderReader
from tests.fuzz import harness
from tests.fuzz.harness import check
from tests.fuzz.mutate import dictionary, mutate
from tests.fuzz.seeds import MAX_SIZE, make_seeds
from tests.header.law import mutations

pytestmark = pytest.mark.skipif(not COMPILED, reason="the compiled modules are missing")

INPUTS = sorted(Path(__file__).with_name("inputs").glob("*"))
MUTATIONS = 8000
PARTS = 4


@pytest.fixture(scope="module")
def seeds():
    return make_seeds()


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.name)
def test_what_fuzzing_found_stays_found(path):
    """Each input that once broke something."""
    check(path.read_bytes(), thorough=True)


def test_seeds_hold_every_way_to_lay_out_a_header(seeds):
    """They are read without a fault, and between them lead to every outcome that needs no fault."""
    verdicts = set()
    for seed in seeds:
        check(seed, thorough=True)
        reader = HeaderReader(harness.COLUMNS, rows=1)
        reader.grow(len(seed))
        reader.view[:] = seed
        verdicts.add(reader.scan(len(seed), True))
    assert verdicts >= {0, 8} and len(seeds) >= 20


@pytest.mark.parametrize("part", range(PARTS))
def test_changed_headers_break_nothing(seeds, part):
    """Structure-aware changes, changed again in a chain: what holds for any bytes holds for these."""
    rng = random.Random(part)
    pool = list(seeds)
    for _ in range(MUTATIONS):
        data = mutate(rng.choice(pool), MAX_SIZE, rng)
        check(data)
        if rng.random() < 0.05:
            pool.append(data)


@given(mutations())
def test_generated_headers_break_nothing(data):
    """The same for headers drawn by hypothesis, which makes a failure small."""
    check(data)


def test_the_dictionary_is_one_that_libfuzzer_reads():
    """One quoted word of hexadecimal escapes per line, no longer than libFuzzer takes."""
    lines = dictionary().splitlines()
    assert all(line[0] == line[-1] == '"' and set(line[1:-1].split("\\x")[0]) == set() for line in lines)
    assert len(lines) > 100 and max(map(len, lines)) <= 4 * 64 + 2


@pytest.mark.parametrize(
    ("breach", "said"),
    [
        (lambda reader: reader.hits.length.__setitem__(_leaf(reader), 10**6), "a value outside the bytes"),
        (lambda reader: reader.hits.offset.__setitem__(_leaf(reader), -1), "a value outside the bytes"),
        (lambda reader: reader.hits.length.__setitem__(_leaf(reader), 1), "another length than stated"),
    ],
)
def test_the_harness_notices(seeds, breach, said):
    """A check that cannot fail would check nothing."""
    reader = HeaderReader(harness.COLUMNS, rows=1)
    harness._read_whole(seeds[-1], reader)
    breach(reader)
    with pytest.raises(AssertionError, match=said):
        _check(reader)


def _check(reader):
    harness._check_hits(reader)
    harness._check_values(reader)


def _leaf(reader):
    """Where the key is."""
    return int(reader.tables.column_leaves[0][0])
