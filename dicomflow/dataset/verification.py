"""What a verification found: checks, how much each of them looked at, and faults.

In: faults as they are found.  Out: frozen dataclasses.  Pure; knows no files and no tables.

A fault names a file or a source, what is wrong and what to do; never the value of a data element.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MAX_FAULTS = 20
"""Faults of a check that are kept; all are counted."""

CHECKS = {
    "description": "the dataset says what it is",
    "commit": "no publishing stopped half-way",
    "leftovers": "nothing is left of runs that were killed",
    "runs": "run records can be read",
    "parts": "the tables hold exactly the parts of this version",
    "digests": "bytes of each part are those that were published",
    "pages": "every value can be read, with page checksums",
    "schema": "all parts of a table have its columns and types",
    "order": "rows of each part are sorted",
    "key": "one row per SOP Instance UID",
    "lookup": "a key is found through the Bloom filters",
    "ledger": "one ledger row per input, in the words of the ledger",
    "accounting": "the ledger counts as many rows as there are",
    "rows": "each row has its ledger row, and they agree",
    "winners": "each copy or conflict lost against the right file",
    "rollups": "series, studies and patients count what instances holds",
}
"""Name of a check -> what holds if it is passed, in the order in which they are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is not as promised.

    Attributes:
        check: name of the check that found it.
        where: a path below DEST, or the uri (and member) of a source.
        what: what is wrong.
        remedy: what to do.
    """

    check: str
    where: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise that was looked at.

    Attributes:
        name: of ``CHECKS``.
        promise: what holds if there is no fault.
        looked_at: number of ``unit``.
        faults: the first of them; ``fault_count`` counts all.
        not_made: why the check could not be made; None if it was.
    """

    name: str
    promise: str
    looked_at: int
    unit: str
    faults: tuple[Fault, ...] = ()
    fault_count: int = 0
    not_made: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The outcome of all checks.

    Attributes:
        dest: the dataset.
        version: which one was looked at; None where the description cannot be read.
        checks: in the order of ``CHECKS``.
        remarks: what is worth knowing and no fault: a run that is under way, or that was interrupted and can be taken up.
    """

    dest: str
    version: int | None
    checks: tuple[Check, ...]
    remarks: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every check was made and none found a fault."""
        return not self.fault_count and all(check.not_made is None for check in self.checks)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that were kept, by check."""
        return tuple(fault for check in self.checks for fault in check.faults)

    @property
    def fault_count(self) -> int:
        """Number of all faults."""
        return sum(check.fault_count for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "dest": self.dest,
            "version": self.version,
            "whole": self.whole,
            "fault_count": self.fault_count,
            "checks": [_check_to_dict(check) for check in self.checks],
            "remarks": list(self.remarks),
        }


def _check_to_dict(check: Check) -> dict[str, Any]:
    faults = [{"where": fault.where, "what": fault.what, "remedy": fault.remedy} for fault in check.faults]
    names = ("name", "promise", "looked_at", "unit", "fault_count", "not_made")
    return {**{name: getattr(check, name) for name in names}, "faults": faults}


@dataclass(slots=True)
class _Tally:
    looked_at: int = 0
    unit: str = "things"
    faults: list[Fault] = field(default_factory=list)
    fault_count: int = 0
    not_made: str | None = None


class Findings:
    """Collects what the checks find, in bounded memory."""

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self._tallies = {name: _Tally() for name in CHECKS}

    def count(self, check: str, looked_at: int, unit: str) -> None:
        """Say that a check looked at so many more things."""
        tally = self._tallies[check]
        tally.looked_at += looked_at
        tally.unit = unit

    def add(self, check: str, where: str, what: str, remedy: str) -> None:
        """Note a fault."""
        self.add_many(check, [Fault(check=check, where=where, what=what, remedy=remedy)], 1)

    def add_many(self, check: str, first: list[Fault], count: int) -> None:
        """Note ``count`` faults, of which these are the first."""
        tally = self._tallies[check]
        tally.faults += first[: MAX_FAULTS - len(tally.faults)]
        tally.fault_count += count

    def skip(self, check: str, reason: str) -> None:
        """Say why a check cannot be made."""
        self._tallies[check].not_made = reason

    def checks(self) -> tuple[Check, ...]:
        """What was found by each check."""
        return tuple(
            Check(
                name=name,
                promise=CHECKS[name],
                looked_at=tally.looked_at,
                unit=tally.unit,
                faults=tuple(tally.faults),
                fault_count=tally.fault_count,
                not_made=tally.not_made,
            )
            for name, tally in self._tallies.items()
        )
