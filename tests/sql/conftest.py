"""What the tests of SQL share: a folder that looks like a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicomflow.sql.sandbox import Sandbox

ROWS = pa.table(
    {
        "SOPInstanceUID": [f"1.2.{number}" for number in range(6)],
        "PatientID": ["ZORRO", "ZORRO", "QUIXOTE", "QUIXOTE", "QUIXOTE", None],
        "Modality": ["CT", "CT", "MR", "MR", "MR", "US"],
        "Rows": pa.array([512, 512, 256, 256, None, 64], pa.int64()),
    }
)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """Two tables, and a secret beside them."""
    for table in ("instances", "files"):
        (tmp_path / "dest" / table).mkdir(parents=True)
        pq.write_table(ROWS, tmp_path / "dest" / table / "a.parquet")
    pq.write_table(pa.table({"secret": ["hidden"]}), tmp_path / "secret.parquet")
    pq.write_table(pa.table({"secret": ["hidden"]}), tmp_path / "dest" / "instances" / "other.parquet")
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    return tmp_path / "dest"


def views(dest: Path) -> dict[str, list[Path]]:
    """The tables of ``dest``."""
    return {table: [dest / table / "a.parquet"] for table in ("instances", "files")}


@pytest.fixture
def sandbox(dest: Path) -> Iterator[Sandbox]:
    """It sees them."""
    with Sandbox(views(dest), dest) as opened:
        yield opened
