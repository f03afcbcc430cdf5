"""Export the rows of a dataset: check, take out what identifies people, write.

In: a dataset, a file, settings.  Out: the file, whole or not at all, and an ``ExportSummary``.

What identifies people is taken out after PS3.15 Annex E unless the caller says ``with_patient_identity=True``.
"""

from __future__ import annotations

import difflib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from dicomflow.config import ExportConfig
from dicomflow.dataset.storage import write_atomically
from dicomflow.deidentify import Deidentifier, Pseudonyms, make_rules
from dicomflow.deidentify.profile import Action
from dicomflow.deidentify.rules import Rules
from dicomflow.deidentify.secret import load_key, make_key
from dicomflow.deidentify.table import find_column, method_codes, temporal_note
from dicomflow.errors import ConfigError, DatasetError
from dicomflow.export import FORMATS
from dicomflow.export.csv_file import write_csv
from dicomflow.export.json_model import JsonModel, write_json, write_ndjson
from dicomflow.export.order import Order, find_ranges, sort_batches
from dicomflow.export.parquet import write_parquet
from dicomflow.export.require import Missing, drop_incomplete, find_missing
from dicomflow.export.rows import iter_rows
from dicomflow.query import Dataset, open_dataset

_BATCH_ROWS = 32_768
_STUDY, _SERIES = b"(0020,000D)", b"(0020,000E)"
_TELLING = frozenset({Action.KEEP, Action.REGISTERED, Action.UID, Action.HASH})
"""What is done to a UID that still tells which rows belong together."""


@dataclass(slots=True, kw_only=True)
class ExportSummary:
    """What an export did.

    Attributes:
        rows: written.
        columns: written, of those of the dataset; in JSON some of them may have no place.
        dropped: names of columns of which nothing was written.
        actions: column that was asked for -> what was done to it, see ``deidentify.profile.ACTIONS``; none where identities
            were asked for.
        missing: attributes that some rows lack, with the first of these rows.
        refused: nothing was written, because rows are incomplete.
        deidentified: what was done, as DeidentificationMethod has it; None where identities were asked for.
        new_key: pseudonyms were made with a key of this run alone.
        unfit: column -> how many codes (CS) were left out of it because they have not the form of one: they could be free text.
    """

    rows: int = 0
    columns: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    actions: dict[str, str] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    refused: bool = False
    deidentified: str | None = None
    new_key: bool = False
    unfit: dict[str, int] = field(default_factory=dict)

    def count(self, *actions: str) -> int:
        """To how many columns one of these was done."""
        return sum(done in actions for done in self.actions.values())


def export_dataset(
    dest: str | os.PathLike[str] | Dataset,
    output: str | os.PathLike[str] | BinaryIO,
    form: str,
    *,
    columns: Sequence[str] | None = None,
    with_patient_identity: bool = False,
    config: ExportConfig | None = None,
) -> ExportSummary:
    """Write ``instances`` to a file: DICOM JSON (PS3.18 annex F), CSV or Parquet, without what identifies people.

    Args:
        dest: a dataset, or where it is.
        output: the file to write; one that is there is replaced when all is written.  Or an open binary file.
        form: ``ndjson`` (an object a line), ``json`` (one array), ``csv`` or ``parquet``.
        columns: names, in this order; all by default.
        with_patient_identity: leave everything as it is, the names of patients, too.
        config: which rows, required attributes, options and rules of the de-identification, its key.

    Raises:
        ConfigError: a column, a rule or the key is wrong, or ``output`` lies in the dataset.
        DatasetError: the dataset cannot be read, or the file not be written.

    >>> import dicomflow
    >>> dicomflow.export_dataset("headers", "headers.csv", "csv").rows               # doctest: +SKIP
    1828
    """
    settings = config or ExportConfig()
    if form not in FORMATS:
        raise ConfigError(f"{form!r} is no format; there are {', '.join(FORMATS)}")
    dataset = dest if isinstance(dest, Dataset) else open_dataset(dest)
    names = _check_columns(dataset, columns, "columns")
    required = _check_columns(dataset, settings.require, "require") if settings.require else []
    _check_place(dataset, output)
    summary = ExportSummary()
    job = _plan(dataset, names, settings, summary, with_patient_identity=with_patient_identity)
    summary.missing = find_missing(dataset, required, settings.where, name_files=with_patient_identity)
    summary.refused = bool(summary.missing) and settings.incomplete == "refuse"
    if not summary.refused:
        left_out = required if settings.incomplete == "drop" and summary.missing else []
        _write(output, lambda sink: _fill(sink, form, job, job.batches(dataset, left_out), settings), summary)
        summary.unfit = dict(+job.unfit)
    return summary


def explain_export(
    dest: str | os.PathLike[str] | Dataset,
    *,
    columns: Sequence[str] | None = None,
    with_patient_identity: bool = False,
    config: ExportConfig | None = None,
) -> dict[str, str]:
    """What ``export_dataset`` would do to each column; reads no row and writes nothing.

    Args and errors as of ``export_dataset``.

    Returns:
        Column -> one of ``deidentify.profile.ACTIONS``.

    >>> import dicomflow
    >>> dicomflow.explain_export("headers", columns=["PatientName"])      # doctest: +SKIP
    {'PatientName': 'empty'}
    """
    dataset = dest if isinstance(dest, Dataset) else open_dataset(dest)
    names = _check_columns(dataset, columns, "columns")
    if with_patient_identity:
        return dict.fromkeys(names, str(Action.KEEP))
    settings = config or ExportConfig()
    rules = make_rules(settings.retain, settings.rules, keep_times=settings.times == "keep")
    return Deidentifier(dataset.schema, rules, Pseudonyms(make_key()), settings.shift_days).explain(names)


# ---- what is asked for -----------------------------------------------------------------------------------------------


def _check_columns(dataset: Dataset, names: Sequence[str] | None, option: str) -> list[str]:
    known = dataset.schema.names
    for name in names or ():
        if name not in known:
            near = difflib.get_close_matches(name[:64], known, n=1)
            raise ConfigError(
                f"{option}: the dataset has no column {name[:64]!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            )
    return list(known) if names is None else list(dict.fromkeys(names))


def _check_place(dataset: Dataset, output: str | os.PathLike[str] | BinaryIO) -> None:
    """A file among the dataset's own would be read as a part of it."""
    if not isinstance(output, str | os.PathLike):
        return
    path = Path(os.path.realpath(output))
    if path.is_relative_to(os.path.realpath(dataset.root)):
        raise ConfigError(f"{os.fspath(output)}: lies in the dataset; write it elsewhere")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{os.fspath(output)}: is not a file")


# ---- what is to be done ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What goes out, and how it is made."""

    schema: pa.Schema
    needed: Sequence[str]
    apply: Callable[[pa.RecordBatch], pa.RecordBatch]
    constants: Mapping[str, str] = field(default_factory=dict)
    empty: frozenset[str] = frozenset()
    order: Order | None = None  # that of the dataset
    unfit: Counter[str] = field(default_factory=Counter)
    where: str | None = None

    def batches(self, dataset: Dataset, required: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Rows of ``schema``; those that lack a required column are left out."""
        if self.order is None:
            return map(self.apply, self._read(dataset, self.needed, required))
        return self._sort(self.order, dataset, required)

    def _sort(self, order: Order, dataset: Dataset, required: Sequence[str]) -> Iterator[pa.RecordBatch]:
        ranges = find_ranges(order, self._read(dataset, order.names, required))
        rows = self._read(dataset, [*self.needed, *order.names], required)
        return sort_batches(((self.apply(batch), order.keys(batch)) for batch in rows), ranges)

    def _read(self, dataset: Dataset, names: Sequence[str], required: Sequence[str]) -> Iterator[pa.RecordBatch]:
        found = iter_rows(dataset, list(dict.fromkeys([*names, *required])), _BATCH_ROWS, self.where)
        return (rows for rows in drop_incomplete(found, required) if rows.num_rows)


def _plan(
    dataset: Dataset, names: list[str], settings: ExportConfig, summary: ExportSummary, *, with_patient_identity: bool
) -> _Job:
    if with_patient_identity:
        whole = dataset.schema  # read from a part each time it is asked for
        schema = pa.schema([whole.field(name) for name in names], whole.metadata)
        job = _Job(schema=schema, needed=names, apply=lambda rows: rows.select(names), where=settings.where)
    else:
        job = _plan_filter(dataset, names, settings, summary)
    summary.columns = job.schema.names
    summary.dropped = [name for name in names if name not in set(summary.columns)]
    if not summary.columns:
        raise ConfigError(
            "no column is left: each one asked for identifies people; see --columns, --retain and the rules"
        )
    return job


def _plan_filter(dataset: Dataset, names: list[str], settings: ExportConfig, summary: ExportSummary) -> _Job:
    rules = make_rules(settings.retain, settings.rules, keep_times=settings.times == "keep")
    key = load_key(settings.key_file)
    summary.new_key = key is None
    schema = dataset.schema
    pseudonyms = Pseudonyms(key or make_key())
    whole = Deidentifier(schema, rules, pseudonyms, settings.shift_days)
    chosen = whole.select(names)
    summary.actions = whole.explain(names)
    summary.deidentified = chosen.method
    empty = frozenset(column.name for column in chosen.schema if rules.for_column(column) is Action.EMPTY)
    return _Job(
        schema=chosen.schema,
        needed=chosen.needed or [schema.names[0]],
        apply=chosen.apply,
        constants={} if chosen.loosened else _notes(chosen),
        empty=empty,
        unfit=chosen.unfit,
        where=settings.where,
        order=Order(_order_columns(schema, chosen.schema, rules), pseudonyms),
    )


def _order_columns(schema: pa.Schema, written: pa.Schema, rules: Rules) -> list[str]:
    """Study and series, where what is written tells them apart; in the end the key."""
    found = [find_column(schema, tag) for tag in (_STUDY, _SERIES)]
    telling = [name for name in found if name in written.names and rules.for_column(schema.field(name)) in _TELLING]
    return [*telling, schema.names[0]]


def _notes(done: Deidentifier) -> dict[str, str]:
    """What PS3.15 E.1.1 asks to be said in a data set that was de-identified."""
    codes = [
        {
            "00080100": {"vr": "SH", "Value": [value]},
            "00080102": {"vr": "SH", "Value": ["DCM"]},
            "00080104": {"vr": "LO", "Value": [meaning]},
        }
        for value, meaning in method_codes(done.rules)
    ]
    elements = {
        "00120062": {"vr": "CS", "Value": ["YES"]},
        "00120063": {"vr": "LO", "Value": [done.method]},
        "00120064": {"vr": "SQ", "Value": codes},
        "00280303": {"vr": "CS", "Value": [temporal_note(done.rules)]},
    }
    return {tag: json.dumps(element, separators=(",", ":")) for tag, element in elements.items()}


# ---- the file --------------------------------------------------------------------------------------------------------


def _fill(sink: BinaryIO, form: str, job: _Job, batches: Iterator[pa.RecordBatch], settings: ExportConfig) -> int:
    if form == "parquet":
        return write_parquet(batches, job.schema, sink)
    if form == "csv":
        return write_csv(batches, job.schema, sink, formulas=settings.formulas)
    model = JsonModel(job.schema, job.constants, job.empty)
    return write_json(batches, model, sink) if form == "json" else write_ndjson(batches, model, sink)


def _write(output: str | os.PathLike[str] | BinaryIO, fill: Callable[[BinaryIO], int], summary: ExportSummary) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("xb") as sink:
            summary.rows = fill(sink)

    try:
        if isinstance(output, str | os.PathLike):
            write_atomically(Path(output), write)
        else:
            summary.rows = fill(output)
    except pa.ArrowException as error:  # its text may quote a value
        raise DatasetError(f"the export cannot be written: {type(error).__name__}") from None
