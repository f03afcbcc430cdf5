"""What the tests of the report share: a dataset of synthetic studies, and its tables in pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import dicomflow
from dicomflow.quality.figures import QualityReport
from dicomflow.quality.measure import measure_quality
from dicomflow.synth import write_studies


@pytest.fixture(scope="session")
def dest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """900 files, one in six faulty; two runs."""
    folder = tmp_path_factory.mktemp("quality")
    write_studies(folder / "scans", files=800, seed=5, corrupt=0.17)
    dicomflow.extract(folder / "scans", folder / "out", scheduler="threads")
    write_studies(folder / "more", files=100, seed=6)
    dicomflow.extract(folder / "more", folder / "out", scheduler="threads")
    return folder / "out"


@pytest.fixture(scope="session")
def report(dest: Path) -> QualityReport:
    """Its numbers."""
    return measure_quality(dicomflow.open_dataset(dest))


@pytest.fixture(scope="session")
def tables(dest: Path) -> dict[str, pd.DataFrame]:
    """The same, read by pandas; rows are labelled as the report does."""
    found = {name: pd.read_parquet(dest / name) for name in ("instances", "files", "conflicts", "series")}
    for name in ("instances", "conflicts", "series"):
        found[name]["by_modality"] = found[name].Modality.fillna("(none)")
        found[name]["by_manufacturer"] = found[name].Manufacturer.fillna("(none)")
    return found
