"""Say what a verification found: a line for each check, then a line for each fault.

In: a Verification.  Out: what ``rich`` can print.  Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from dicomflow.dataset.verification import Check, Fault, Verification
from dicomflow.report.text import harmless


def render_verification(verification: Verification) -> RenderableType:
    """All checks, all faults that were kept, remarks, and the verdict."""
    parts: list[RenderableType] = [_render_check(check) for check in verification.checks]
    if verification.faults:
        parts += ["", *_render_faults(verification)]
    if verification.remarks:
        parts += ["", *(Text.assemble(("remark      ", "dim"), harmless(remark)) for remark in verification.remarks)]
    return Group(*parts, "", _render_verdict(verification))


def _render_check(check: Check) -> Text:
    if check.fault_count:
        outcome, style = f"{check.fault_count:,} fault" + "s" * (check.fault_count > 1), "red"
    elif check.not_made is not None:
        outcome, style = "not made", "yellow"
    else:
        outcome, style = "ok", "green"
    about = check.promise if check.not_made is None else check.not_made
    return Text.assemble(
        (f"{check.name:<12}", "bold"), (f"{outcome:<12}", style), harmless(about), (_say_how_many(check), "dim")
    )


def _say_how_many(check: Check) -> str:
    return "" if check.not_made is not None else f" ({check.looked_at:,} {check.unit})"


def _render_faults(verification: Verification) -> Iterator[Text]:
    for check in verification.checks:
        yield from map(_render_fault, check.faults)
        if check.fault_count > len(check.faults):
            yield Text.assemble((f"{check.name:<12}", "bold"), f"and {check.fault_count - len(check.faults):,} more")


def _render_fault(fault: Fault) -> Text:
    return Text.assemble((f"{fault.check:<12}", "bold"), harmless(f"{fault.where}: {fault.what}; {fault.remedy}"))


def _render_verdict(verification: Verification) -> Text:
    dest = harmless(verification.dest)
    version = "" if verification.version is None else f", version {verification.version}"
    if verification.whole:
        return Text.assemble((f"{dest}{version}: ", ""), ("whole", "green"))
    return Text.assemble((f"{dest}{version}: ", ""), ("not whole", "red"))
