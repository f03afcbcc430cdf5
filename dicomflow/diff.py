"""Compare two datasets: which instances were added, removed, changed, and in which attributes.

In: two datasets.  Out: counts, and each change, batch by batch.  Knows no bytes of headers: two rows with one ``header_digest``
are the same; others are compared column by column, by DuckDB and out of core.

Null equals null and NaN equals NaN (``IS DISTINCT FROM``), in lists and structs, too.  What says where a row came from
(``source_uri`` ...) is not compared: a file that was moved is no change.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from dicomflow.query import Dataset, open_dataset
from dicomflow.sql.expressions import to_json_value
from dicomflow.sql.sandbox import Limits, Sandbox, check_inside, quote_name, quote_text

_KEY = "SOPInstanceUID"

_NOT_COMPARED = frozenset(
    {_KEY, "source_uri", "source_member", "source_size", "source_mtime", "header_bytes", "header_digest"}
)

_AT_ONCE = 48
"""Columns that are compared in one pass, a bit of a BIGINT each: bounds the width of the join."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDiff:
    """In what two datasets differ.

    Attributes:
        before, after: their folders.
        before_version, after_version: their versions.
        added: instances that are in ``after`` alone.
        removed: instances that are in ``before`` alone.
        changed: instances that are in both, with another header.
        changed_elsewhere: of these, those that differ in no column that both have.
        unchanged: instances that are in both, with the same header.
        attributes: column -> instances in which it differs, most first.
        only_before, only_after: columns of one alone; not compared.
        redefined: columns of one name, but with another type or other paths; not compared.
    """

    before: str
    after: str
    before_version: int
    after_version: int
    added: int
    removed: int
    changed: int
    changed_elsewhere: int
    unchanged: int
    attributes: dict[str, int]
    only_before: list[str]
    only_after: list[str]
    redefined: list[str]

    @property
    def is_same(self) -> bool:
        """Whether both have the same instances with the same headers, be it in other columns."""
        return not (self.added or self.removed or self.changed)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"same": self.is_same, **asdict(self)}


def diff_datasets(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    *,
    thorough: bool = False,
    limits: Limits | None = None,
) -> DatasetDiff:
    """Count in what two datasets differ.

    Args:
        before: one dataset.
        after: the other.
        thorough: also compare rows whose headers are the same: other versions of dicomflow may read them otherwise.
        limits: memory and threads that it may take.

    Raises:
        DatasetError: one is no dataset, or cannot be read.

    >>> import dicomflow
    >>> dicomflow.diff_datasets("headers-monday", "headers").attributes       # doctest: +SKIP
    {'StudyDescription': 212, 'PatientID': 3}
    """
    with open_diff(before, after, thorough=thorough, limits=limits) as diff:
        return diff.summary


@contextlib.contextmanager
def open_diff(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    *,
    thorough: bool = False,
    limits: Limits | None = None,
) -> Iterator[Comparison]:
    """As ``diff_datasets``, also for each instance."""
    datasets = open_dataset(before), open_dataset(after)
    views = {name: dataset.parts("instances") for name, dataset in zip(("before", "after"), datasets, strict=True)}
    for dataset, parts in zip(datasets, views.values(), strict=True):
        check_inside(dataset.root, parts)
    with Sandbox(views, limits=limits) as sandbox:
        yield Comparison(sandbox, *datasets, thorough=thorough)


class Comparison:
    """Two datasets, compared.

    Attributes:
        summary: in what they differ.
    """

    def __init__(self, sandbox: Sandbox, before: Dataset, after: Dataset, *, thorough: bool) -> None:
        self._sandbox = sandbox
        one, other = before.schema, after.schema
        columns, redefined = _find_common(one, other)
        self._groups = [columns[start : start + _AT_ONCE] for start in range(0, len(columns), _AT_ONCE)]
        sandbox.run(_PAIRS.format(is_same="false" if thorough else "a.digest = b.digest"))
        for number, group in enumerate(self._groups):
            sandbox.run(_compare(number, group))
        sandbox.run(_judge(len(self._groups), thorough=thorough))
        self.summary = DatasetDiff(
            before=str(before.root),
            after=str(after.root),
            before_version=before.version,
            after_version=after.version,
            **self._count(before.snapshot.rows("instances")),
            attributes=self._count_attributes(),
            only_before=[name for name in one.names if name not in other.names],
            only_after=[name for name in other.names if name not in one.names],
            redefined=redefined,
        )

    def iter_changes(self, *, values: bool = False) -> Iterator[pa.RecordBatch]:
        """Each instance that differs, by its UID: ``change`` (added, removed, changed), ``SOPInstanceUID``, ``attributes``.

        Args:
            values: with ``values``, a list of ``attribute``, ``before`` and ``after``, as JSON text.

        Raises:
            DatasetError: a part cannot be read.
        """
        yield from self._sandbox.run_query(self._list_changes(values=values)).batches()

    def _count(self, before_rows: int) -> dict[str, int]:
        found = self._sandbox.run_query("select change, count(*) as n from changes group by all").to_table()
        count = dict(zip(*(column.to_pylist() for column in found.columns), strict=True))
        removed, elsewhere = count.get("removed", 0), count.get("elsewhere", 0)
        changed = count.get("changed", 0) + elsewhere
        return {
            "added": count.get("added", 0),
            "removed": removed,
            "changed": changed,
            "changed_elsewhere": elsewhere,
            "unchanged": before_rows - removed - changed,
        }

    def _count_attributes(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for number, group in enumerate(self._groups):
            sums = ", ".join(f"count(*) filter (mask & {1 << bit} <> 0)" for bit in range(len(group)))
            (row,) = self._sandbox.run_query(f"select [{sums}] as n from masks_{number}").to_table()["n"].to_pylist()
            counts.update(zip(group, row, strict=True))
        return dict(sorted(((name, n) for name, n in counts.items() if n), key=lambda item: (-item[1], item[0])))

    def _list_changes(self, *, values: bool) -> str:
        joins = "".join(f" left join masks_{number} using (uid)" for number in range(len(self._groups)))
        changed = "case when changes.change = 'elsewhere' then 'changed' else changes.change end as change"
        listed = f"{_pick(self._groups, quote_text)} as attributes"
        if values:
            kinds = dict(self._sandbox.run_query("from before").columns)
            joins += f" left join before b on b.{_KEY} = changes.uid left join after a on a.{_KEY} = changes.uid"
            listed += f", {_pick(self._groups, lambda name: _values_of(name, kinds[name]))} as values"
        return f"select {changed}, changes.uid as {_KEY}, {listed} from changes{joins} order by changes.uid"


def _find_common(before: pa.Schema, after: pa.Schema) -> tuple[list[str], list[str]]:
    """Columns that can be compared; those of one name that cannot."""
    shared = [name for name in before.names if name in after.names and name not in _NOT_COMPARED]
    same = [name for name in shared if _definition(before.field(name)) == _definition(after.field(name))]
    return same, [name for name in shared if name not in same]


def _definition(column: pa.Field) -> tuple[pa.DataType, bytes]:
    return column.type, (column.metadata or {}).get(b"dicom.paths", b"")


_PAIRS = f"""
create table pairs as
select
    coalesce(a.uid, b.uid) as uid,
    case when a.uid is null then 'added' when b.uid is null then 'removed' else 'changed' end as change
from (select {_KEY} as uid, header_digest as digest from before) as a
full join (select {_KEY} as uid, header_digest as digest from after) as b on a.uid = b.uid
where a.uid is null or b.uid is null or not coalesce({{is_same}}, false)
"""


def _compare(number: int, columns: Sequence[str]) -> str:
    """A bit for each column that differs."""
    bits = " + ".join(
        f"case when a.{quote_name(name)} is distinct from b.{quote_name(name)} then {1 << bit} else 0 end"
        for bit, name in enumerate(columns)
    )
    return f"""
        create table masks_{number} as
        select uid, mask from (
            select pairs.uid, ({bits})::bigint as mask
            from pairs join before a on a.{_KEY} = pairs.uid join after b on b.{_KEY} = pairs.uid
            where pairs.change = 'changed'
        ) where mask <> 0
    """


def _judge(groups: int, *, thorough: bool) -> str:
    """Where no column differs, the header does, in what is no column; unless it was compared all the same."""
    differs = " or ".join(["false", *(f"uid in (select uid from masks_{number})" for number in range(groups))])
    judged = f"""
        create table changes as
        select uid, case when change = 'changed' and not ({differs}) then 'elsewhere' else change end as change from pairs
    """
    if not thorough:
        return judged
    return f"""
        {judged};
        delete from changes where change = 'elsewhere' and uid in (
            select a.{_KEY} from before a join after b using ({_KEY}) where a.header_digest = b.header_digest
        )
    """


def _pick(groups: Sequence[Sequence[str]], make: Callable[[str], str]) -> str:
    """A list of what ``make`` gives for each column that differs."""
    items = [
        f"case when masks_{number}.mask & {1 << bit} <> 0 then {make(name)} end"
        for number, group in enumerate(groups)
        for bit, name in enumerate(group)
    ]
    return f"list_filter([{', '.join(items)}], lambda x: x is not null)"


def _values_of(name: str, kind: Any) -> str:
    before, after = (f"to_json({to_json_value(f'{side}.{quote_name(name)}', kind)})::varchar" for side in "ba")
    return f"{{'attribute': {quote_text(name)}, 'before': {before}, 'after': {after}}}"
