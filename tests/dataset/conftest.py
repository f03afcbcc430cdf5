"""Small datasets without DICOM: rows of the minimal profile, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dicomflow.config import DatasetConfig
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.writer import write_data_file
from dicomflow.schema.arrow import files_schema, instances_schema
from dicomflow.schema.profile import load_profile

PROFILE = load_profile("minimal")
NOON = datetime(2024, 5, 1, 12)


def fill_rows(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows with these values, null elsewhere."""
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)


def describe_schema(schema: pa.Schema) -> list[Any]:
    """Names, types and metadata; Parquet calls the items of a list ``element``, Arrow calls them ``item``."""
    fields = [(field.name, field.type, field.nullable, field.metadata) for field in schema]
    return [*fields, schema.metadata]


@pytest.fixture(scope="session")
def instances() -> pa.Schema:
    return instances_schema(PROFILE)


@pytest.fixture(scope="session")
def files() -> pa.Schema:
    return files_schema()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    root = tmp_path / "dest"
    (root / "_dicomflow").mkdir(parents=True)
    return Layout(root)


@pytest.fixture
def stage(instances: pa.Schema, files: pa.Schema) -> Callable[..., None]:
    """Write what one task would leave in staging: ``stage(staging, task, [(uid, uri, digest, ...)])``."""

    def write(staging: Path, task: str, found: list[dict[str, Any]]) -> None:
        ledger = [{"status": "ok", "mtime": NOON, **row} for row in found]
        rows = [
            {
                **row,
                "source_uri": row["uri"],
                "source_member": row.get("member"),
                "source_mtime": row["mtime"],
                "header_digest": row.get("header_digest"),
            }
            for row in ledger
            if row.get("SOPInstanceUID") is not None
        ]
        config = DatasetConfig()
        write_data_file(fill_rows(files, ledger), files, "files", staging, f"{task}.parquet", config)
        if rows:
            write_data_file(fill_rows(instances, rows), instances, "instances", staging, f"{task}-0.parquet", config)

    return write
