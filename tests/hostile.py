"""Inputs made to exhaust a reader, and a process of its own to read one in: what it became, and the memory it took.

    python -m tests.hostile FILE DEST [PROFILE]      prints one line of JSON
"""

import json
import re
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

from tests.dicom_bytes import DEFLATED_UID, EXPLICIT, IMPLICIT, IMPLICIT_UID, element, file, item, meta
from tests.dicom_bytes import item_end, sequence_end

ROOT = Path(__file__).parents[1]
KEY = element(0x00080018, "UI", b"1.2.3\0")
IMPLICIT_KEY = element(0x00080018, "UI", b"1.2.3\0", IMPLICIT)
AFTER = element(0x7FE00010, "OW", bytes(16))
UNDEFINED = 0xFFFFFFFF
MILLION = 1_000_000
WANTED, UNWANTED = 0x52009229, 0x00081199
"""SharedFunctionalGroupsSequence, which the standard profile enters, and ReferencedSOPSequence, which it does not."""
HANGS = 300  # seconds: not a mark, only the end of a test that would never end


def read_alone(path: Path, dest: Path, profile: Path | None = None) -> dict[str, Any]:
    """Read one file with ``read_headers`` and ``extract`` in a new process.

    Returns:
        ``ledger`` (the file's row), ``row`` (its instance or None) and ``peak``, bytes of memory the reading added.
    """
    command = [sys.executable, "-m", "tests.hostile", str(path), str(dest), *([str(profile)] if profile else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


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


def _main(path: str, dest: str, profile: str = "standard") -> None:
    import duckdb  # noqa: F401  imported before the first measurement: not what is measured
    import pyarrow.parquet as pq

    import dicomflow

    small = file(KEY)
    Path(dest).mkdir()
    (Path(dest) / "small.dcm").write_bytes(small)
    dicomflow.extract(Path(dest) / "small.dcm", Path(dest) / "warm", compute__scheduler="threads", compute__workers=1)
    dicomflow.read_headers(small)
    before = _peak()
    table = dicomflow.read_headers(path, columns=profile, errors="skip")
    read_peak = _peak()
    out = Path(dest) / "out"
    dicomflow.extract(path, out, columns=profile, compute__scheduler="threads", compute__workers=1)
    peak = _peak()
    (ledger,) = (row for part in (out / "files").glob("*.parquet") for row in pq.read_table(part).to_pylist())
    rows = [row for part in (out / "instances").glob("*.parquet") for row in pq.read_table(part).to_pylist()]
    same = [one["SOPInstanceUID"] for one in table.to_pylist()] == [one["SOPInstanceUID"] for one in rows]
    found = {"ledger": ledger, "row": rows[0] if rows else None, "same": same, "before": before}
    found |= {"read_peak": read_peak, "peak": peak}
    print(json.dumps(found, default=str))


if __name__ == "__main__":
    _main(*sys.argv[1:])
