"""A dataset as plain Python, and tiny DICOM files: what any sequence of runs must lead to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from tests.dicom_bytes import STOP, element, file

BEGIN = 1_600_000_000


@dataclass(frozen=True)
class Content:
    """A file: its key, a text that makes its header what it is, when it was written, and what is wrong with it."""

    uid: str
    text: str
    written: int  # seconds after BEGIN
    fault: str = ""  # "", partial, garbage, empty, keyless

    def data(self) -> bytes:
        """The bytes of the file."""
        if self.fault == "empty":
            return b""
        if self.fault == "garbage":
            return b"not a DICOM file, but long enough to look at: " + self.text.encode() * 8
        uid = b"" if self.fault == "keyless" else element(0x00080018, "UI", _even(self.uid, "\0"))
        head = element(0x00080005, "CS", b"ISO_IR 100") + uid + element(0x00080060, "CS", b"MR")
        body = element(0x00100010, "PN", _even(self.text, " ")) + element(
            0x0020000E, "UI", _even(series_of(self.text), "\0")
        )
        end = element(0x00200013, "IS", b"1 ", length=400) if self.fault == "partial" else element(STOP, "OW", bytes(8))
        return file(head + body + end)

    @property
    def readable(self) -> bool:
        """Whether it has a row."""
        return self.fault in ("", "partial")


def series_of(text: str) -> str:
    """The series of a file: files of one text are of one."""
    return f"1.5.{sum(text.encode())}"


def _even(text: str, padding: str) -> bytes:
    return (text + padding * (len(text) % 2)).encode()


def write(path: Path, content: Content) -> None:
    """Put a file there, with its time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.data())
    os.utime(path, (BEGIN + content.written, BEGIN + content.written))


def expect(files: Mapping[str, Content], removed: set[str]) -> dict[str, Any]:
    """The tables of a dataset of these files: instances and conflicts as {uri: (uid, text)}, files as {uri: status}."""
    ranked: dict[str, list[str]] = {}
    for uri in sorted(files, key=lambda uri: (files[uri].fault != "", -files[uri].written, uri)):
        if files[uri].readable:
            ranked.setdefault(files[uri].uid, []).append(uri)
    status = {uri: _status_alone(content) for uri, content in files.items()}
    instances, conflicts = {}, {}
    for winner, *losers in ranked.values():
        instances[winner] = _row(files[winner])
        for loser in losers:
            same = _row(files[loser]) == _row(files[winner])  # the header up to where a partial one breaks off
            status[loser] = "duplicate" if same else "conflict"
            if not same:
                conflicts[loser] = _row(files[loser])
    return {"instances": instances, "conflicts": conflicts, "files": {**dict.fromkeys(removed, "removed"), **status}}


def _status_alone(content: Content) -> str:
    return {"": "ok", "partial": "partial", "keyless": "failed"}.get(content.fault, "not_dicom")


def _row(content: Content) -> tuple[str, str]:
    return content.uid, content.text


def expect_series(tables: Mapping[str, Any]) -> dict[str, int]:
    """How many rows of instances each series has."""
    return dict(Counter(series_of(text) for _, text in tables["instances"].values()))


def read_series(dest: Path) -> dict[str, int]:
    """What plain pandas and plain DuckDB see of the series; studies and patients, which have no key here, count all."""
    frame = pd.read_parquet(dest / "series", columns=["SeriesInstanceUID", "instanceCount"])
    rows = duckdb.sql(f"select SeriesInstanceUID, instanceCount from '{dest}/series/*.parquet'").fetchall()
    found = dict(frame.itertuples(index=False))
    assert frame.SeriesInstanceUID.is_unique and found == dict(rows)
    for table in ("studies", "patients"):
        counts = pd.read_parquet(dest / table, columns=["instanceCount"]).instanceCount.to_list()
        assert counts == ([sum(found.values())] if found else [])
    return found


def read_with_pandas(dest: Path) -> dict[str, Any]:
    """What plain pandas sees."""
    found = {}
    for table in ("instances", "conflicts"):
        frame = pd.read_parquet(dest / table, columns=["source_uri", "SOPInstanceUID", "PatientName"])
        assert frame.source_uri.is_unique, "one row of each file"
        found[table] = {uri: (uid, text) for uri, uid, text in frame.itertuples(index=False)}
    ledger = pd.read_parquet(dest / "files", columns=["uri", "status"])
    assert ledger.uri.is_unique, "one ledger row of each file"
    return {**found, "files": dict(ledger.itertuples(index=False))}


def read_with_duckdb(dest: Path) -> dict[str, Any]:
    """What plain DuckDB sees."""
    found = {}
    for table in ("instances", "conflicts"):
        rows = duckdb.sql(
            f"select source_uri, SOPInstanceUID, PatientName from '{dest}/{table}/**/*.parquet'"
        ).fetchall()
        found[table] = {uri: (uid, text) for uri, uid, text in rows}
        assert len(found[table]) == len(rows)
    return {**found, "files": dict(duckdb.sql(f"select uri, status from '{dest}/files/**/*.parquet'").fetchall())}
