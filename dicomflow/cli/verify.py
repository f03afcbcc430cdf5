"""``dicomflow verify``: is a dataset what it promises to be?

In: DEST.  Out: a line for each check and for each fault on stdout, an exit code.  Knows none of the checks.
"""

from __future__ import annotations

import click

from dicomflow.cli.output import print_json, stdout_console
from dicomflow.cli.session import FAILED
from dicomflow.dataset.verify import verify_dataset
from dicomflow.report.verify import render_verification


@click.command("verify")
@click.argument("dest")
@click.option("--json", "as_json", is_flag=True, help="All checks and faults as JSON on stdout.")
def command(dest: str, as_json: bool) -> int:
    """Check every promise of the dataset DEST again: parts and their bytes, every page, keys, the ledger.

    Nothing is changed.  The dataset is read twice, so this takes about as long as two copies of it.  Faults name the part
    or the source, and what to do.

    \b
    Example:
      dicomflow verify headers
      dicomflow verify headers --json | jq '.checks[] | select(.fault_count > 0)'

    Exit codes: 0 whole, 1 not.
    """
    verification = verify_dataset(dest)
    if as_json:
        print_json(verification.to_dict())
    else:
        stdout_console().print(render_verification(verification))
    return 0 if verification.whole else FAILED
