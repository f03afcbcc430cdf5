"""Pseudonyms and their key."""

from __future__ import annotations

import re
import stat
import uuid
from pathlib import Path

import pytest

from dicomflow.deidentify.secret import KEY_VARIABLE, Pseudonyms, load_key, make_key
from dicomflow.errors import ConfigError

KEY = b"0123456789abcdef"


def test_the_same_key_makes_the_same_names_and_another_makes_others() -> None:
    """Of every kind; and nobody can make a key again that was made for one run."""
    one, same, other = Pseudonyms(KEY), Pseudonyms(KEY), Pseudonyms(KEY + b"0")
    for make in (
        lambda names: names.replace_uid("1.2.3"),
        lambda names: names.replace_identifier(0x00100020, "MRN"),
        lambda names: names.count_days("MRN", 36_500),
    ):
        assert make(one) == make(same) != make(other)
    assert make_key() != make_key()


def test_a_pseudonym_belongs_to_its_attribute_and_a_uid_to_all() -> None:
    """PatientID 7 is not AccessionNumber 7; a reference still finds its instance."""
    names = Pseudonyms(KEY)
    assert names.replace_identifier(0x00100020, "7") != names.replace_identifier(0x00080050, "7")
    assert re.fullmatch("[A-Z2-7]{16}", names.replace_identifier(0x00100020, "ünï\udc80"))


def test_uids_are_uids() -> None:
    """The root 2.25 has a UUID behind it (PS3.5 B.2), here of version 8: made by our own rule."""
    names = Pseudonyms(KEY)
    made = [names.replace_uid(f"1.2.{number}") for number in range(2000)]
    assert len(set(made)) == 2000
    for uid in made:
        assert len(uid) <= 64 and re.fullmatch(r"2\.25\.[1-9][0-9]*", uid)
        assert uuid.UUID(int=int(uid[5:])).version == 8 and uuid.UUID(int=int(uid[5:])).variant == uuid.RFC_4122


def test_days_are_never_none_and_never_too_many() -> None:
    """Dates always move, and back."""
    names = Pseudonyms(KEY)
    days = {names.count_days(str(number), 30) for number in range(1000)}
    assert days == set(range(-30, 0))


def test_key_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file wins; without both there is none."""
    path = tmp_path / "key"
    path.write_bytes(b"from-a-file-0123456789\n")
    path.chmod(0o600)
    assert load_key(path) == b"from-a-file-0123456789"
    monkeypatch.setenv(KEY_VARIABLE, "from-the-environment ")
    assert load_key(None) == b"from-the-environment" and load_key(path) == b"from-a-file-0123456789"
    monkeypatch.delenv(KEY_VARIABLE)
    assert load_key(None) is None


@pytest.mark.parametrize(("content", "mode", "message"), [
    (b"short", 0o600, "at least 16 bytes"),
    (b"x" * 5000, 0o600, "at most"),
    (b"0123456789abcdef", 0o644, "others can read"),
])  # fmt: skip
def test_a_bad_key_is_refused_and_never_quoted(tmp_path: Path, content: bytes, mode: int, message: str) -> None:
    """Too short, too long, or known to others."""
    path = tmp_path / "k"
    path.write_bytes(content)
    path.chmod(mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    with pytest.raises(ConfigError, match=message) as caught:
        load_key(path)
    assert content.decode() not in str(caught.value)


def test_no_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, not a traceback."""
    with pytest.raises(ConfigError, match=r"cannot be read: .*; make one: .*openssl rand"):
        load_key(tmp_path / "no")
    monkeypatch.setenv(KEY_VARIABLE, "short")
    with pytest.raises(ConfigError, match=KEY_VARIABLE):
        load_key(None)
