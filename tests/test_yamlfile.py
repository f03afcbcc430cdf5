"""Tests of dicomflow.yamlfile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dicomflow.errors import ConfigError
from dicomflow.yamlfile import MAX_DEPTH, MAX_FILE_BYTES, read_yaml_mapping

BILLION_LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "own.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}\n", "\ufeff# mark\n"])
def test_empty_file_is_an_empty_mapping(tmp_path: Path, text: str) -> None:
    """A file that says nothing is an empty mapping, with or without a byte order mark."""
    assert read_yaml_mapping(write(tmp_path, text)) == {}


def test_plain_values_come_back(tmp_path: Path) -> None:
    """Mappings, lists and scalars have YAML's types; hexadecimal integers are integers."""
    assert read_yaml_mapping(write(tmp_path, "a: [1, two, 3.5, yes]\nb: {c: 0x0043}\n")) == {
        "a": [1, "two", 3.5, True],
        "b": {"c": 0x43},
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: b: c\n", "line 1, column 5: mapping values are not allowed"),
        ("a: [1,\n", "line 2, column 1: "),
        ("a: !!python/object/apply:os.getcwd []\n", "line 1, column 4: could not determine a constructor"),
        (BILLION_LAUGHS, "line 2, column 8: aliases (*name) are not allowed"),
        ("a: &a [*a]\n", "line 1, column 8: aliases"),
        ("a: 1\nb: {c: 1, c: 2}\n", "line 2, column 11: the key c is given twice"),
        ("a: 1\na: 2\n", "line 2, column 1: the key a is given twice"),
        ("- 1\n", "expected a mapping of keys to values, got a list"),
        ("text\n", "got text"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: but found another document"),
        ("a: 2020-02-31\n", "not valid YAML: day"),
        (f"a: {'9' * 5000}\n", "not valid YAML: Exceeds the limit"),
        ("a: b\0c\n", "the character at offset 4 is not allowed"),
        (b"a: \xff\n", "not UTF-8 text (byte 3)"),
        ("? [1]\n: 2\n", "line 1, column 3: found unhashable key"),
        ("[" * (MAX_DEPTH + 1), f"line 1, column {MAX_DEPTH + 1}: nested deeper than {MAX_DEPTH} levels"),
        ("[" * 100_000, "nest"),  # newer parsers refuse it themselves
        ("#" * (MAX_FILE_BYTES + 1), f"longer than {MAX_FILE_BYTES} bytes"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, text: str | bytes, problem: str) -> None:
    """Each fault is one line that begins with the file and says where and what."""
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_yaml_mapping(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert problem in message
    assert "\n" not in message and len(message) < len(str(path)) + 260


def test_missing_file_and_folder_are_one_line(tmp_path: Path) -> None:
    """A file that is not there, or is a folder, is named with the reason."""
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot read: No such file or directory\Z"):
        read_yaml_mapping(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"cannot read: Is a directory\Z"):
        read_yaml_mapping(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_one_line(tmp_path: Path) -> None:
    """A file that may not be read is named with the reason."""
    path = write(tmp_path, "a: 1\n")
    path.chmod(0)
    with pytest.raises(ConfigError, match=r"cannot read: Permission denied\Z"):
        read_yaml_mapping(path)


def test_control_characters_of_a_key_do_not_reach_the_message(tmp_path: Path) -> None:
    """A key with an escape sequence is shown escaped."""
    with pytest.raises(ConfigError, match=r"the key '\\x1b\[2J' is given twice"):
        read_yaml_mapping(write(tmp_path, '"\\e[2J": 1\n"\\e[2J": 2\n'))
