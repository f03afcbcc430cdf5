"""``dicomflow export``: the rows of a dataset as a file of another format, without what identifies people.

In: DEST, a file, settings.  Out: the file, and on stderr what was done; or what would be.  Knows no layout and no rules; what
brings DuckDB is loaded when the command runs.
"""

from __future__ import annotations

import codecs
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO, TypedDict, Unpack, cast

import click

import dicomflow
from dicomflow.cli.output import describe_written, guess_format
from dicomflow.cli.session import FAILED, TOO_MANY_FAILED, print_message
from dicomflow.cli.startup import spare_pandas
from dicomflow.config import ExportConfig, load_config
from dicomflow.deidentify.profile import ACTIONS, OPTIONS, Action
from dicomflow.export import FORMATS
from dicomflow.report.text import harmless

if TYPE_CHECKING:
    from dicomflow import ExportSummary
    from dicomflow.export.require import Missing

STDOUT = "-"

_ENDINGS = {f".{form}": form for form in FORMATS}

_COUNTED = {
    "dropped": (Action.DROP,),
    "emptied": (Action.EMPTY,),
    "pseudonymised": (Action.UID, Action.HASH),
    "shifted": (Action.SHIFT,),
}
"""What is said of columns -> what was done to them."""


class Options(TypedDict):
    """What click hands over, beside DEST."""

    output: str | None
    form: str | None
    columns: str | None
    where: str | None
    require: str | None
    incomplete: str | None
    retain: tuple[str, ...]
    key_file: Path | None
    with_patient_identity: bool
    allow_formulas: bool | None
    config: Path | None
    explain: bool
    quiet: bool


@click.command("export")
@click.argument("dest")
@click.option("--output", "-o", metavar="FILE", help="The file to write; - for stdout.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="How to write it.  [default: by the name of FILE]")
@click.option("--columns", metavar="NAME,...", help="Only these columns, in this order.")
@click.option(
    "--where", metavar="CONDITION", help="Only rows for which this holds, in SQL, such as \"Modality = 'CT'\"."
)
@click.option("--require", metavar="NAME,...", help="Columns that each row must have a value in.")
@click.option(
    "--incomplete",
    type=click.Choice(["refuse", "keep", "drop"]),
    help="With --require: write nothing if a row lacks one; write it all the same; leave it out.  [default: refuse]",
)
@click.option(
    "--retain",
    multiple=True,
    type=click.Choice(OPTIONS),
    help="What stays although it could identify somebody (PS3.15 E.3); may be given again.",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The key of the pseudonyms: the same ones each time.  Make one: (umask 077; openssl rand -hex 32 > FILE)",
)
@click.option(
    "--with-patient-identity", is_flag=True, help="Take nothing out: names, IDs and dates of patients are written."
)
@click.option(
    "--allow-formulas", is_flag=True, default=None, help="CSV: leave text as it is that begins like a formula."
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE.yaml",
    help="Settings, and rules: its section export.",
)
@click.option("--explain", is_flag=True, help="Write nothing: list each column with what would be done to it.")
@click.option("--quiet", is_flag=True, help="Do not say on stderr what was written; only errors, and what is missing.")
def command(dest: str, **options: Unpack[Options]) -> int:
    """Write the instances of DEST to FILE as DICOM JSON, CSV or Parquet, without what identifies people.

    What is taken out follows the Basic Application Level Confidentiality Profile of PS3.15 Annex E; columns that it does not
    know are dropped.  UIDs and patient IDs become pseudonyms: the same in each export with the same key, which is read from
    --key-file or from DICOMFLOW_EXPORT_KEY.  Rows come in an order of their own, which tells nothing.  json is one array,
    ndjson one object a line (PS3.18 Annex F).

    \b
    Example:
      dicomflow export headers -o headers.csv
      dicomflow export headers --explain
      dicomflow export headers -o ct.ndjson --retain modified_dates --retain patient --key-file key
      dicomflow export headers -o chest.parquet --where "Modality = 'CT' and BodyPartExamined = 'CHEST'"
      dicomflow export headers -o - --format csv --columns SOPInstanceUID,Modality --require Modality

    Exit codes: 0 done; 1 failed, or nothing was written because rows are incomplete; 3 done, but incomplete rows were left out.
    """
    config = load_config(options["config"], _overrides(options)).export
    spare_pandas()
    if options["explain"]:
        return _explain(dest, config, options)
    output = options["output"]
    if output is None:
        raise click.UsageError("Missing option '--output' / '-o'.")
    form = options["form"] or guess_format(output, _ENDINGS)
    summary = dicomflow.export_dataset(
        dest,
        _open(output, form),
        form,
        columns=_split(options["columns"]),
        with_patient_identity=options["with_patient_identity"],
        config=config,
    )
    return _report(summary, dest, output, config, quiet=options["quiet"])


def _explain(dest: str, config: ExportConfig, options: Options) -> int:
    """A line for each column, in the order of the dataset."""
    identified = options["with_patient_identity"]
    names = _split(options["columns"])
    actions = dicomflow.explain_export(dest, columns=names, with_patient_identity=identified, config=config)
    width = max(map(len, actions), default=0)
    for name, action in actions.items():
        print(f"{harmless(name):<{width}}  {ACTIONS[action]}")
    return 0


def _overrides(options: Options) -> dict[str, object]:
    """Settings by their names in a configuration; None where an option was not given."""
    return {
        "export.where": options["where"],
        "export.require": _split(options["require"]),
        "export.incomplete": options["incomplete"],
        "export.retain": options["retain"] or None,
        "export.key_file": options["key_file"],
        "export.formulas": options["allow_formulas"],
    }


def _split(names: str | None) -> list[str] | None:
    return None if names is None else [name for part in names.split(",") if (name := part.strip())]


def _open(output: str, form: str) -> str | BinaryIO:
    """Where to write: the name of a file, or stdout; a terminal gets nothing that it would act on."""
    if output != STDOUT:
        return output
    if not _is_terminal():
        return sys.stdout.buffer
    if form == "parquet":
        raise click.UsageError("Parquet is not for a terminal: write it to a file.")
    return cast("BinaryIO", TerminalSink(sys.stdout))


def _is_terminal() -> bool:
    return sys.stdout.isatty()


class TerminalSink:
    """Takes UTF-8 and prints it with what a terminal acts on as escapes.

    Args:
        stream: text of the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.closed = False

    def write(self, data: bytes | memoryview) -> int:
        """Print; the number of bytes taken."""
        raw = bytes(data)
        self._stream.write("\n".join(map(harmless, self._decode(raw).split("\n"))))
        return len(raw)

    def flush(self) -> None:
        """Have it on the screen."""
        self._stream.flush()


def _report(summary: ExportSummary, dest: str, output: str, config: ExportConfig, *, quiet: bool) -> int:
    for missing in summary.missing:
        print_message(_describe_missing(missing, config.where))
    if summary.missing and summary.deidentified is not None:
        print_message(f"their files: {_ask_for_files(summary.missing, dest, config.where)}")
    if summary.refused:
        print_message(
            "error: nothing was written, rows are incomplete; --incomplete drop leaves them out, keep writes them"
        )
        return FAILED
    if not quiet:
        written = (
            f"{summary.rows:,} rows written to stdout" if output == STDOUT else describe_written(summary.rows, output)
        )
        print_message(f"{written}: {_describe(summary)}")
    if summary.unfit:
        print_message(
            f"{sum(summary.unfit.values()):,} values were left out that have not the form of a code (CS) and may be free text, "
            f"in {', '.join(summary.unfit)}"
        )
    if summary.new_key and not quiet:
        print_message(
            "pseudonyms were made with a new key, which is not kept; --key-file makes them the same each time"
        )
    return TOO_MANY_FAILED if summary.missing and config.incomplete == "drop" else 0


def _describe_missing(missing: Missing, where: str | None) -> str:
    """Files are named only where identities are: the names of folders are often those of patients."""
    rows = "1 row" if missing.rows == 1 else f"{missing.rows:,} rows"
    more = ", ..." if missing.rows > len(missing.first) else ""
    which = ", ".join(missing.uris or map(str, missing.first))
    if missing.uris:
        return f"{missing.name} is missing in {rows}: {which}{more}"
    return (
        f"{missing.name} is missing in {rows}: number {which}{more} of {'those of --where' if where else 'instances'}"
    )


def _ask_for_files(missing: list[Missing], dest: str, where: str | None) -> str:
    """A command that lists them, to be copied."""
    lacking = " or ".join(f'"{column.name}" is null' for column in missing)
    condition = f"({where}) and ({lacking})" if where else lacking
    query = f"select source_uri, source_member from instances where {condition}"  # noqa: S608  # it is printed, for whoever wrote the condition
    return shlex.join(["dicomflow", "query", dest, query])


def _describe(summary: ExportSummary) -> str:
    if summary.deidentified is None:
        return f"{len(summary.columns):,} columns, with the identities of patients"
    counts = ", ".join(f"{summary.count(*actions):,} {what}" for what, actions in _COUNTED.items())
    return (
        f"de-identified ({summary.deidentified}); of {len(summary.actions):,} columns {counts} (--explain lists them)"
    )
