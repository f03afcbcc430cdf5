"""DuckDB that sees some Parquet files by name, and nothing else: it reads only, in bounded memory.

In: files by the name of a view, queries.  Out: record batches, as they are made.  One of the doors to DuckDB.

What a query cannot do, and why:

    reach other files, the network     ``enable_external_access = false``, ``allowed_paths`` names each part; no extension is
                                       installed or loaded
    write, also where it may read      ``check`` lets through only what is known to read
    go on for ever                     ``Limits.seconds``
    change that                        ``lock_configuration = true``
    see variables of this process      ``python_enable_replacements = false``
    take all memory, fill the disk     ``memory_limit``, ``max_temp_directory_size``; what does not fit is spilled into a private
                                       folder, which is removed at the end; one giant value is not counted (see ``Limits``)
"""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import duckdb
import pyarrow as pa

from dicomflow.errors import DatasetError, describe
from dicomflow.sql.check import Parsed, check_condition, check_length, check_reads_only
from dicomflow.sql.faults import explain
from dicomflow.sql.interrupt import Interruptible

GIB = 1 << 30

MIN_MEMORY = 128 << 20
"""Bytes; with less, DuckDB cannot hold the pages that it reads."""

BATCH_ROWS = 16_384

NO_MEMORY = (
    "the query failed: a value, or a batch of rows, is too large for the memory that it may take; give it more memory"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a query may take.

    Attributes:
        memory: bytes for DuckDB's own work on rows; on top come a batch of rows or two, and single values that a query itself
            makes gigabytes large (``repeat``, ``range``), which DuckDB does not count.
        threads: all cores if None.
        spill: bytes on the disk for what does not fit into memory.
        seconds: from the question to its last row; None for any.
    """

    memory: int = GIB
    threads: int | None = None
    spill: int = 64 * GIB
    seconds: float | None = None


class Sandbox:
    """A connection for the time of a ``with`` block.

    Args:
        views: files by the name under which queries see them.
        root: folder that none of these files may leave, not by a symbolic link either.
        limits: what a query may take.

    >>> with Sandbox({}) as sandbox:
    ...     sandbox.ask("select 6 * 7 as n").to_table().to_pylist()
    [{'n': 42}]
    """

    def __init__(
        self, views: Mapping[str, Sequence[Path]], root: Path | None = None, limits: Limits | None = None
    ) -> None:
        self._views = {name: [str(part) for part in parts] for name, parts in views.items()}
        self._root = root
        self._limits = limits or Limits()
        self._unmade = dict(self._views)

    def __enter__(self) -> Self:
        for parts in self._views.values():
            check_inside(self._root, parts)
        try:
            self._spill = tempfile.mkdtemp(prefix="dicomflow-query-")  # readable by us alone
        except OSError as error:
            raise DatasetError(f"no folder for temporary files: {describe(error)}; set TMPDIR") from None
        try:
            self._connection = duckdb.connect(config=self._config())
            self._waiting = Interruptible(self._connection.interrupt)
            self._silence()
            self._lock()
        except duckdb.Error as error:
            self.__exit__()
            raise explain(str(error), "") from None
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_waiting"):
            self._waiting.close()
            self._connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def ask(self, query: str) -> Answer:
        """The answer to a stranger's query, which has not been computed yet.

        Raises:
            DatasetError: it does not read only, or DuckDB refuses it.
        """
        query = query.strip()
        check_length(query)
        try:
            statements = self._connection.extract_statements(query)
            kinds = [statement.type.name for statement in statements]
        except duckdb.Error as error:
            raise explain(str(error), query) from None
        except ValueError:  # a kind of statement that the Python module has no name for
            kinds = []
        parsed = Parsed(
            kinds,
            lambda: _split_words(query),
            lambda: self._one("select json_serialize_sql($1)", [query]),
            lambda: self._one(
                "select list(distinct function_name) from duckdb_functions() where function_type like 'table%'"
            ),
            frozenset(map(str.lower, self._views)),
        )
        self._make_views(check_reads_only(parsed))
        return self._answer(_cut_end(query), from_data=kinds == ["MULTI"], seconds=self._limits.seconds)

    def ask_where(self, table: str, columns: Sequence[str], condition: str) -> Answer:
        """Columns of those rows of a table for which a stranger's condition holds, in the order of the table.

        Raises:
            DatasetError: it is not one condition, does not read only, or DuckDB refuses it.
        """
        check_length(condition)
        check_condition(
            self._one("select json_serialize_sql($1)", [f"select (\n{condition}\n)"]),
            self._one("select list(distinct function_name) from duckdb_functions() where stability = 'VOLATILE'"),
        )
        names = ", ".join(map(quote_name, columns))
        return self.ask(f"select {names} from {quote_name(table)} where (\n{condition}\n)")

    def run(self, script: str) -> None:
        """Run statements of our own, such as those that make a temporary table.

        Raises:
            DatasetError: they fail.
        """
        self._make_views()
        try:
            self._waiting.call(self._connection.execute, script)
        except duckdb.Error as error:
            raise explain(str(error), script) from None

    def run_query(self, query: str) -> Answer:
        """The answer to a query of our own, which is not looked through.

        Raises:
            DatasetError: DuckDB refuses it.
        """
        self._make_views()
        return self._answer(query, from_data=False)

    def _answer(self, query: str, *, from_data: bool, seconds: float | None = None) -> Answer:
        sayable = _Sayable(self._list_names() if from_data else frozenset(), from_data)
        return Answer(self._connection, self._waiting, query, sayable, seconds)

    def _list_names(self) -> frozenset[str]:
        """Of tables and columns."""
        found = self._one("select list(distinct column_name) from duckdb_columns() where not internal")
        return frozenset((*self._views, *(found or ())))

    def _one(self, query: str, arguments: list[object] | None = None) -> Any:
        try:
            ((value,),) = self._connection.execute(query, arguments or []).fetchall()
        except duckdb.Error as error:
            raise explain(str(error), query) from None
        return value

    def _config(self) -> dict[str, str | int]:
        config: dict[str, str | int] = {
            "temp_directory": self._spill,
            "max_temp_directory_size": f"{self._limits.spill}B",
            "memory_limit": f"{self._limits.memory}B",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
        }
        return config if self._limits.threads is None else {**config, "threads": self._limits.threads}

    def _silence(self) -> None:
        """No progress bar among the rows.  A notebook without ipywidgets has none, and no setting of it may be touched there."""
        ((is_on,),) = self._connection.execute("select current_setting('enable_progress_bar')").fetchall()
        if is_on:
            self._connection.execute("set enable_progress_bar = false")

    def _make_views(self, names: frozenset[str] | None = None) -> None:
        """Views of these names (in lower case), all if None, unless they are there: each one opens a part for its columns.

        The parts are named one by one, with what DuckDB takes for patterns escaped.
        """
        for name in [name for name in self._unmade if names is None or name.lower() in names]:
            parts = quote_all(map(glob.escape, self._unmade[name]))
            found = f"read_parquet({parts}, hive_partitioning = false)"
            try:
                self._connection.execute(f"create view {quote_name(name)} as from {found}")
            except duckdb.Error as error:
                raise explain(str(error), "") from None
            del self._unmade[name]

    def _lock(self) -> None:
        paths = [path for parts in self._views.values() for path in parts]
        allowed = {name for path in paths for name in (path, glob.escape(path))}
        for setting in (
            f"allowed_paths = {quote_all(sorted(allowed))}",
            "enable_external_access = false",
            "python_enable_replacements = false",
            "lock_configuration = true",
        ):
            self._connection.execute(f"set {setting}")


class _Sayable(NamedTuple):
    """What an error may say: names of tables and columns; whether some of a query may have been made out of values."""

    names: frozenset[str]
    from_data: bool


class Answer:
    """What a query gives: its columns now, its rows when they are asked for, once.

    Attributes:
        columns: names and DuckDB's types.
        rows: how many were given so far.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        waiting: Interruptible,
        query: str,
        sayable: _Sayable,
        seconds: float | None = None,
    ) -> None:
        self._connection, self._waiting, self._query, self._sayable = connection, waiting, query, sayable
        self._seconds = seconds
        self._until = None if seconds is None else time.monotonic() + seconds
        self._relation = self._bind(query)
        self.rows = 0
        self.columns: list[tuple[str, Any]] = list(zip(self._relation.columns, self._relation.types, strict=True))

    def batches(self, expressions: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Its rows, as DuckDB makes them.

        Args:
            expressions: what to make of the columns, which are called ``c0``, ``c1`` ... there; the columns themselves if None.
            rows: of a batch, about.

        Raises:
            DatasetError: it fails on the way.
        """
        relation = self._relation if expressions is None else self._bind(self._select(expressions))
        reader = self._call(_to_reader, relation, rows)
        while (batch := self._call(next, reader, None)) is not None:
            self.rows += batch.num_rows
            yield batch

    def schema(self, expressions: Sequence[str]) -> pa.Schema:
        """Names and Arrow types of what ``batches`` gives, without a row."""
        empty = self._bind(f"select * from ({self._select(expressions)}) limit 0")
        return self._call(empty.to_arrow_table).schema

    def to_table(self) -> pa.Table:
        """All rows at once.

        Raises:
            DatasetError: it fails on the way.
        """
        return self._call(self._relation.to_arrow_table)

    def _select(self, expressions: Sequence[str]) -> str:
        columns = ", ".join(f"c{place}" for place in range(len(self.columns)))
        return f"select {', '.join(expressions)} from (\n{self._query}\n) as q({columns})"

    def _bind(self, query: str) -> duckdb.DuckDBPyRelation:
        relation = self._call(self._connection.sql, query)
        if relation is None:
            raise DatasetError("the query gives no rows: give one query, such as SELECT ... FROM instances")
        return relation

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return self._waiting.call(function, *arguments, until=self._until)
        except TimeoutError:
            raise DatasetError(f"the query was stopped after {self._seconds:g} s; give it more time") from None
        except MemoryError:
            raise DatasetError(NO_MEMORY) from None
        except (duckdb.Error, pa.ArrowException, OSError) as error:  # OSError: what DuckDB says through Arrow
            raise explain(
                str(error), self._query, names=self._sayable.names, from_data=self._sayable.from_data
            ) from None


def _to_reader(relation: duckdb.DuckDBPyRelation, rows: int) -> Iterator[pa.RecordBatch]:
    """Streaming; of a connection's ``execute`` DuckDB would make all rows first."""
    return iter(relation.to_arrow_reader(rows))


def check_inside(root: Path | None, parts: Iterable[str | Path]) -> None:
    """A symbolic link in a folder must not lead to a file elsewhere.

    Raises:
        DatasetError: one does.
    """
    if root is None:
        return
    base = os.path.join(os.path.realpath(root), "")
    real_folder = lru_cache(maxsize=1024)(os.path.realpath)  # most parts lie in one
    for part in parts:
        folder, name = os.path.split(part)
        real = os.path.realpath(part) if os.path.islink(part) else os.path.join(real_folder(folder), name)
        if not real.startswith(base):
            raise DatasetError(f"{part}: a symbolic link leads out of the dataset; put the file itself in its place")


def _split_words(query: str) -> list[str]:
    """Keywords and identifiers in lower case, without their quotes."""
    not_words = (duckdb.token_type.string_const, duckdb.token_type.comment)
    words = (
        text.strip().strip('"').replace('""', '"').lower()
        for _, kind, text in _tokenize(query)
        if kind not in not_words
    )
    return list(words)


def _cut_end(query: str) -> str:
    """The one statement in it, without the semicolon and what follows: to stand in brackets."""
    for start, kind, text in _tokenize(query):
        if kind == duckdb.token_type.operator and text.startswith(";"):
            return query.encode()[:start].decode()
    return query


def _tokenize(query: str) -> Iterator[tuple[int, Any, str]]:
    """Where each token begins (in bytes), its kind, and its text with the spaces behind it."""
    data, tokens = query.encode(), duckdb.tokenize(query)
    ends = [start for start, _ in tokens[1:]] + [len(data)]
    for (start, kind), end in zip(tokens, ends, strict=True):
        yield start, kind, data[start:end].decode(errors="replace")


def quote_name(name: str) -> str:
    """An identifier.

    >>> print(quote_name("Image Type"))
    "Image Type"
    """
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """A text literal.

    >>> print(quote_text("it's"))
    'it''s'
    """
    return "'" + text.replace("'", "''") + "'"


def quote_all(texts: Iterable[str]) -> str:
    """A list of text literals."""
    return "[" + ", ".join(map(quote_text, texts)) + "]"
