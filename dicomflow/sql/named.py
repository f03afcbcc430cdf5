"""The ready-made queries of the package: SQL that can be read, copied and changed.

In: a name.  Out: its text.  Knows no dataset.

Each is a file of ``dicomflow/queries``, whose first line is a comment that says what it answers; the second names the columns of
``instances`` that it needs, also those that only rollups are made from: without them it would find nothing, and not say why.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files

from dicomflow.errors import ConfigError

_COMMENT = "-- "
_NEEDS = "-- needs: "
_SUFFIX = ".sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedQuery:
    """A query of the package.

    Attributes:
        name: such as ``scanner-fleet``.
        description: what it answers, in one line.
        needs: columns of ``instances`` without which it means nothing.
        sql: its text, comments included.
    """

    name: str
    description: str
    needs: tuple[str, ...]
    sql: str


@cache
def list_queries() -> tuple[NamedQuery, ...]:
    """All of them, by name.

    >>> "scanner-fleet" in [query.name for query in list_queries()]
    True
    """
    folder = files("dicomflow") / "queries"
    found = [(file.name, file.read_text("utf-8")) for file in folder.iterdir() if file.name.endswith(_SUFFIX)]
    return tuple(_parse(name.removesuffix(_SUFFIX), text) for name, text in sorted(found))


def find_query(name: str) -> NamedQuery:
    """The query of that name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    known = {query.name: query for query in list_queries()}
    if name in known:
        return known[name]
    near = get_close_matches(name[:64], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise ConfigError(f"no ready-made query is called {name[:64]!r}; {hint}")


def _parse(name: str, text: str) -> NamedQuery:
    first, second, _ = text.split("\n", 2)
    needs = tuple(second.removeprefix(_NEEDS).split(", "))
    return NamedQuery(name=name, description=first.removeprefix(_COMMENT).strip(), needs=needs, sql=text)
