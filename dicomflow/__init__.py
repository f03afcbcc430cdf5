"""dicomflow: any pile of DICOM files -> a typed Parquet dataset, one row per SOP Instance UID.

The map of the house (imports go downwards only)::

    cli          commands: parse, call one function, print
    pipeline     extract(): list, plan, run, publish
    quality/     write_report(): how good a dataset is, on one page
    diff         diff_datasets(): what was added, removed, changed
    export/      export_dataset(): DICOM JSON, CSV, Parquet
    deidentify/  rows without what identifies people (PS3.15 annex E)
    query        open_dataset(): Arrow, pandas, Dask, SQL, one row, the ledger
    status       dataset_status(): how a dataset is, what a re-run would do
    worker       scan_task(): one task, where the data is
    sql/         DuckDB that sees a dataset and nothing else; ready-made queries
    batch        header values -> typed, sorted RecordBatch
    compute      the Dask bag, local or distributed
    dataset/     layout, writing, commit, ledger, one row per SOP Instance UID, rollups in step
    header/      bytes -> values: element scan (compiled), charsets, values, pydicom fallback
    sources/     where files are
    plan         files -> ScanTasks
    unpack       the first bytes of a member of an archive
    rollup/      rows of instances -> series, studies, patients; where slices lie
    schema/      columns, profiles, Arrow schemas
    synth/       synthetic studies: load, demonstration, tests
    watch        those who are told how a run goes; metrics, expose: its numbers, shown to Prometheus
    config/      settings: YAML and command line -> Config
    dictionary, log, summary, model, errors

Public names, loaded when first used (``import dicomflow`` is cheap)::

    extract, add_columns, compact, dataset_status, diff_datasets, read_headers, open_dataset, verify_dataset, write_report,
    write_studies, export_dataset, explain_export, deidentify_table, make_rules, show_progress, Dataset, DatasetDiff,
    DatasetStatus, ExportSummary, RunSummary, Config, load_config, DicomflowError
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dicomflow.errors import DicomflowError

if TYPE_CHECKING:
    from dicomflow.config import Config, load_config
    from dicomflow.dataset.verify import verify_dataset
    from dicomflow.deidentify import deidentify_table, make_rules
    from dicomflow.diff import DatasetDiff, diff_datasets
    from dicomflow.export.export import ExportSummary, explain_export, export_dataset
    from dicomflow.pipeline import add_columns, compact, extract
    from dicomflow.quality.page import write_report
    from dicomflow.query import Dataset, open_dataset
    from dicomflow.read import read_headers
    from dicomflow.report.progress import show_progress
    from dicomflow.status import DatasetStatus, dataset_status
    from dicomflow.summary import RunSummary
    from dicomflow.synth import write_studies

__version__ = "0.1.0"

__all__ = [
    "Config",
    "Dataset",
    "DatasetDiff",
    "DatasetStatus",
    "DicomflowError",
    "ExportSummary",
    "RunSummary",
    "__version__",
    "add_columns",
    "compact",
    "dataset_status",
    "deidentify_table",
    "diff_datasets",
    "explain_export",
    "export_dataset",
    "extract",
    "load_config",
    "make_rules",
    "open_dataset",
    "read_headers",
    "show_progress",
    "verify_dataset",
    "write_report",
    "write_studies",
]

_HOMES = {
    "Config": "dicomflow.config",
    "Dataset": "dicomflow.query",
    "DatasetDiff": "dicomflow.diff",
    "DatasetStatus": "dicomflow.status",
    "RunSummary": "dicomflow.summary",
    "add_columns": "dicomflow.pipeline",
    "compact": "dicomflow.pipeline",
    "dataset_status": "dicomflow.status",
    "diff_datasets": "dicomflow.diff",
    "ExportSummary": "dicomflow.export.export",
    "deidentify_table": "dicomflow.deidentify",
    "explain_export": "dicomflow.export.export",
    "export_dataset": "dicomflow.export.export",
    "extract": "dicomflow.pipeline",
    "load_config": "dicomflow.config",
    "make_rules": "dicomflow.deidentify",
    "open_dataset": "dicomflow.query",
    "read_headers": "dicomflow.read",
    "show_progress": "dicomflow.report.progress",
    "verify_dataset": "dicomflow.dataset.verify",
    "write_report": "dicomflow.quality.page",
    "write_studies": "dicomflow.synth",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first asked for (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'dicomflow' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
