"""Execute every notebook from top to bottom in this environment; fail where a cell fails.

Usage: python notebooks/execute.py [--write] [NAME...]     (--write keeps the outputs in the notebooks; NAME: 02-cohort)
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
MAX_OUTPUT_BYTES = 100_000
COLORS = 64


def main() -> None:
    """Execute all, or those that are named, one after the other."""
    paths = {path.stem: path for path in sorted(HERE.glob("*.ipynb"))}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args()
    if unknown := set(given.names) - set(paths):
        parser.error(f"no notebook is called {', '.join(sorted(unknown))}; there are {', '.join(paths)}")
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline" if given.write else "agg")
    for name in given.names or paths:
        start = time.perf_counter()
        notebook = nbformat.read(paths[name], as_version=4)
        NotebookClient(
            notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}
        ).execute()
        if given.write:
            write(paths[name], notebook)
        print(f"{name}: {len(notebook.cells)} cells, {time.perf_counter() - start:.1f} s")


def write(path: Path, notebook: nbformat.NotebookNode) -> None:
    """Keep the outputs, without what differs from run to run for no reason."""
    for cell in notebook.cells:
        cell.metadata.clear()
        if "outputs" in cell:  # log lines have times, ids and names of temporary folders
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = shrink(output.data["image/png"])
    text = nbformat.writes(notebook)
    if len(text) > MAX_OUTPUT_BYTES:
        raise SystemExit(f"{path.name}: {len(text)} bytes with its outputs; keep them below {MAX_OUTPUT_BYTES}")
    path.write_text(text + "\n", "utf-8")


def shrink(picture: str) -> str:
    """A plot with a palette: it has few colors, and takes a third of the bytes."""
    from PIL import Image  # matplotlib brings it

    packed = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(packed, "png", optimize=True)
    return base64.b64encode(packed.getvalue()).decode()


if __name__ == "__main__":
    main()
