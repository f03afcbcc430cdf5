"""The command ``dicomflow`` itself, and where its subcommands are.

In: the name of a subcommand.  Out: the subcommand, loaded when it is asked for.  Knows their names and one line about
each, so that ``--help`` imports none of them.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import nullcontext
from difflib import get_close_matches
from types import MappingProxyType, ModuleType
from typing import NamedTuple

import click

from dicomflow import __version__
from dicomflow.cli.session import PipeClosed
from dicomflow.cli.startup import spare_collector


class _Entry(NamedTuple):
    module: str
    help: str


COMMANDS = MappingProxyType(
    {
        "extract": _Entry("dicomflow.cli.extract", "Read the headers of DICOM files into a Parquet dataset."),
        "show": _Entry("dicomflow.cli.show", "Show the header of one file."),
        "status": _Entry("dicomflow.cli.status", "Say how a dataset is, and what a re-run would do."),
        "files": _Entry("dicomflow.cli.files", "List the files that did not end well, and why."),
        "get": _Entry("dicomflow.cli.get", "Look up one instance by its SOP Instance UID."),
        "query": _Entry("dicomflow.cli.query", "Ask SQL of a dataset; a table, CSV, JSON or Parquet."),
        "diff": _Entry("dicomflow.cli.diff", "Compare two datasets: what was added, removed, changed."),
        "export": _Entry("dicomflow.cli.export", "Write a dataset as DICOM JSON, CSV or Parquet, without identities."),
        "report": _Entry("dicomflow.cli.report", "Write a page about the quality of a dataset."),
        "add-columns": _Entry("dicomflow.cli.add_columns", "Give a dataset other columns."),
        "compact": _Entry("dicomflow.cli.compact", "Merge the small parts of a dataset into large ones."),
        "verify": _Entry("dicomflow.cli.verify", "Check every promise of a dataset again."),
        "synth": _Entry("dicomflow.cli.synth", "Write synthetic studies, to try things out."),
        "demo": _Entry("dicomflow.cli.demo", "Synthetic studies, a dataset of them, a first query: in a minute."),
    }
)
"""Name -> module whose ``command`` it is, and what ``--help`` says."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order that a newcomer should read them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, loaded now."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = _load(COMMANDS[cmd_name].module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for one that is unknown."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = get_close_matches(name[:64], COMMANDS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(COMMANDS)}."
            raise click.UsageError(f"No such command {name[:64]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a closed pipe is for ``main`` to handle."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise PipeClosed from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table above: nothing is loaded."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def _load(module: str) -> ModuleType:
    with nullcontext() if module in sys.modules else spare_collector():
        return importlib.import_module(module)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command has its own --help, with an example.",
)
@click.version_option(__version__, prog_name="dicomflow", message="%(prog)s %(version)s")
def root() -> None:
    """Turn any pile of DICOM files into a typed Parquet dataset: one row per SOP Instance UID.

    \b
    Example:
      dicomflow extract ~/scans -o headers
      python -c "import pandas as pd; print(pd.read_parquet('headers/instances'))"

    No data at hand?  dicomflow demo
    """
