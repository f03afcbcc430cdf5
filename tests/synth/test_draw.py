"""Draws and UIDs: pinned, so that a seed means the same files for ever."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from dicomflow.synth import iter_files
from dicomflow.synth.draw import Draw, make_uid


def test_streams_are_pinned() -> None:
    """The stream of a key is the same on every machine and Python."""
    draw = Draw(7, "demo")
    assert [draw.integer(0, 999) for _ in range(5)] == PINNED_INTEGERS
    assert draw.blob(4).hex() == PINNED_BLOB
    assert make_uid(7, "study", 1) == PINNED_UID


def test_files_are_pinned() -> None:
    """The bytes of a request are those that they were when this test was written; change it knowingly."""
    digest = hashlib.sha256()
    for file in iter_files(files=150, seed=1, corrupt=0.2):
        digest.update(file.path.encode() + b"\0" + file.data)
    assert digest.hexdigest() == PINNED_FILES


@given(st.integers(), st.text(max_size=5))
def test_uids_are_valid(number: int, text: str) -> None:
    """A UID has 43 characters, one component after 2.25 without a leading zero, below 2 to the power of 128."""
    uid = make_uid(number, text)
    assert len(uid) == 43
    assert uid.startswith("2.25.") and uid[5] != "0"
    assert int(uid[5:]) < 2**128


@given(st.integers(-1000, 1000), st.integers(0, 1000))
def test_draws_stay_in_range(low: int, span: int) -> None:
    """Integers and reals lie between their bounds, both included."""
    draw = Draw(low, span)
    assert all(low <= draw.integer(low, low + span) <= low + span for _ in range(20))
    assert all(low <= draw.real(low, low + span) <= low + span for _ in range(20))
    assert len(draw.blob(span)) == span


PINNED_INTEGERS = [919, 215, 814, 621, 465]
PINNED_BLOB = "89c92edb"
PINNED_UID = "2.25.47996168254907690104306223480485279497"
PINNED_FILES = "4667f4a62ce4c9d7f67176fe49101db82a12ebc140e8f925aa0214a1531e9bee"
