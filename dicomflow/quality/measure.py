"""Ask a dataset all questions of the report.

In: a dataset.  Out: a ``QualityReport``.  Knows no rendering.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa

from dicomflow.dataset.layout import TABLES, Layout
from dicomflow.dataset.parts import read_schema
from dicomflow.quality.figures import Figure, QualityReport
from dicomflow.quality.questions import Question, find_absent, make_questions
from dicomflow.quality.runs import make_table
from dicomflow.query import Dataset
from dicomflow.sql.sandbox import Limits, Sandbox


def measure_quality(dataset: Dataset, *, today: date | None = None, limits: Limits | None = None) -> QualityReport:
    """The numbers of the report, each with its SQL.

    Args:
        dataset: as ``open_dataset`` gives it.
        today: the day for which dates are judged; the present one (UTC) if None.
        limits: what the queries may take.

    Raises:
        DatasetError: a part cannot be read.

    >>> measure_quality(dicomflow.open_dataset("headers")).figures["outcomes"].rows    # doctest: +SKIP
    (('ok', '', 5865, 301442010), ('failed', 'truncated', 5, 11024))
    """
    today = today or datetime.now(UTC).date()
    schemas = {table: read_schema(parts[0]) for table in TABLES if (parts := dataset.parts(table))}
    with dataset.open_sandbox(limits) as sandbox:
        sandbox.run(make_table(Layout(dataset.root)))
        figures = {question.name: _answer(sandbox, question, schemas) for question in make_questions(schemas, today)}
    return QualityReport(
        title=dataset.root.name,
        version=dataset.version,
        profile=dataset.snapshot.profile,
        made=today.isoformat(),
        absent=find_absent(schemas["instances"]),
        figures=figures,
    )


def _answer(sandbox: Sandbox, question: Question, schemas: dict[str, pa.Schema]) -> Figure:
    missing = [table for table in question.tables if table not in schemas and table != "runs"]
    note = f"The dataset has no {' and no '.join(missing)} yet; the next extract makes them." if missing else None
    columns: tuple[str, ...] = ()
    rows: list[tuple[object, ...]] = []
    if not missing:
        answer = sandbox.run_query(question.sql)
        columns = tuple(name for name, _ in answer.columns)
        for batch in answer.batches():
            rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
    return Figure(
        name=question.name,
        description=question.description,
        sql=question.sql,
        columns=columns,
        rows=tuple(rows),
        note=note,
    )
