"""Archives for tests: of files, or of names and bytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

STAMP = (2020, 2, 2, 2, 2, 2)


class _Unseekable(io.RawIOBase):
    """What a pipe is: zipfile then writes sizes behind the data."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


def pack(
    members: Iterable[tuple[str, bytes]],
    *,
    method: int = zipfile.ZIP_DEFLATED,
    stream: bool = False,
    zip64: bool = False,
    prefix: bytes = b"",
    comment: bytes = b"",
) -> bytes:
    """The bytes of an archive.

    Args:
        members: names and what they hold.
        method: of zipfile.
        stream: sizes and CRC stand behind the data.
        zip64: as if members were larger than 4 GiB.
        prefix: a program in front, of which the archive knows nothing.
        comment: behind its end record.
    """
    raw = _Unseekable()
    sink: IO[bytes] = raw if stream else io.BytesIO()  # type: ignore[assignment]
    with zipfile.ZipFile(sink, "w", method) as archive:
        archive.comment = comment
        for name, data in members:
            info = zipfile.ZipInfo(name, STAMP)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=zip64) as member:
                member.write(data)
    return prefix + (bytes(raw.data) if stream else sink.getvalue())  # type: ignore[attr-defined]


def pack_tree(folder: Path, **how: Any) -> bytes:
    """All files below, by their relative names."""
    files: Sequence[Path] = sorted(path for path in folder.rglob("*") if path.is_file())
    return pack(((str(path.relative_to(folder)), path.read_bytes()) for path in files), **how)
