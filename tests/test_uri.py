"""Tests of dicomflow.uri."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.errors import SourceError
from dicomflow.uri import path_from_source, path_from_uri, uri_from_path

NAMES = st.binary(min_size=1, max_size=8).filter(lambda name: not set(name) & {0, 0x2F} and name not in (b".", b".."))
TEXT_NAMES = st.text(min_size=1, max_size=8).map(os.fsencode).filter(lambda name: not set(name) & {0, 0x2F})
PATHS = st.lists(NAMES | TEXT_NAMES.filter(lambda name: name not in (b".", b"..")), min_size=1, max_size=4).map(
    lambda names: b"/" + b"/".join(names)
)


@settings(deadline=None)
@given(PATHS)
def test_path_and_uri_are_a_round_trip(path: bytes) -> None:
    """Any bytes that can be a path come back from their uri, and the uri is text that UTF-8 holds."""
    uri = uri_from_path(path)
    assert uri.encode()
    assert os.fsencode(path_from_uri(uri)) == path
    assert uri_from_path(os.fsdecode(path)) == uri
    assert os.fsencode(path_from_source(uri)) == path


@settings(deadline=None)
@given(PATHS, PATHS)
def test_two_paths_have_two_uris(one: bytes, other: bytes) -> None:
    """No uri stands for two paths."""
    assert (uri_from_path(one) == uri_from_path(other)) == (one == other)


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("/data/a b.dcm", "/data/a b.dcm"),
        ("/data/%41 é 像", "/data/%41 é 像"),
        (b"/data/\xc3\xa9", "/data/é"),
        (b"/data/\xff 1%?#.dcm", "file:///data/%FF%201%25%3F%23.dcm"),
        ("/data/\udcff", "file:///data/%FF"),
    ],
)
def test_uri_is_the_path_unless_its_bytes_are_not_utf8(path: str | bytes, uri: str) -> None:
    """A path that is UTF-8 is its own uri, character by character; others are percent-encoded."""
    assert uri_from_path(path) == uri


def test_relative_path_becomes_absolute_and_links_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A uri is absolute, and a symbolic link in it keeps its name."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert uri_from_path("link/./a.dcm") == str(tmp_path / "link" / "a.dcm")
    assert path_from_source("link") == str(tmp_path / "link")


@pytest.mark.parametrize(
    "source", ["file:///data/a%20b", "file://localhost/data/a%20b", "file:/data/a%20b", "FILE:///data/a%20b"]
)
def test_file_uri_is_a_source(source: str) -> None:
    """A SOURCE may be a file: URI in each of its spellings (RFC 8089)."""
    assert path_from_source(source) == "/data/a b"


@pytest.mark.parametrize(
    "source", ["s3://bucket/key", "file://server/share", "file://", "https://host/a", "", "a\0b", "file:///a%00b"]
)
def test_what_is_no_local_path_is_refused(source: str) -> None:
    """Another scheme, another host, an empty name or a NUL is a SourceError of one line."""
    with pytest.raises(SourceError) as caught:
        path_from_source(source)
    assert str(caught.value).isprintable()
