"""``dicomflow demo``: everything once, with nothing at hand.

In: a folder.  Out: synthetic studies, a dataset of them, the answer to a first query, where to look next.
Knows the order; each step is another command's.

The folder bears a mark with what the demo made there.  Without the mark a folder that is not empty is somebody else's, and is
left alone; with it, only what the mark names is used again or replaced.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pyarrow as pa
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dicomflow import __version__
from dicomflow.cli.extract import run_extract
from dicomflow.cli.interrupt import leave_on_interrupt
from dicomflow.cli.output import stdout_console
from dicomflow.cli.waiting import watch_folder
from dicomflow.config import load_config
from dicomflow.errors import DatasetError
from dicomflow.query import open_dataset
from dicomflow.report.summary import render_facts, render_summary
from dicomflow.report.text import harmless
from dicomflow.synth import write_studies

FILES, SEED, CORRUPT = 5000, 1, 0.02
MARK = ".dicomflow-demo.json"
STUDIES, DATASET = "studies", "headers"

QUERY = """\
select Modality, Manufacturer, count(distinct StudyInstanceUID) as studies, count(*) as instances,
       min(StudyDate) as since
from instances group by all order by instances desc limit 12"""


@click.command("demo")
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=Path("dicomflow-demo"))
def command(folder: Path) -> int:
    """Make synthetic studies in DIR (./dicomflow-demo), extract them, and ask the dataset a first question.

    Takes less than a minute and 100 MB.  Run it again as you like; DIR can be deleted at any time.

    \b
    Example:
      dicomflow demo
      dicomflow demo /tmp/first-look
    """
    console = stdout_console()
    studies, dataset = folder / STUDIES, folder / DATASET
    made = read_mark(folder)
    console.print(_step(f"dicomflow synth {_path(studies)} --files {FILES} --seed {SEED} --corrupt {CORRUPT:.0%}"))
    reused = prepare_studies(folder, made)
    console.print(Text("These are there from the last time.\n" if reused else f"{FILES:,} files written.\n"))
    console.print(_step(f"dicomflow extract {_path(studies)} -o {_path(dataset)}"))
    console.print(render_summary(run_extract((str(studies),), str(dataset), load_config(None, {}), quiet=False)))
    console.print(Text())
    console.print(_step(f"dicomflow.open_dataset({str(dataset)!r}).sql(...)"))
    console.print(Text(QUERY, style="dim"))
    console.print(render_table(open_dataset(dataset).sql(QUERY)))
    console.print(Text())
    console.print(render_facts(_next_steps(folder)))
    return 0


def read_mark(folder: Path) -> object:
    """What the demo made in ``folder``; None where it is new or empty.

    Raises:
        DatasetError: the folder holds something that the demo did not make, or cannot be read.
    """
    try:
        return json.loads((folder / MARK).read_text("utf-8"))
    except FileNotFoundError:
        if folder.is_dir() and any(folder.iterdir()):
            raise DatasetError(
                f"{folder}: is not empty and was not made by `dicomflow demo`; name a new folder"
            ) from None
        return None
    except ValueError:
        raise DatasetError(f"{folder / MARK}: cannot be understood; delete {folder}, or name another folder") from None
    except OSError as error:
        raise _unusable(folder, error) from None


def _unusable(folder: Path, error: OSError) -> DatasetError:
    return DatasetError(f"{folder}: cannot be used for the demo: {error.strerror or type(error).__name__}")


def prepare_studies(folder: Path, made: object) -> bool:
    """Have the demo's studies in ``folder``; True if they were there already.

    Args:
        folder: new, empty, or with a mark.
        made: its mark.

    Raises:
        DatasetError: the folder cannot be written.
    """
    wanted = {"dicomflow": __version__, "files": FILES, "seed": SEED, "corrupt": CORRUPT}
    studies = folder / STUDIES
    try:
        if made == wanted | {"complete": True} and studies.is_dir():
            return True
        if studies.exists():
            shutil.rmtree(studies)
        folder.mkdir(parents=True, exist_ok=True)
        _write_mark(folder, wanted | {"complete": False})
        with leave_on_interrupt(lambda: "stopped; run it again to begin anew"), watch_folder(studies, FILES):
            write_studies(studies, files=FILES, seed=SEED, corrupt=CORRUPT, workers=os.cpu_count() or 1)
        _write_mark(folder, wanted | {"complete": True})
    except OSError as error:
        raise _unusable(folder, error) from None
    return False


def _write_mark(folder: Path, mark: dict[str, object]) -> None:
    temporary = folder / f"{MARK}.tmp"
    temporary.write_text(json.dumps(mark, indent=2) + "\n", "utf-8")
    os.replace(temporary, folder / MARK)


def render_table(table: pa.Table) -> RenderableType:
    """An Arrow table of a few rows."""
    shown = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim", show_edge=False)
    for field in table.schema:
        shown.add_column(field.name, justify="right" if pa.types.is_integer(field.type) else "left", no_wrap=True)
    for row in table.to_pylist():
        shown.add_row(*(Text(_format_cell(value)) for value in row.values()))
    return shown


def _format_cell(value: object) -> str:
    if value is None:
        return "null"
    return f"{value:,}" if isinstance(value, int) else harmless(str(value))


def _step(line: str) -> Text:
    return Text(f"$ {line}" if line.startswith("dicomflow ") else f">>> {line}", style="bold")


def _path(path: Path) -> str:
    return harmless(shlex.quote(str(path)))


def _next_steps(folder: Path) -> Iterator[tuple[str, str]]:
    instances = harmless(str(folder / DATASET / "instances"))
    yield "one file", f"dicomflow show {_path(_example_file(folder / STUDIES))}"
    yield "questions", f"dicomflow query {_path(folder / DATASET)} @protocol-drift    (--list: all that are ready-made)"
    yield "all rows", f"pd.read_parquet({instances!r})"
    yield "your own", "dicomflow extract ~/scans -o headers"
    yield "clean up", f"rm -r {_path(folder)}"


def _example_file(studies: Path) -> Path:
    """A file to look at; there is always one."""
    found = (
        Path(root) / name for root, _, names in os.walk(studies) for name in sorted(names) if name.endswith(".dcm")
    )
    return next(found, studies)
