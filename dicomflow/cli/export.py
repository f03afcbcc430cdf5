"""``dicomflow export``: the rows of a dataset as a file of another format, without what identifies people.

In: DEST, a file, settings.  Out: the file, and on stderr what was done.  Knows no layout and no rules; what brings DuckDB is
loaded when the command runs.
"""

from __future__ import annotations

import codecs
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO, TypedDict, Unpack, cast

import click

import dicomflow
from dicomflow.cli.session import FAILED, TOO_MANY_FAILED, print_message
from dicomflow.cli.startup import spare_pandas
from dicomflow.config import ExportConfig, load_config
from dicomflow.deidentify.profile import OPTIONS
from dicomflow.export import FORMATS
from dicomflow.report.text import harmless

if TYPE_CHECKING:
    from dicomflow import ExportSummary

STDOUT = "-"
_MOST_NAMES = 8


class Options(TypedDict):
    """What click hands over, beside DEST."""

    output: str
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


@click.command("export")
@click.argument("dest")
@click.option("--output", "-o", required=True, metavar="FILE", help="The file to write; - for stdout.")
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
    help="The key of the pseudonyms: the same ones each time.",
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
def command(dest: str, **options: Unpack[Options]) -> int:
    """Write the instances of DEST to FILE as DICOM JSON, CSV or Parquet, without what identifies people.

    What is taken out follows the Basic Application Level Confidentiality Profile of PS3.15 Annex E; columns that it does not
    know are dropped.  UIDs and patient IDs become pseudonyms: the same in each export with the same key, which is read from
    --key-file or from DICOMFLOW_EXPORT_KEY.  Rows come in an order of their own, which tells nothing.  json is one array,
    ndjson one object a line (PS3.18 Annex F).

    \b
    Example:
      dicomflow export headers -o headers.csv
      dicomflow export headers -o ct.ndjson --retain modified_dates --retain patient --key-file key
      dicomflow export headers -o chest.parquet --where "Modality = 'CT' and BodyPartExamined = 'CHEST'"
      dicomflow export headers -o - --format csv --columns SOPInstanceUID,Modality --require Modality

    Exit codes: 0 done; 1 failed, or nothing was written because rows are incomplete; 3 done, but incomplete rows were left out.
    """
    config = load_config(options["config"], _overrides(options)).export
    spare_pandas()
    output = options["output"]
    form = options["form"] or _guess_format(output)
    summary = dicomflow.export_dataset(
        dest,
        _open(output, form),
        form,
        columns=_split(options["columns"]),
        with_patient_identity=options["with_patient_identity"],
        config=config,
    )
    return _report(summary, output, config)


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


def _guess_format(output: str) -> str:
    suffix = Path(output).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise click.UsageError(
            f"--format is needed: the name of {output!r} does not say it.  It is one of {', '.join(FORMATS)}."
        )
    return suffix


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


def _report(summary: ExportSummary, output: str, config: ExportConfig) -> int:
    for missing in summary.missing:
        more = ", ..." if missing.rows > len(missing.uris) else ""
        print_message(f"{missing.name} is missing in {missing.rows:,} rows: {', '.join(missing.uris)}{more}")
    if summary.refused:
        print_message(
            "error: nothing was written, rows are incomplete; --incomplete drop leaves them out, keep writes them"
        )
        return FAILED
    print_message(f"{summary.rows:,} rows, {len(summary.columns)} columns written to {output}; {_describe(summary)}")
    if summary.unfit:
        count = sum(summary.unfit.values())
        print_message(
            f"{count:,} values were left out that have not the form of a code (CS) and may be free text, in "
            f"{_list_names(list(summary.unfit))}"
        )
    if summary.new_key:
        print_message(
            "pseudonyms were made with a new key, which is not kept; --key-file makes them the same each time"
        )
    return TOO_MANY_FAILED if summary.missing and config.incomplete == "drop" else 0


def _describe(summary: ExportSummary) -> str:
    if summary.deidentified is None:
        return "with the identities of patients"
    return f"de-identified ({summary.deidentified}), left out: {_list_names(summary.dropped) or 'nothing'}"


def _list_names(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
