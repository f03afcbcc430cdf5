"""Execute every notebook from top to bottom in this environment; fail where a cell fails.

Usage: python notebooks/execute.py [--write]     (--write keeps the outputs in the notebooks)
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
MAX_OUTPUT_BYTES = 200_000


def main() -> None:
    """Execute all, one after the other."""
    os.environ.setdefault(
        "MPLBACKEND", "agg" if "--write" not in sys.argv else "module://matplotlib_inline.backend_inline"
    )
    for path in sorted(HERE.glob("*.ipynb")):
        start = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(
            notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}
        ).execute()
        if "--write" in sys.argv:
            write(path, notebook)
        print(f"{path.name}: {len(notebook.cells)} cells, {time.perf_counter() - start:.1f} s")


def write(path: Path, notebook: nbformat.NotebookNode) -> None:
    """Keep the outputs, without what differs from run to run for no reason."""
    for cell in notebook.cells:
        cell.metadata.clear()
    text = nbformat.writes(notebook)
    if len(text) > MAX_OUTPUT_BYTES:
        raise SystemExit(f"{path.name}: {len(text)} bytes with its outputs; keep them below {MAX_OUTPUT_BYTES}")
    path.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
