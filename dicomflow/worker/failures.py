"""What is logged of files that failed: where and why, a few lines per task, then how many more.

In: outcomes.  Out: lines with ``uri, member, code, offset``; what a file holds is in none of them.
"""

from __future__ import annotations

from collections import Counter

from dicomflow.errors import Code, Status
from dicomflow.log import get_logger
from dicomflow.model import Outcome

MAX_LINES = 20
"""Of a task: a mount that went away fails each file behind it, and says so no better each time."""

_log = get_logger("worker")


class FailureLog:
    """The failures of one task: ``failed`` for those who want to know; what is no DICOM or was read in part, for those who debug.

    No warnings: the ledger has them all, and the run's summary counts them.
    """

    def __init__(self) -> None:
        self._lines: Counter[bool] = Counter()  # by whether it failed
        self._unsaid: Counter[tuple[bool, Code | None]] = Counter()

    def note(self, uri: str, member: str | None, outcome: Outcome) -> None:
        """One file that is not plain ``ok``; ``member`` where it lies in an archive."""
        is_failed = outcome.status is Status.FAILED
        if self._lines[is_failed] >= MAX_LINES:
            self._unsaid[is_failed, outcome.code] += 1
            return
        self._lines[is_failed] += 1
        say = _log.info if is_failed else _log.debug
        where = {"uri": uri} if member is None else {"uri": uri, "member": member}
        say(f"file_{outcome.status}", **where, code=str(outcome.code), offset=outcome.offset)

    def close(self) -> None:
        """One line for all those of a kind that were not said."""
        for is_failed in (True, False):
            unsaid = {str(code): count for (kind, code), count in self._unsaid.items() if kind == is_failed}
            if unsaid:
                say = _log.info if is_failed else _log.debug
                say("more_files", files=sum(unsaid.values()), codes=unsaid)
