"""Count the machine instructions of the two hot loops under callgrind: the same from run to run, where times are not.

In: synthetic MR headers (seed 1), made anew.  Out: instructions per element of the scanner and per file of the interner.
Knows no time.  The figures depend on compiler, libraries and processor, not on what else the machine does.

Usage: make instructions                     (needs valgrind: apt-get install valgrind)
       python tests/benchmarks/instructions.py [RUNS]

Each figure is the difference of two processes that differ only in what is counted, so that start-up cancels: every header is
scanned once more, or every scanned header is added to a batch.  All else that could differ is held: the seed of hashes, the
layout of memory (``setarch -R``), the environment, the number of threads.  The processes import numpy and the compiled modules
and nothing else, because valgrind makes start-up dear: they get the scanner's tables as a pickle.
"""

from __future__ import annotations

import gc
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

FILES = 100
ROOT = Path(__file__).resolve().parents[2]

_MAX_ELEMENTS, _MAX_DEPTH, _MAX_VALUE_BYTES = 2_000_000, 64, 1 << 20


def reason_against() -> str | None:
    """Why nothing can be counted here; None if it can."""
    if shutil.which("valgrind") is None:
        return "instructions are not counted: there is no valgrind (apt-get install valgrind)"
    from dicomflow.header.reader import COMPILED

    return None if COMPILED else "instructions are not counted: the scanner is not compiled (apt-get install gcc)"


def count_instructions() -> dict[str, float]:
    """``scan_instructions`` per element and ``intern_instructions`` per file.

    Raises:
        RuntimeError: valgrind failed.
    """
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder:
        work = Path(folder, "work.pickle")
        elements = _prepare(work)
        with ThreadPoolExecutor(3) as pool:
            once, twice, added = pool.map(lambda rounds: _count(work, *rounds), ((1, 0), (2, 0), (1, 1)))
    return {"scan_instructions": (twice - once) / elements, "intern_instructions": (added - once) / FILES}


def _prepare(work: Path) -> int:
    """Write tables and headers for the processes; the number of elements in all headers."""
    from dicomflow.header.reader import HeaderReader, _vr_kinds
    from dicomflow.schema.profile import load_profile
    from dicomflow.synth import iter_files

    headers = [file.data for file in iter_files(files=FILES, seed=1, kinds=("mr-long",))]
    reader = HeaderReader(load_profile("standard").columns)
    work.write_bytes(pickle.dumps((_as_dict(reader.tables), _as_dict(reader.hits), _vr_kinds(), headers)))
    return _run(work, 1, 0)


def _as_dict(tables: Any) -> dict[str, Any]:
    return {field.name: getattr(tables, field.name) for field in fields(tables)}


def _run(work: Path, scans: int, rows: int) -> int:
    """What is counted: scan each header so often, add it so often; the number of elements in all headers."""
    from dicomflow.header.intern import Interner
    from dicomflow.header.scan import Scanner

    tables_fields, hits_fields, vr_kinds, headers = pickle.loads(work.read_bytes())
    tables, hits = SimpleNamespace(**tables_fields), SimpleNamespace(**hits_fields)
    scanner = Scanner(tables, hits, _MAX_ELEMENTS, _MAX_DEPTH)
    batch = Interner(hits, tables.column_leaves, len(headers), vr_kinds, _MAX_VALUE_BYTES)
    buffer = bytearray(max(map(len, headers)))
    scanner.use_buffer(buffer)
    batch.use_buffer(buffer)
    elements = 0
    gc.disable()
    for header in headers:
        buffer[: len(header)] = header
        for _ in range(scans):
            scanner.scan(len(header), True)
        for _ in range(rows):
            batch.add_row()
        elements += scanner.elements
    return elements


def _count(work: Path, scans: int, rows: int) -> int:
    """Instructions of a whole process that does so much."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-B", __file__]
    if shutil.which("setarch"):
        command = ["setarch", "-R", *command]
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [*command, str(work), str(scans), str(rows)], capture_output=True, text=True, env=environment, check=False
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        raise RuntimeError(f"callgrind failed: {done.stderr[-2000:]}")
    return int(found[1])


def main(runs: int) -> None:
    """Print the figures of so many runs."""
    if reason := reason_against():
        print(reason)
        return
    for _ in range(runs):
        counted = count_instructions()
        print(
            f"scanner {counted['scan_instructions']:.3f} instructions per element, "
            f"interner {counted['intern_instructions']:.2f} per file"
        )


if __name__ == "__main__":
    if len(sys.argv) == 4:
        _run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
