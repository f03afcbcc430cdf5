"""``python -m dicomflow``: the command line.  In: ``sys.argv``.  Out: an exit code.  Knows only ``cli.main``."""

from __future__ import annotations

from dicomflow.cli import run

if __name__ == "__main__":  # worker processes import this module too
    run()
