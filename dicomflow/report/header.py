"""Read the header of one file as ``extract`` would, and keep all of it for showing.

In: a path, perhaps a member of the archive there, a profile, limits.  Out: ``HeaderReport``.
Reads only as far as the header goes, and never past the limit.
Knows both readers: the fast one gives the outcome and the row, the tree gives the elements.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dicomflow.config import HeaderConfig
from dicomflow.errors import Code, HeaderError, IssueCode, Status
from dicomflow.header.decode import decode_column_value
from dicomflow.header.element import Header, Limits
from dicomflow.header.reader import HeaderReader, raw_value
from dicomflow.header.tree import read_tree
from dicomflow.header.values import Decoded
from dicomflow.header.verdict import NEED_MORE
from dicomflow.model import Issue, Outcome
from dicomflow.schema.column import STOP_TAG, Column
from dicomflow.schema.profile import Profile

_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOCTTY", 0)  # never wait for a FIFO
_GROWTH = 4
_ARCHIVE_MAGIC = b"PK\3\4"
_NAME_A_MEMBER = "; of a ZIP archive, name a member, too"

_WITHOUT_KEY = Outcome(
    status=Status.FAILED,
    code=Code.MISSING_SOP_INSTANCE_UID,
    message="SOPInstanceUID (0008,0018) cannot be read as a UID",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderReport:
    """What one file holds.

    Attributes:
        path: as it was given; with the name of the member, where it is one.
        size: bytes of the file, or of the member.
        outcome: as the ledger would have it.
        by_pydicom: whether the fast reader left it to pydicom.
        header_bytes: where the header ends (of the inflated data set, where deflated).
        header: all elements.
        profile: the columns of ``row``.
        row: attribute column -> value as the dataset would hold it; empty where the file gives no row.
        issues: of the row.
    """

    path: str
    size: int
    outcome: Outcome
    by_pydicom: bool
    header_bytes: int
    header: Header
    profile: Profile
    row: Mapping[str, object]
    issues: tuple[Issue, ...]


def inspect_header(path: str, profile: Profile, config: HeaderConfig, member: str | None = None) -> HeaderReport:
    """Read the header of a file.

    Args:
        path: a local file.
        profile: the columns of the row.
        config: limits; ``prefix_bytes`` is the first read.
        member: the file is a ZIP archive, and this one of its members is meant.

    Raises:
        HeaderError: it cannot be opened, is no file, or is not DICOM.
    """
    name = path if member is None else f"{path} member {member}"
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except (OSError, ValueError) as error:
        raise HeaderError(f"{path}: {_reason(error)}") from None
    try:
        size = _check_kind(path, os.fstat(descriptor))
        begin = _File(descriptor, size, config) if member is None else _open_member(descriptor, name, member, config)
        return _inspect(name, begin, profile, config)
    except OSError as error:
        raise HeaderError(f"{path}: {_reason(error)}") from None
    finally:
        os.close(descriptor)


def _inspect(name: str, begin: Begin, profile: Profile, config: HeaderConfig) -> HeaderReport:
    reader, outcome = _read_fast(begin, profile, config)
    header = _read_tree(begin, Limits.from_config(config))
    if outcome.status is Status.NOT_DICOM or not (header.elements or header.file_meta):
        hint = _NAME_A_MEMBER if begin.data.startswith(_ARCHIVE_MAGIC) else ""
        said = "not DICOM: " if outcome.status is Status.NOT_DICOM else ""
        raise HeaderError(f"{name}: {said}{outcome.message}{hint}")
    row, issues = _decode_row(reader)
    if row and row[profile.columns[0].name] is None:
        outcome, row, issues = _WITHOUT_KEY, {}, ()
    return HeaderReport(
        path=name,
        size=begin.size,
        outcome=outcome,
        by_pydicom=reader.by_pydicom,
        header_bytes=reader.header_bytes,
        header=header,
        profile=profile,
        row=row,
        issues=issues,
    )


def _open_member(descriptor: int, name: str, member: str, config: HeaderConfig) -> Begin:
    from dicomflow.report.member import MemberBegin  # brings Arrow, which files do without

    try:
        return MemberBegin(descriptor, member, config.prefix_bytes, config.max_header_bytes)
    except HeaderError as error:
        raise HeaderError(f"{name}: {error}") from None


def _reason(error: OSError | ValueError) -> str:
    if not isinstance(error, OSError):
        return "not a possible file name"
    return error.strerror or "cannot be read"


def _check_kind(path: str, status: os.stat_result) -> int:
    """The size of a regular file."""
    if stat.S_ISDIR(status.st_mode):
        raise HeaderError(f"{path}: is a folder; `show` takes one file")
    if not stat.S_ISREG(status.st_mode):
        raise HeaderError(f"{path}: is not a regular file")
    return status.st_size


class Begin(Protocol):
    """The first bytes of something; more on demand."""

    data: bytes
    size: int
    at_end: bool

    @property
    def exhausted(self) -> bool:
        """There is no more, or no more may be read."""

    def read_to(self, size: int) -> None:
        """Hold the first ``size`` bytes, as far as there are any."""


class _File:
    """The first bytes of an open file; more on demand, never more than the limit of a header."""

    def __init__(self, descriptor: int, size: int, config: HeaderConfig) -> None:
        self.size = size
        self.data = b""
        self.at_end = False
        self.limit = config.max_header_bytes
        self._descriptor = descriptor
        self.read_to(config.prefix_bytes)

    @property
    def exhausted(self) -> bool:
        """There is no more, or no more may be read."""
        return self.at_end or len(self.data) >= self.limit

    def read_to(self, size: int) -> None:
        """Hold the first ``size`` bytes; fewer at the end of the file or at the limit."""
        wanted = min(size, self.limit)
        parts = [self.data]
        have = len(self.data)
        while have < wanted and not self.at_end:
            part = os.pread(self._descriptor, min(wanted, max(self.size + 1, have + 1)) - have, have)
            self.at_end = not part
            parts.append(part)
            have += len(part)
        self.data = b"".join(parts)


# ---- the reader of ``extract``: outcome and row ----------------------------------------------------------------------


def _read_fast(file: Begin, profile: Profile, config: HeaderConfig) -> tuple[HeaderReader, Outcome]:
    reader = HeaderReader(
        profile.columns,
        rows=1,
        limits=Limits.from_config(config),
        prefix_bytes=config.prefix_bytes,
        headers_only=config.headers_only,
    )
    while _scan(reader, file) == NEED_MORE:
        if file.exhausted:
            reader.give_up(len(file.data))
            break
        file.read_to(max(reader.needed, 2 * len(file.data)))
    return reader, reader.accept() or Outcome(status=Status.OK)


def _scan(reader: HeaderReader, file: Begin) -> int:
    size = len(file.data)
    if size > len(reader.buffer):
        reader.grow(size)
    reader.view[:size] = file.data
    return reader.scan(size, file.at_end)


def _decode_row(reader: HeaderReader) -> tuple[dict[str, object], tuple[Issue, ...]]:
    """The attributes of the row that ``extract`` would write, from a batch of one.

    As ``batch.build_batch`` does it, but without Arrow, which imports pandas.
    """
    if reader.batch.rows == 0:
        return {}, ()
    row: dict[str, object] = {}
    issues = reader.remarks() if reader.has_remarks else []
    issues += [Issue(reader.columns[index].name, IssueCode.OUT_OF_RANGE, "") for _, index in reader.batch.oversized]
    for index, code in enumerate(reader.batch.take_codes()[0].tolist()):
        column = reader.columns[index]
        decoded = Decoded(None) if code < 0 else _decode_column(reader, index, column)
        row[column.name] = decoded.value
        issues += [Issue(column.name, kind, raw) for kind, raw in decoded.issues]
    return row, tuple(issues)


def _decode_column(reader: HeaderReader, index: int, column: Column) -> Decoded:
    """The one value of a column of a batch of one."""
    offsets, data, contexts = reader.batch.take_column(index)
    value = raw_value(bytes(data[offsets[0] : offsets[1]]), int(contexts[0]), reader.batch.charsets)
    return decode_column_value(value, column)


# ---- the careful reader: all elements --------------------------------------------------------------------------------


def _read_tree(file: Begin, limits: Limits) -> Header:
    """The tree of what was read, reading on while more bytes could change it; reads grow fourfold, so work is linear."""
    header = read_tree(file.data, limits=limits)
    while not file.exhausted and not _is_final(header, file.data):
        file.read_to(_GROWTH * len(file.data))
        header = read_tree(file.data, limits=limits)
    return header


def _is_final(header: Header, data: bytes) -> bool:
    """Whether more bytes would not change the tree: a fault that is none of a cut, or the stop tag in sight."""
    outcome = header.outcome
    if outcome.status in (Status.OK, Status.SKIPPED):  # SKIPPED, a DICOMDIR, says nothing of where its records end
        return header.deflated or _at_stop_tag(header, data)
    return outcome.code not in (Code.TRUNCATED, Code.UNREADABLE_HEADER, Code.INFLATE_ERROR)


def _at_stop_tag(header: Header, data: bytes) -> bool:
    if len(data) - header.stop_offset < 4:
        return False
    order = ">HH" if header.encoding.big_endian else "<HH"
    group, element = struct.unpack_from(order, data, header.stop_offset)
    return bool(group << 16 | element >= STOP_TAG)
