"""Rows of a dataset without what identifies people.

In: a schema, rules, a key; then rows.  Out: a schema of fewer columns, rows of it.  Works batch by batch and keeps nothing but
counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.deidentify.items import ItemCleaner, is_code, is_registered
from dicomflow.deidentify.profile import METHOD_CODES, Action
from dicomflow.deidentify.rules import Rules
from dicomflow.deidentify.secret import Pseudonyms
from dicomflow.deidentify.values import (
    Days,
    decode,
    encode,
    is_nested,
    make_dummies,
    rebuild_list,
    replace_texts,
    shift_dates,
)
from dicomflow.schema.column import parse_path

SHIFT_DAYS = 1825
"""Dates are moved back by up to so many days."""

_SUBJECTS = {"patient": b"(0010,0020)", "study": b"(0020,000D)"}
"""Whose dates are moved together: PatientID; StudyInstanceUID where a patient has none."""

_REMOVED, _METHOD, _TEMPORAL = b"(0012,0062)", b"(0012,0063)", b"(0028,0303)"


class _Work(NamedTuple):
    """What is done to one column."""

    name: str
    action: Action
    vr: str
    tag: int
    note: str | None  # for the columns that say what was done
    as_code: bool  # only what has the form of a CS is kept


class Deidentifier:
    """Applies rules to rows of one schema.

    Attributes:
        schema: of the rows that come out.
        needed: names of the columns that rows must have to go in.
        method: what was done, for DeidentificationMethod (0012,0063), LO.
        loosened: rules of one's own do less than the profile: no claim is made.
        unfit: column -> how many codes (CS) were left out of it because they have not the form of one.
    """

    def __init__(self, schema: pa.Schema, rules: Rules, pseudonyms: Pseudonyms, shift_days: int = SHIFT_DAYS) -> None:
        self.rules = rules
        self.loosened = rules.is_loosened
        self.method = describe_method(rules)
        self.unfit: Counter[str] = Counter()
        self._pseudonyms = pseudonyms
        self._shift_days = shift_days
        self._cleaner = ItemCleaner(rules, pseudonyms)
        found = {kind: find_column(schema, tag) for kind, tag in _SUBJECTS.items()}
        self._subjects = {kind: name for kind, name in found.items() if name}
        works = (self._plan(column) for column in schema)
        self._works = [work for work in works if work is not None]
        kept = [schema.field(work.name) for work in self._works]
        self.schema = pa.schema(kept, metadata={"dicomflow.deidentified": self.method})

    def select(self, names: Sequence[str]) -> Deidentifier:
        """The same for some of the columns, in this order; names that are dropped are passed over."""
        works = {work.name: work for work in self._works}
        chosen = Deidentifier(pa.schema([]), self.rules, self._pseudonyms, self._shift_days)
        chosen._subjects = self._subjects
        chosen._works = [works[name] for name in names if name in works]
        chosen.schema = pa.schema([self.schema.field(work.name) for work in chosen._works], self.schema.metadata)
        return chosen

    @property
    def needed(self) -> list[str]:
        """Columns of the schema that ``apply`` reads."""
        subjects = self._subjects.values() if any(self._needs_days(work) for work in self._works) else ()
        return list(dict.fromkeys([*(work.name for work in self._works), *subjects]))

    def explain(self, names: Sequence[str]) -> dict[str, str]:
        """What is done to each of these columns: column -> one of ``profile.ACTIONS``."""
        works = {work.name: work for work in self._works}
        return {name: _name_work(works[name]) if name in works else str(Action.DROP) for name in names}

    def apply(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows, of ``schema`` but that text may be dictionary-encoded."""
        days = self._count_days(rows) if any(self._needs_days(work) for work in self._works) else None
        columns = [self._work(work, rows.column(work.name), days) for work in self._works]
        return pa.RecordBatch.from_arrays(columns, names=self.schema.names)

    # ---- what is done to a column ------------------------------------------------------------------------------------

    def _plan(self, column: pa.Field) -> _Work | None:
        metadata = column.metadata or {}
        note = self._note(metadata.get(b"dicom.tag", b""), column)
        action = self.rules.for_column(column)
        if note is None and (action is Action.DROP or (action is Action.SHIFT and not self._subjects)):
            return None
        vr = metadata.get(b"dicom.vr", b"").decode()
        steps = [parse_path(text)[-1] for text in metadata[b"dicom.paths"].decode().split("\n")] if vr else []
        unseen = all(self.rules.keeps_unseen(step.tag, step.creator) for step in steps)
        as_code = vr == "CS" and action is Action.KEEP and not unseen
        return _Work(column.name, action, vr, steps[0].tag if steps else 0, note, as_code)

    def _note(self, tag: bytes, column: pa.Field) -> str | None:
        """The value of a column that says what was done (PS3.15 E.1.1); those of earlier hands are not kept."""
        if self.loosened or b"." in (column.metadata or {}).get(b"dicom.paths", b"."):
            return None
        notes = {_REMOVED: "YES", _METHOD: self.method, _TEMPORAL: temporal_note(self.rules)}
        return notes.get(tag) if pa.types.is_string(_leaf(column.type)) else None

    def _needs_days(self, work: _Work) -> bool:
        return work.action is Action.SHIFT or (work.vr == "SQ" and "modified_dates" in self.rules.retain)

    def _work(self, work: _Work, column: pa.Array, days: Days | None) -> pa.Array:
        if work.note is not None:
            return _constant(work.note, column.type, len(column))
        if work.action is Action.EMPTY:
            return pa.nulls(len(column), _plain_type(column.type))
        if work.vr == "SQ":
            return self._clean_items(work, column, days)
        if work.as_code:
            return self._keep_codes(work, column)
        return _WORKERS[work.action](self._pseudonyms, work, column, days)

    def _keep_codes(self, work: _Work, column: pa.Array) -> pa.Array:
        kept = _replace(column, lambda text: text if is_code(text) else None)
        self.unfit[work.name] += _count_values(column) - _count_values(kept)
        return kept

    def _clean_items(self, work: _Work, column: pa.Array, days: Days | None) -> pa.Array:
        cleaned, unfit = _clean_items(column, self._cleaner, days)
        self.unfit[work.name] += unfit
        return cleaned

    # ---- whose dates they are ----------------------------------------------------------------------------------------

    def _count_days(self, rows: pa.RecordBatch) -> Days:
        """By patient; by study where the patient has no ID; NaN where neither is known."""
        days = np.full(rows.num_rows, np.nan)
        for kind, name in self._subjects.items():
            encoded = encode(rows.column(name))
            each = [self._days_of(kind, text) for text in encoded.dictionary.to_pylist()]
            found = pa.array(each, pa.float64()).take(encoded.indices)
            days = np.where(np.isnan(days), found.fill_null(np.nan).to_numpy(zero_copy_only=False), days)
        return days

    def _days_of(self, kind: str, text: str | None) -> float | None:
        return None if text is None else float(self._pseudonyms.count_days(f"{kind}\0{text}", self._shift_days))


def deidentify_table(table: pa.Table, rules: Rules, key: bytes) -> pa.Table:
    """Rows of ``instances`` without what identifies people.

    Args:
        table: with the metadata of its columns (``dicom.tag``, ``dicom.vr``, ``dicom.paths``): a column without it is dropped.
        rules: see ``make_rules``.
        key: makes pseudonyms; the same key makes the same ones.

    >>> import dicomflow
    >>> from dicomflow.deidentify import deidentify_table, make_rules
    >>> table = dicomflow.open_dataset("headers").to_arrow()               # doctest: +SKIP
    >>> deidentify_table(table, make_rules(["modified_dates"]), key)       # doctest: +SKIP
    """
    deidentifier = Deidentifier(table.schema, rules, Pseudonyms(key))
    batches = (deidentifier.apply(batch) for batch in table.select(deidentifier.needed).to_batches())
    plain = [
        pa.RecordBatch.from_arrays([decode(c) for c in batch.columns], schema=deidentifier.schema) for batch in batches
    ]
    return pa.Table.from_batches(plain, deidentifier.schema)


def describe_method(rules: Rules) -> str:
    """What was done, in the 64 characters that an LO has.

    >>> describe_method(Rules(frozenset({"patient", "modified_dates"})))
    'dicomflow: PS3.15 E.1 basic; retain modified_dates, patient'
    """
    if rules.is_loosened:
        return "dicomflow: rules of its own"
    retained = ", ".join(sorted(rules.retain))
    text = "dicomflow: PS3.15 E.1 basic" + (f"; retain {retained}" if retained else "")
    return text if len(text) <= 64 else f"dicomflow: PS3.15 E.1 basic; {len(rules.retain)} retain options"


def method_codes(rules: Rules) -> list[tuple[str, str]]:
    """Code values and meanings for DeidentificationMethodCodeSequence (0012,0064); none where no claim is made."""
    return [] if rules.is_loosened else [METHOD_CODES[name] for name in ("basic", *sorted(rules.retain))]


def temporal_note(rules: Rules) -> str:
    """LongitudinalTemporalInformationModified (0028,0303)."""
    if "full_dates" in rules.retain:
        return "UNMODIFIED"
    return "MODIFIED" if "modified_dates" in rules.retain else "REMOVED"


def _name_work(work: _Work) -> str:
    if work.note is not None:
        return "note"
    return "items" if work.vr == "SQ" and work.action is Action.KEEP else str(work.action)


# ---- one column ------------------------------------------------------------------------------------------------------


def _keep(pseudonyms: Pseudonyms, work: _Work, column: pa.Array, days: Days | None) -> pa.Array:
    return column


def _shift(pseudonyms: Pseudonyms, work: _Work, column: pa.Array, days: Days | None) -> pa.Array:
    leaf = _leaf(column.type)
    if days is None or not (pa.types.is_date32(leaf) or pa.types.is_timestamp(leaf)):
        return pa.nulls(len(column), _plain_type(column.type))
    return shift_dates(column, days)


def _uid(pseudonyms: Pseudonyms, work: _Work, column: pa.Array, days: Days | None) -> pa.Array:
    return _replace(column, pseudonyms.replace_uid)


def _registered(pseudonyms: Pseudonyms, work: _Work, column: pa.Array, days: Days | None) -> pa.Array:
    return _replace(column, lambda uid: uid if is_registered(uid) else pseudonyms.replace_uid(uid))


def _hash(pseudonyms: Pseudonyms, work: _Work, column: pa.Array, days: Days | None) -> pa.Array:
    if work.vr == "UI":
        return _replace(column, pseudonyms.replace_uid)
    return _replace(column, lambda text: pseudonyms.replace_identifier(work.tag, text))


def _dummy(pseudonyms: Pseudonyms, work: _Work, column: pa.Array, days: Days | None) -> pa.Array:
    return make_dummies(column)


_WORKERS: dict[Action, Callable[[Pseudonyms, _Work, pa.Array, Days | None], pa.Array]] = {
    Action.KEEP: _keep,
    Action.SHIFT: _shift,
    Action.REGISTERED: _registered,
    Action.UID: _uid,
    Action.HASH: _hash,
    Action.DUMMY: _dummy,
}


def _replace(column: pa.Array, replace: Callable[[str], str | None]) -> pa.Array:
    """Only text can be replaced by text."""
    if not pa.types.is_string(_leaf(column.type)):
        return pa.nulls(len(column), column.type)
    return replace_texts(column, replace)


def _count_values(column: pa.Array) -> int:
    """Those that are there, in lists, too."""
    if is_nested(column.type):
        return _count_values(column.flatten())
    plain = decode(column)
    return int(len(plain) - plain.null_count)


def _clean_items(column: pa.Array, cleaner: ItemCleaner, days: Days | None) -> tuple[pa.Array, int]:
    """The items of sequences, and how many codes were left out; the same text under the same days is cleaned once in a batch."""
    if is_nested(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        each = None if days is None else np.repeat(days, lengths)
        values, unfit = _clean_items(column.flatten(), cleaner, each)
        return rebuild_list(column, values), unfit
    encoded = encode(column)
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    texts = encoded.dictionary.to_pylist()
    shifts: Iterable[float] = [np.nan] * len(codes) if days is None else days.tolist()
    done: dict[tuple[int, int | None], tuple[str | None, int]] = {}
    cleaned: list[tuple[str | None, int]] = []
    for code, shift in zip(codes.tolist(), shifts, strict=True):
        key = (code, None if np.isnan(shift) else int(shift))
        if key not in done:
            done[key] = _clean_text(None if code < 0 else texts[code], cleaner, key[1])
        cleaned.append(done[key])
    return pa.array([text for text, _ in cleaned], pa.string()), sum(unfit for _, unfit in cleaned)


def _clean_text(text: str | None, cleaner: ItemCleaner, days: int | None) -> tuple[str | None, int]:
    before = cleaner.unfit
    return None if text is None else cleaner.clean(text, days), cleaner.unfit - before


def _constant(text: str, kind: pa.DataType, count: int) -> pa.Array:
    value: object = text
    for _ in range(_depth(kind)):
        value = [value]
    return pa.repeat(pa.scalar(value, _plain_type(kind)), count)


def _depth(kind: pa.DataType) -> int:
    return 1 + _depth(kind.value_type) if is_nested(kind) else 0


def _leaf(kind: pa.DataType) -> pa.DataType:
    kind = _plain_type(kind)
    return _leaf(kind.value_type) if is_nested(kind) else kind


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def find_column(schema: pa.Schema, tag: bytes) -> str | None:
    """The column of a top-level text attribute.

    Args:
        schema: of ``instances``.
        tag: as in its metadata, such as ``b"(0020,000D)"``.
    """
    for field in schema:
        metadata = field.metadata or {}
        if metadata.get(b"dicom.tag") == tag and b"." not in metadata.get(b"dicom.paths", b".").split(b"\n")[0]:
            return str(field.name) if pa.types.is_string(_plain_type(field.type)) else None
    return None
