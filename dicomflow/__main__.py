"""``python -m dicomflow``: the command line.  In: ``sys.argv``.  Out: an exit code.  Knows only ``cli.main``."""

from __future__ import annotations

import sys

from dicomflow.cli import main

if __name__ == "__main__":  # worker processes import this module too
    sys.exit(main())
