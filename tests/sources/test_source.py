"""Tests of dicomflow.sources.source."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from dicomflow.config import SourcesConfig
from dicomflow.errors import SourceError
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.sources import LocalSource, Source, list_files

ROOT = Path(__file__).parent.parent.parent


def test_paths_and_file_uris_are_listed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, absolute paths and file: URIs are one listing, in the order given."""
    for name in ("b", "a", "c d"):
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    batches = list(list_files(["b", str(tmp_path / "a"), f"file://{tmp_path}/c%20d", "./b"], config=SourcesConfig()))
    assert pa.Table.from_batches(batches)["uri"].to_pylist() == [str(tmp_path / name) for name in ("b", "a", "c d")]
    assert all(batch.schema.equals(SOURCE_FILE_SCHEMA) for batch in batches)


def test_batches_have_the_size_asked_for(tmp_path: Path) -> None:
    """All batches are full but the last, across folders and SOURCEs; none is empty."""
    for folder, count in (("a", 5), ("b", 0), ("c", 12)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            (tmp_path / folder / f"{i:02d}").touch()
    (tmp_path / "d").touch()
    sources = [str(tmp_path / name) for name in ("a", "b", "c", "d")]
    sizes = [batch.num_rows for batch in list_files(sources, config=SourcesConfig(), batch_rows=4)]
    assert sizes == [4, 4, 4, 4, 2]
    assert list(list_files([str(tmp_path / "b")], config=SourcesConfig())) == []


def test_listing_streams(tmp_path: Path) -> None:
    """The first batch comes before the later folders are read."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").touch()
    batches = list_files([str(tmp_path)], config=SourcesConfig(), batch_rows=1)
    next(batches)
    (tmp_path / "b" / "2").touch()
    assert [batch["uri"][0].as_py() for batch in batches] == [str(tmp_path / "b" / "1"), str(tmp_path / "b" / "2")]


@pytest.mark.parametrize("sources", [[], [""], ["s3://bucket"], ["{tmp}/a", "{tmp}/none"], ["{tmp}/a/below-a-file"]])
def test_missing_source_is_an_error_before_anything_is_listed(tmp_path: Path, sources: list[str]) -> None:
    """A SOURCE that is not there is named by the call itself, not by the first batch."""
    (tmp_path / "a").touch()
    named = [source.format(tmp=tmp_path) for source in sources]
    with pytest.raises(SourceError) as caught:
        list_files(named, config=SourcesConfig())
    assert not named or named[-1] in str(caught.value)


def test_error_of_a_name_that_is_not_utf8_is_printable() -> None:
    """A missing SOURCE whose name is not UTF-8 is named by its URI."""
    with pytest.raises(SourceError, match=r"file:///none/%FF: no such file or folder"):
        list_files(["/none/\udcff"], config=SourcesConfig())


def test_local_source_is_a_source(tmp_path: Path) -> None:
    """The protocol is what LocalSource offers."""

    def first_of(source: Source) -> Iterator[pa.RecordBatch]:
        return source.list()

    (tmp_path / "a").touch()
    assert next(first_of(LocalSource([str(tmp_path)], config=SourcesConfig()))).num_rows == 1


def test_listing_needs_no_dask_and_no_pandas() -> None:
    """Listing brings in neither, nor pydicom."""
    code = "import dicomflow.sources, sys; print(*sorted({'dask', 'pandas', 'pydicom'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""
