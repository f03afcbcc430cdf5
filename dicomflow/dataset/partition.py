"""Split rows by the values of some columns: Hive partitions, in bounded memory.

In: rows, what to split by.  Out: rows of one partition at a time, with the name of its folder.  Knows no paths and no Parquet.

All columns stay in the rows; a folder's key has a name of its own, so no reader finds one name with two types.  Missing values
have a word of their own, and not Hive's ``__HIVE_DEFAULT_PARTITION__``: Arrow, and with it pandas and Dask, cannot read that.

Some file systems take ``CT`` and ``ct`` for one name (macOS, Windows shares), and a dataset may be copied to one.  So no two
values have folders that differ only by case: behind a value with small letters stands which of its letters are small.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from dicomflow.dataset.layout import PARTITION_PREFIX, partition_of
from dicomflow.dataset.order import sort_keys, sort_rows
from dicomflow.errors import ConfigError, DatasetError

MISSING = "__missing__"
MISSING_YEAR = "0"  # a number like the others, and the year of no date

_RESERVED = (MISSING, "__hive_default_partition__")  # in small letters
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")
_KEY = "SOPInstanceUID"
_YEAR = ".year"
_KEPT_BYTES = 64
_PARTITION_ROWS = 1 << 16
_TOTAL_ROWS = 1 << 18


@dataclass(frozen=True, slots=True)
class PartitionKey:
    """A column, or the year of one."""

    column: str
    is_year: bool

    @property
    def name(self) -> str:
        """As the configuration has it.

        >>> PartitionKey("StudyDate", True).name
        'StudyDate.year'
        """
        return f"{self.column}{_YEAR if self.is_year else ''}"

    @property
    def folder_key(self) -> str:
        """Key of the folders.

        >>> PartitionKey("StudyDate", True).folder_key
        'by_StudyDate_year'
        """
        return f"{PARTITION_PREFIX}{self.column}{'_year' if self.is_year else ''}"

    def name_folder(self, value: object) -> str:
        """The folder of a value.

        >>> PartitionKey("Modality", False).name_folder("CT")
        'by_Modality=CT'
        """
        if self.is_year:
            return f"{self.folder_key}={MISSING_YEAR if value is None else value}"
        return f"{self.folder_key}={MISSING if value in (None, '') else encode_value(str(value))}"


def encode_value(text: str) -> str:
    """A value as part of a folder's name: ASCII, at most 81 characters, and different for different values, also without case.

    What looks like a whole number is marked, because Dask decides for each file anew whether a key is a number.  Small letters
    are marked by their places, as bits of a hexadecimal number: a file system may take two names for one that differ by case.

    >>> encode_value("CT"), encode_value("A/B Ü"), encode_value("X.PARQUET"), encode_value("0012")
    ('CT', 'A%2FB%20%C3%9C', 'X.PARQUET', '0012~')
    >>> encode_value("ct"), encode_value("Ct"), encode_value("x.parquet")
    ('ct~3', 'Ct~2', 'x%2Eparquet~1fd')
    """
    encoded = _encode(text)
    if len(encoded) > _KEPT_BYTES or text.lower() in _RESERVED:
        digest = xxhash.xxh3_64_hexdigest(text.encode(errors="surrogatepass"))
        return f"{_cut(text)}~{digest}"
    small = sum(1 << place for place, character in enumerate(text) if "a" <= character <= "z")
    if small:
        return f"{encoded}~{small:x}"
    return f"{encoded}~" if _WHOLE_NUMBER.fullmatch(text) else encoded


def _encode(text: str) -> str:
    return quote(text, safe="", errors="replace").replace("~", "%7E").replace(".parquet", "%2Eparquet")


def _cut(text: str) -> str:
    """As many whole characters as there is room for."""
    size = 0
    for count, character in enumerate(text):
        size += len(_encode(character))
        if size > _KEPT_BYTES - len("%2E"):
            return _encode(text[:count])
    return _encode(text)


@dataclass(frozen=True, slots=True)
class Partitioning:
    """What ``instances`` is split by."""

    keys: tuple[PartitionKey, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str], schema: pa.Schema) -> Self:
        """Check what the configuration names against the columns.

        Raises:
            ConfigError: there is no such column, or it cannot be split by.
        """
        return cls(tuple(_make_key(name, schema) for name in names))

    def fits(self, name: str) -> bool:
        """Whether a part of this name lies where these keys want it."""
        folders = partition_of(name).split("/") if "/" in name else []
        return [folder.partition("=")[0] for folder in folders] == [key.folder_key for key in self.keys]

    def split(self, rows: pa.Table, most: int) -> list[tuple[str, pa.Table]]:
        """Rows by folder, their order kept.

        Raises:
            DatasetError: there are more than ``most`` folders.
        """
        codes = np.zeros(rows.num_rows, np.int64)
        folders = [""]
        values: dict[str, int] = {}
        for key in self.keys:
            own, names = _code_values(rows, key, most)
            values[key.name] = len(names)
            pairs, codes = np.unique(codes * len(names) + own, return_inverse=True)
            check_count(len(pairs), most, values)
            folders = [f"{folders[pair // len(names)]}/{names[pair % len(names)]}" for pair in pairs.tolist()]
        order = np.argsort(codes, kind="stable")
        pieces = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []
        return [(folders[codes[piece[0]]].lstrip("/"), rows.take(pa.array(piece))) for piece in pieces]


def check_folders(folders: Collection[str], most: int) -> None:
    """Refuse too many partitions.

    Raises:
        DatasetError: there are more folders than ``most``.
    """
    if len(folders) > most:
        check_count(len(folders), most, count_values(folders))


def check_count(count: int, most: int, values: Mapping[str, int]) -> None:
    """Refuse too many partitions, and name the column that they come from; never one of its values.

    Args:
        count: of the partitions so far.
        most: that there may be.
        values: column -> how many different values it has so far.

    Raises:
        DatasetError: in one line, with what to do.
    """
    if count > most:
        column = max(values, key=values.__getitem__)
        raise DatasetError(
            f"dataset.partition_by gives more than {most:,} partitions: {column} has {values[column]:,} values or more; nothing "
            "was published, and what was read is kept: split by columns with fewer values, or raise dataset.max_partitions, and "
            "run again"
        )


def count_values(folders: Iterable[str]) -> dict[str, int]:
    """How many different values each key has among these folders.

    >>> count_values(["by_Modality=CT/by_StudyDate_year=2026", "by_Modality=MR/by_StudyDate_year=2026"])
    {'Modality': 2, 'StudyDate_year': 1}
    """
    found: dict[str, set[str]] = {}
    for folder in folders:
        for level in folder.split("/") if folder else ():
            key, _, value = level.partition("=")
            found.setdefault(key.removeprefix(PARTITION_PREFIX), set()).add(value)
    return {key: len(values) for key, values in found.items()}


def _make_key(name: str, schema: pa.Schema) -> PartitionKey:
    column = name.removesuffix(_YEAR)
    if column not in schema.names:
        raise ConfigError(f"dataset.partition_by: {column!r} is no column of this profile")
    if column == _KEY:
        raise ConfigError(
            f"dataset.partition_by: {column!r} is another one in each row; split by a column with few values"
        )
    kind = schema.field(column).type
    if column != name:
        if not pa.types.is_date(kind) and not pa.types.is_timestamp(kind):
            raise ConfigError(f"dataset.partition_by: {column!r} is no date, so it has no year")
        return PartitionKey(column, is_year=True)
    if not pa.types.is_string(kind) and not pa.types.is_integer(kind):
        is_date = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
        hint = f"; its year can be: {column}{_YEAR}" if is_date else ""
        raise ConfigError(f"dataset.partition_by: {column!r} cannot be split by, only text and whole numbers can{hint}")
    return PartitionKey(column, is_year=False)


def _code_values(rows: pa.Table, key: PartitionKey, most: int) -> tuple[np.ndarray, list[str]]:
    """A number for each row's value, and the folders by number."""
    values = _as_plain(rows.select([key.column]))[key.column].combine_chunks()
    coded = (pc.year(values) if key.is_year else values).dictionary_encode()
    check_count(len(coded.dictionary), most, {key.name: len(coded.dictionary)})
    names = [key.name_folder(value) for value in [*coded.dictionary.to_pylist(), None]]
    distinct = {name: place for place, name in enumerate(dict.fromkeys(names))}
    at = np.array([distinct[name] for name in names], np.int64)
    numbers = coded.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)
    return at[numbers], list(distinct)


def _as_plain(rows: pa.Table) -> pa.Table:
    """Dictionary-encoded text as text: a few rows must not keep the dictionary of many."""
    for index, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            rows = rows.set_column(index, field.name, rows.column(index).cast(field.type.value_type))
    return rows


class PartitionBuffer:
    """Gathers rows by partition over a whole commit, and hands on those of one partition, sorted, when there are enough.

    Args:
        partitioning: what rows are split by.
        most: how many partitions there may be.
        max_bytes: memory of the rows that wait.
        write: takes the rows of a new part, and the folder it goes into.
    """

    def __init__(
        self, partitioning: Partitioning, most: int, max_bytes: int, write: Callable[[pa.Table, str], None]
    ) -> None:
        self._partitioning = partitioning
        self._most = most
        self._max_bytes = max_bytes
        self._write = write
        self._waiting: dict[str, list[pa.Table]] = {}
        self._rows: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        self._total_rows = self._total_bytes = 0
        self._seen: set[str] = set()

    def add(self, rows: pa.Table) -> None:
        """Take more rows.

        Raises:
            DatasetError: there are too many partitions, or the disk is full.
        """
        for folder, piece in self._partitioning.split(rows, self._most):
            self._seen.add(folder)
            check_folders(self._seen, self._most)
            self._keep(folder, _as_plain(piece))
            if self._rows[folder] > _PARTITION_ROWS:
                self._flush(folder)
        if self._total_rows > _TOTAL_ROWS or self._total_bytes > self._max_bytes:
            self.flush()

    def _keep(self, folder: str, piece: pa.Table) -> None:
        size = piece.nbytes
        self._waiting.setdefault(folder, []).append(piece)
        self._rows[folder] = self._rows.get(folder, 0) + piece.num_rows
        self._bytes[folder] = self._bytes.get(folder, 0) + size
        self._total_rows += piece.num_rows
        self._total_bytes += size

    def flush(self) -> None:
        """Hand on all that waits."""
        for folder in sorted(self._waiting):
            self._flush(folder)

    def _flush(self, folder: str) -> None:
        pieces = self._waiting.pop(folder)
        self._total_rows -= self._rows.pop(folder)
        self._total_bytes -= self._bytes.pop(folder)
        self._write(sort_rows(pieces, sort_keys("instances", pieces[0].schema)), folder)
