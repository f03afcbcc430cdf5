"""Inputs made to exhaust a reader, and a process of its own to read them in: what they became, and the memory it took.

``python -m tests.hostile DEST PROFILE FILE...`` prints one line of JSON per file.
"""

import json
import os
import re
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

import dicomflow
from tests.dicom_bytes import (
    DEFLATED_UID,
    EXPLICIT,
    IMPLICIT,
    IMPLICIT_UID,
    element,
    file,
    item,
    item_end,
    meta,
    sequence_end,
)

ROOT = Path(__file__).parents[1]
KEY = element(0x00080018, "UI", b"1.2.3\0")
IMPLICIT_KEY = element(0x00080018, "UI", b"1.2.3\0", IMPLICIT)
AFTER = element(0x7FE00010, "OW", bytes(16))
UNDEFINED = 0xFFFFFFFF
MILLION = 1_000_000
WANTED, UNWANTED = 0x52009229, 0x00081199
"""SharedFunctionalGroupsSequence, which the standard profile enters, and ReferencedSOPSequence, which it does not."""
HANGS = 300  # seconds: not a mark, only the end of a test that would never end


class Read(NamedTuple):
    """What became of one file; ``peak``: memory that reading it and those before it added, ``process``: all of it (bytes)."""

    status: str
    code: str | None
    row: dict[str, Any] | None
    peak: int
    process: int


def read_alone(folder: Path, files: dict[str, bytes], profile: str = "standard") -> dict[str, Read]:
    """Read these files in a new process, one after the other, with ``read_headers`` and with ``extract``."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    paths = [str(folder / name) for name in files]
    command = [sys.executable, "-m", "tests.hostile", str(folder / "out"), profile, *paths]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: Read(*json.loads(line)) for name, line in zip(files, done.stdout.splitlines(), strict=True)}


# ---- inputs ----------------------------------------------------------------------------------------------------------


def nested(depth: int, tag: int, *, defined: bool, encoding=EXPLICIT) -> bytes:
    """A sequence in an item of a sequence in an item ... , this deep."""
    explicit = encoding == EXPLICIT
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + (b"SQ\0\0" if explicit else b"")
    if not defined:
        opened = head + struct.pack("<IHHI", UNDEFINED, 0xFFFE, 0xE000, UNDEFINED)
        return opened * depth + (item_end() + sequence_end()) * depth
    level = len(head) + 12
    inner = (level * left for left in range(depth - 1, -1, -1))
    return b"".join(head + struct.pack("<IHHI", left + 8, 0xFFFE, 0xE000, left) for left in inner)


def many_items(tag: int, count: int, *, defined: bool, content: bytes = b"") -> bytes:
    """A sequence of so many small items."""
    items = item(content, defined=defined) * count
    if defined:
        return element(tag, "SQ", items)
    return element(tag, "SQ", items + sequence_end(), length=UNDEFINED)


def bomb(head: bytes, zeros: int) -> bytes:
    """A deflated file: some elements, then gigabytes of zeros; 1000:1, made of one block again and again."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return meta(syntax=DEFLATED_UID) + start + block * (zeros >> 20) + packer.flush()


def implicit_file(*elements: bytes) -> bytes:
    """Implicit VR: every length has 32 bits, whatever the VR."""
    return file(IMPLICIT_KEY + b"".join(elements), syntax=IMPLICIT_UID)


# ---- the process that reads one --------------------------------------------------------------------------------------


def _peak() -> int:
    """Largest resident memory of this process; getrusage would count what the parent had before exec (Linux)."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
        return int(found[1]) * 1024 if found else 0
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _main(dest: str, profile: str, *paths: str) -> None:
    """The first file is small and only warms up: what imports take is not what is measured."""
    small = Path(dest).with_name("small")
    small.write_bytes(file(KEY))
    _read(str(small), Path(dest) / "small", profile)
    before = _peak()
    for number, path in enumerate(paths):
        status, code, row = _read(path, Path(dest) / str(number), profile)
        print(json.dumps([status, code, row, _peak() - before, _peak()], default=str))


def _read(path: str, dest: Path, profile: str) -> tuple[str, str | None, dict[str, Any] | None]:
    """The file's row of the ledger, and its instance; both ways of reading must agree."""
    dicomflow.extract(path, dest, columns=profile, compute__scheduler="threads", compute__workers=1)
    (ledger,) = _rows(dest / "files")
    rows = _rows(dest / "instances")
    alone = dicomflow.read_headers(path, columns=profile, errors="skip").to_pylist()
    assert [{**one, "source_mtime": None} for one in alone] == [{**one, "source_mtime": None} for one in rows]
    return ledger["status"], ledger["code"], rows[0] if rows else None


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [row for part in folder.glob("*.parquet") for row in pq.read_table(part).to_pylist()]


if __name__ == "__main__":
    _main(*sys.argv[1:])
