"""DuckDB in bounded memory, for questions about the parts of a dataset.

In: paths of parts, rows, SQL.  Out: tables, rows.  Knows no layout and no question.
"""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from dicomflow.dataset.rows import Rows
from dicomflow.errors import DatasetError

if TYPE_CHECKING:
    import duckdb

_BATCH_ROWS = 1 << 16

_OWN = "duckdb"
"""A folder of DuckDB's own: not all of its versions leave alone, at their end, what others put into a folder that they made."""

_INTERRUPTED = "Query interrupted"

_TELLING = ("IO Error: ", "Out of Memory Error: ")
"""Begin of what is said of the machine, not of the data."""


class Engine:
    """DuckDB in bounded memory, for one question."""

    def __init__(self, spill: Path, memory: int) -> None:
        self._spill = spill
        self._memory = memory

    def __enter__(self) -> Self:
        import duckdb  # 0.1 s that a run without repeated keys never needs

        self._error = duckdb.Error
        with contextlib.suppress(OSError):  # DuckDB says so, if it needs it
            self._spill.mkdir(parents=True, exist_ok=True)
        config = {
            "temp_directory": str(self._spill / _OWN),
            "memory_limit": f"{self._memory}B",
            "preserve_insertion_order": "false",
        }
        self._connection: duckdb.DuckDBPyConnection = duckdb.connect(config=config)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def view(self, name: str, parts: Sequence[Path], condition: str) -> None:
        """Name ledger parts."""
        self.run(
            f"create temp view {name} as from read_parquet([{_quote(parts)}], filename = 'part', hive_partitioning = false)"
            + condition
        )

    def register(self, name: str, rows: pa.Table) -> None:
        """Name a table in memory."""
        self._connection.register(name, rows)

    def register_rows(self, name: str, rows: Rows) -> None:
        """Name rows, wherever they are."""
        if parts := rows.parts():
            self.run(f"create temp view {name} as from read_parquet([{_quote(parts)}], hive_partitioning = false)")
        else:
            self.register(name, rows.whole())

    def run(self, script: str) -> None:
        """Run statements."""
        with self._explained():
            self._connection.execute(script)

    def ask(self, query: str, arguments: list[object] | None = None) -> pa.Table:
        """The answer to a query."""
        with self._explained():
            answer: pa.Table = self._connection.sql(query, params=arguments or []).to_arrow_table()
        return answer

    def ask_rows(self, query: str, rows: Rows, arguments: list[object] | None = None) -> Rows:
        """Add the answer to a query, as it comes."""
        with self._explained(pa.ArrowException, OSError):  # what DuckDB says through Arrow
            relation = self._connection.sql(query, params=arguments or [])
            for batch in relation.to_arrow_reader(_BATCH_ROWS):
                rows.add(pa.Table.from_batches([batch]))
        return rows

    @contextlib.contextmanager
    def _explained(self, *others: type[Exception]) -> Iterator[None]:
        """Ctrl-C is what it is: DuckDB, which looks for signals while it works, makes a RuntimeError of it."""
        try:
            yield
        except (self._error, *others) as error:
            raise self._fault(error) from None
        except RuntimeError as error:
            if _INTERRUPTED in str(error):
                raise KeyboardInterrupt from None
            raise

    def _fault(self, error: Exception) -> DatasetError:
        kind, text = type(error).__name__, str(error)  # which may quote a value
        is_telling = kind in ("IOException", "OutOfMemoryException") or text.startswith(_TELLING)
        detail = f": {text.splitlines()[0]}" if is_telling else ""
        return DatasetError(f"{self._spill.parent}: the ledger cannot be searched: {kind}{detail}")


def escape_paths(parts: Iterable[Path]) -> list[str]:
    """As DuckDB takes them: their names may hold what it takes for patterns."""
    return [glob.escape(str(part)) for part in parts]


def _quote(parts: Iterable[Path]) -> str:
    return ", ".join("'" + path.replace("'", "''") + "'" for path in escape_paths(parts))
