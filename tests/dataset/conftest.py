"""Small datasets without DICOM: rows of the minimal profile, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dicomflow.dataset.layout import Layout
from dicomflow.schema.arrow import files_schema, instances_schema
from dicomflow.schema.profile import load_profile

from .archive import NOON, Archive, fill_rows, stage_task

__all__ = ["NOON", "PROFILE", "describe_schema", "fill_rows"]

PROFILE = load_profile("minimal")


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
def archive(tmp_path: Path, instances: pa.Schema) -> Archive:
    """Files and a dataset of them, both empty."""
    return Archive(tmp_path / "dest", instances)


@pytest.fixture
def stage(instances: pa.Schema) -> Callable[..., None]:
    """Write what one task would leave in staging: ``stage(staging, task, [(uid, uri, digest, ...)])``."""

    def write(staging: Path, task: str, found: list[dict[str, Any]]) -> None:
        stage_task(staging, task, found, instances)

    return write
