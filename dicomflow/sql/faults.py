"""What DuckDB says of a query that failed, in one line that quotes no value of the data.

In: the text of an error, the query.  Out: a DatasetError.  Pure; knows DuckDB's wording, no DuckDB.

Errors of the parser and of the binder speak of the query and of the names of columns alone; those of the execution may quote
what stands in the data, so of these only the kind is said.  PIVOT makes names of columns out of values.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from dicomflow.errors import DatasetError

_ABOUT_THE_QUERY = frozenset({"Parser", "Binder", "Catalog", "Syntax", "Permission"})

_HINTS = {
    "Conversion": "a value does not fit the type that it is cast to; TRY_CAST gives null for it",
    "Out of Range": "a number does not fit its type; cast to a wider one, such as DOUBLE or HUGEINT",
    "Invalid Input": "a value, or a part of the dataset, is not what a function expects; `dicomflow verify` looks at the parts",
    "Out of Memory": "it does not fit into the memory and disk space that it may take; give it more memory",
    "IO": "a part of the dataset cannot be read; if a run is publishing, try again",
    "INTERRUPT": "it was stopped",
}

_KIND = re.compile(r"\A([A-Za-z][A-Za-z ]{1,40}?) Error: ?")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_NO_TABLE = re.compile(r"\ATable with name \"?(\w{1,64})\"? does not exist")
_CANDIDATES = re.compile(r"\A(Candidate bindings: |Did you mean )")
_MAX = 500


def explain(text: str, query: str, *, names: Collection[str] = (), from_data: bool = False) -> DatasetError:
    """The error to raise.

    Args:
        text: DuckDB's.
        query: as it was asked.
        names: of tables and columns, which may be said.
        from_data: names of columns may have been made out of values (PIVOT): of these nothing is said.

    >>> print(explain("Conversion Error: Could not convert string 'Doe^J' to INT32", "select ..."))
    the query failed: a value does not fit the type that it is cast to; TRY_CAST gives null for it
    """
    found = _KIND.match(text)
    kind = found[1] if found else ""
    if not found or kind not in _ABOUT_THE_QUERY:
        return DatasetError(f"the query failed: {_HINTS.get(kind, (kind or 'unknown') + ' error')}")
    said = _first_lines(text[found.end() :])
    if from_data:
        said = _hide(said.partition(" Candidate bindings")[0], query, names)
    missing = _NO_TABLE.match(said)
    if missing and missing[1].lower() in ROLLUPS:
        return DatasetError(missing_table(missing[1].lower()))
    return DatasetError(f"the query failed: {said[:_MAX]}")


ROLLUPS = ("series", "studies", "patients")
"""Tables that a dataset of an earlier version has not."""


def missing_table(name: str) -> str:
    """What to do about it."""
    return f"this dataset has no table {name} yet; the next `dicomflow extract` that changes something makes it"


def _first_lines(text: str) -> str:
    """What is wrong, and what was perhaps meant; not the query again, with a caret under it."""
    first, *others = text.splitlines() or [""]
    return " ".join([first.strip(), *(line.strip() for line in others[:3] if _CANDIDATES.match(line.strip()))])


def _hide(text: str, query: str, names: Collection[str]) -> str:
    known = {name.lower() for name in names}

    def keep(found: re.Match[str]) -> str:
        inner = found[0][1:-1].lower()
        return found[0] if inner in known or inner in query.lower() else "..."

    return _QUOTED.sub(keep, text)
