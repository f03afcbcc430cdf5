"""What is said of a query that failed: one line about the query, and never a value."""

from __future__ import annotations

import pytest

from dicomflow.errors import DatasetError
from dicomflow.sql.faults import explain
from dicomflow.sql.sandbox import Sandbox

VALUES = ("ZORRO", "QUIXOTE", "1.2.", "512", "256")


@pytest.mark.parametrize(
    "query",
    [
        "select PatientID::int from instances",
        "select cast(PatientID as date) from instances",
        "select strptime(PatientID, '%Y') from instances",
        "select PatientID::enum('a') from instances",
        "select error(PatientID) from instances",
        "select (select PatientID from instances)",
        "select Rows::tinyint from instances",
        "select (Rows * 1e300)::int from instances",
        "select Rows::tinyint * 100::tinyint from instances",
        "select make_date(Rows, Rows, Rows) from instances",
        "select regexp_matches('x', '(' || PatientID) from instances",
        "select json_extract(PatientID, '$.a') from instances",
        "select PatientID::json from instances",
        "select PatientID::blob from instances where length(('\\x' || PatientID)::blob) > 0",
        "select chr(-Rows::int) from instances",
        "select nope from (pivot instances on PatientID using count(*))",
        "select ZORO from (pivot instances on PatientID using count(*))",
        "from (pivot instances on PatientID using count(*)) where ZORROO = 1",
        "select nope(COLUMNS(*)) from (pivot instances on PatientID using count(*))",
        "select foo(p) from (select PatientID::enum('a', 'b') as p from instances)",
    ],
)
def test_no_value_is_quoted(sandbox: Sandbox, query: str) -> None:
    """Not by an error of the execution, nor through names that PIVOT makes."""
    with pytest.raises(DatasetError) as caught:
        sandbox.ask(query).to_table()
    said = str(caught.value).replace("ZORROO", "").replace("ZORO", "")  # as the query has it
    assert not [value for value in VALUES if value in said], said
    assert "\n" not in said and caught.value.__cause__ is None and caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("selec 1", 'syntax error at or near "selec"'),
        ("select Modalty from instances", 'column "Modalty" not found in FROM clause! Candidate bindings: "Modality"'),
        ("from instence", "Table with name instence does not exist!"),
        ("from series", "this dataset has no table series yet; the next `dicomflow extract`"),
        ('from "Patients"', "this dataset has no table patients yet"),
        ("select nope(Modality) from instances", "Scalar Function with name nope does not exist"),
        ("select * from (pivot instances on Modality using count(*)) where Nope = 1", '"Nope" not found'),
        ("from '/etc/x.parquet'", 'Cannot access file "/etc/x.parquet"'),
        ("select PatientID::int from instances", "TRY_CAST"),
        ("copy instances to 'x'", "a dataset is only read: give one query"),
        ("from read_text('x')", "read_text() is not for queries of a dataset"),
    ],
)
def test_what_is_wrong_is_said(sandbox: Sandbox, query: str, said: str) -> None:
    """In DuckDB's words where they are of the query."""
    with pytest.raises(DatasetError) as caught:
        sandbox.ask(query).to_table()
    assert said in str(caught.value)


def test_strange_texts() -> None:
    """Whatever the text is, it becomes an error without it."""
    for text in ("", "ZORRO", "Error: ZORRO", "Some New Error: ZORRO", "\n", "x" * 10_000):
        assert "ZORRO" not in str(explain(text, "select 1")) and len(str(explain(text, ""))) < 600
    assert len(str(explain("Binder Error: " + "x" * 10_000, ""))) < 600
