"""Does a query only read?

In: a query, and a way to ask DuckDB's own parser about it.  Out: nothing, or one clear error.  Pure but for the parser.

The type of a statement is not enough: ``with t as (copy ... to 'file') from t`` is a SELECT to DuckDB, and a PIVOT that finds
its columns in the data is several statements in one.  So the syntax tree is looked through, and what is not known to read is
refused; where there is no tree (PIVOT), the words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

from dicomflow.errors import DatasetError

MAX_LENGTH = 1 << 20
"""Characters of a query."""

_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""Nodes of queries that read; INSERT_QUERY_NODE, COPY_QUERY_NODE and others to come do not."""

_TABLE_FUNCTIONS = frozenset({"generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"})
"""Functions in FROM that make rows of their arguments.  All others read files, settings or raw memory, or run text as SQL."""

_CLAUSES = ("where_clause", "having", "qualify", "modifiers", "group_expressions", "sample")
"""Parts of a SELECT_NODE that a condition has not."""

_STATEMENTS = (
    "alter analyze attach begin call checkpoint comment commit copy create deallocate delete detach drop execute export "
    "force import insert install load merge pragma prepare reset rollback set transaction truncate update use vacuum"
)
_WRITING = frozenset(_STATEMENTS.split())
"""Words with which statements begin that do more than read."""

_ONLY_READ = "a dataset is only read: give one query, such as SELECT ... FROM instances"


class Parsed(NamedTuple):
    """What DuckDB's parser says of a text.

    Attributes:
        kinds: type of each statement in it, such as ``SELECT``.
        words: what stands in it between spaces and punctuation, quotes removed; no text literals, no comments.
        tree: ``json_serialize_sql``.
        functions: all table functions that there are.
        tables: names of the tables that the query is given, in lower case.
    """

    kinds: list[str]
    words: Callable[[], Iterable[str]]
    tree: Callable[[], str]
    functions: Callable[[], Iterable[str]]
    tables: frozenset[str] = frozenset()


def check_length(query: str) -> None:
    """Refuse what is too long to look through, and what is no text.

    Raises:
        DatasetError: it is.
    """
    if len(query) > MAX_LENGTH:
        raise DatasetError(f"the query has {len(query):,} characters; at most {MAX_LENGTH:,} are read")
    if "\0" in query:
        raise DatasetError("the query holds a NUL character")


def check_reads_only(parsed: Parsed) -> frozenset[str] | None:
    """Refuse what is not one query that reads, from the tables that it is given.

    Returns:
        Those of the tables that it names; None where that cannot be told, or where it asks what tables there are, which it
        also does where it names another one: what was meant is to be found.

    Raises:
        DatasetError: it is not.
    """
    if parsed.kinds == ["SELECT"]:
        return _check_tree(parsed.tree(), parsed.tables)
    if parsed.kinds != ["MULTI"]:
        raise DatasetError(_ONLY_READ)
    _check_words(parsed.words(), parsed.functions())
    return None


def check_condition(tree: str, volatile: Collection[str] = ()) -> None:
    """Refuse what is not one expression: it is to stand in brackets behind WHERE, and must not end them.

    Rows are read more than once: what does not pick the same ones each time is refused, too.

    Args:
        tree: ``json_serialize_sql`` of ``select (CONDITION)``.
        volatile: names of functions that give another answer each time.

    Raises:
        DatasetError: it is not.
    """
    found = _load_tree(tree)
    (statement, *others) = found.get("statements") or [{}]
    node = statement.get("node") or {}
    alone = (
        not others
        and node.get("type") == "SELECT_NODE"
        and len(node.get("select_list", ())) == 1
        and (node.get("from_table") or {}).get("type") == "EMPTY"
        and not any(node.get(part) for part in _CLAUSES)
    )
    if found.get("error") is not False or not alone or node["select_list"][0].get("type") == "STAR":
        raise DatasetError(
            "where: give one condition of SQL, such as Modality = 'CT' and StudyDate >= date '2024-01-01'"
        )
    for one in _walk(node):
        name = str(one.get("function_name", "")).lower()
        if name in volatile or one.get("sample"):
            raise DatasetError(
                f"where: {f'{name}()' if name in volatile else 'a sample'} picks other rows each time it is asked; "
                "hash(SOPInstanceUID) % 10 = 0 picks a tenth, always the same"
            )


def _load_tree(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise DatasetError("the query is too deeply nested to be looked through") from None


def _check_tree(text: str, tables: frozenset[str]) -> frozenset[str] | None:
    tree = _load_tree(text)
    if tree.get("error") is not False or len(tree["statements"]) != 1:
        raise DatasetError(_ONLY_READ)
    nodes = list(_walk(tree))
    for node in nodes:
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _NODES:
            raise DatasetError(_ONLY_READ)
        if kind == "TABLE_FUNCTION":
            _check_function(str(node["function"].get("function_name", "")))
    return _find_tables(nodes, tables)


def _find_tables(nodes: Iterable[dict[str, Any]], tables: frozenset[str]) -> frozenset[str] | None:
    """Those that are named; a CTE may hide one of them, and be made of it."""
    named: set[str] = set()
    of_its_own: set[str] = set()
    for node in nodes:
        if node.get("type") == "SHOW_REF":
            return None
        if node.get("type") == "BASE_TABLE":
            named.add(str(node.get("table_name", "")).lower())
        for entry in (node.get("cte_map") or {}).get("map", ()):
            of_its_own.add(str(entry["key"]).lower())
    return tables & named if named <= tables | of_its_own else None


def _walk(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object in it, without recursion."""
    left = [tree]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)


def _check_function(name: str) -> None:
    if name.lower() not in _TABLE_FUNCTIONS:
        raise DatasetError(f"{name[:64]}() is not for queries of a dataset: they see its tables, and nothing else")


def _check_words(words: Iterable[str], functions: Iterable[str]) -> None:
    forbidden = {name.lower() for name in functions} - _TABLE_FUNCTIONS
    for word in words:
        if word in _WRITING:
            raise DatasetError(_ONLY_READ)
        if word in forbidden:
            _check_function(word)
