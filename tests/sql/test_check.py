"""Only what is known to read comes through."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dicomflow.errors import DatasetError
from dicomflow.sql.check import MAX_LENGTH, Parsed, check_length, check_reads_only


def parsed(kinds: list[str], tree: Any = None, words: list[str] | None = None) -> Parsed:
    return Parsed(
        kinds,
        lambda: words or [],
        lambda: tree if isinstance(tree, str) else json.dumps(tree),
        lambda: ["range", "read_csv", "Query"],
    )


def select(*inner: object) -> dict[str, Any]:
    return {"error": False, "statements": [{"node": {"type": "SELECT_NODE", "inner": list(inner)}}]}


def function(name: str) -> dict[str, Any]:
    return {"type": "TABLE_FUNCTION", "function": {"type": "FUNCTION", "function_name": name}}


def test_what_reads() -> None:
    """Trees of known nodes; words of which none writes."""
    check_reads_only(parsed(["SELECT"], select()))
    check_reads_only(parsed(["SELECT"], select({"type": "SET_OPERATION_NODE"}, function("range"), function("UNNEST"))))
    check_reads_only(parsed(["MULTI"], words=["pivot", "instances", "on", "x", "range"]))


@pytest.mark.parametrize(
    "found",
    [
        parsed([]),
        parsed(["COPY"]),
        parsed(["SELECT", "SELECT"], select()),
        parsed(["SELECT"], {"error": True, "error_message": "no"}),
        parsed(["SELECT"], {"error": False, "statements": []}),
        parsed(["SELECT"], {"error": False, "statements": [{}, {}]}),
        parsed(["SELECT"], {"statements": [{}]}),
        parsed(["SELECT"], "no JSON"),
        parsed(["SELECT"], "[" * 100_000),
        parsed(["SELECT"], select({"type": "COPY_QUERY_NODE"})),
        parsed(["SELECT"], select([[{"a": {"type": "SOME_NEW_NODE"}}]])),
        parsed(["SELECT"], select(function("read_csv"))),
        parsed(["SELECT"], select(function("some_new_function"))),
        parsed(["SELECT"], select(function(""))),
        parsed(["MULTI"], words=["pivot", "copy"]),
        parsed(["MULTI"], words=["pivot", "read_csv"]),
        parsed(["MULTI"], words=["pivot", "query"]),
    ],
)
def test_what_does_not(found: Parsed) -> None:
    """Also what nobody knows yet."""
    with pytest.raises(DatasetError):
        check_reads_only(found)


def test_length() -> None:
    """A query has a size that can be looked through."""
    check_length("x" * MAX_LENGTH)
    with pytest.raises(DatasetError, match="at most"):
        check_length("x" * (MAX_LENGTH + 1))
    with pytest.raises(DatasetError, match="NUL"):
        check_length("\0")


def table(name: str) -> dict[str, Any]:
    return {"type": "BASE_TABLE", "table_name": name}


def ctes(*names: str) -> dict[str, Any]:
    return {"type": "SELECT_NODE", "cte_map": {"map": [{"key": name, "value": {}} for name in names]}}


@pytest.mark.parametrize(
    ("inner", "found"),
    [
        ([], set()),
        ([table("Instances")], {"instances"}),
        ([table("instances"), ctes("files"), table("FILES")], {"instances", "files"}),  # it may be made of files
        ([table("t"), ctes("T", "u"), table("files")], {"files"}),
        ([table("instancs")], None),  # what was meant?
        ([table("tables")], None),
        ([table("instances"), {"type": "SHOW_REF"}], None),
    ],
)
def test_tables_that_are_named(inner: list[Any], found: set[str] | None) -> None:
    """Also in another spelling; any, where it is not clear which."""
    asked = parsed(["SELECT"], select(*inner))._replace(tables=frozenset({"instances", "files", "series"}))
    assert check_reads_only(asked) == found
    assert check_reads_only(parsed(["MULTI"], words=["pivot", "instances"])) is None
