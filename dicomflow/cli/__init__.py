"""The command line: parse, call one function, print.

In: arguments.  Out: text on stdout, progress and errors on stderr, an exit code.  Knows no DICOM and no Dask; what a command
needs is imported when the command is called, so that ``--help`` is quick.

Exit codes: 0 done; 1 the run failed; 2 usage or configuration; 3 done, but too many files failed (``--max-failed``);
130 stopped by Ctrl-C; 141 whoever read our output went away.  ``diff`` ends as diff(1) does: 0 the same, 1 different, 2 trouble.
"""

from typing import NoReturn

from dicomflow.cli.main import main
from dicomflow.cli.startup import leave

__all__ = ["main", "run"]


def run() -> NoReturn:
    """The ``dicomflow`` of the shell: run a command and end the process."""
    leave(main())
