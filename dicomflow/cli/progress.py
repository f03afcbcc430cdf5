"""Which display of a run's progress fits the command: a bar on a terminal, lines otherwise, nothing for who wants nothing.

In: what the command's options say.  Out: a display of ``report.progress``.  Knows no rendering.
"""

from __future__ import annotations

from dicomflow.cli.output import stderr_console
from dicomflow.report.progress import LINE_SECONDS, Bar, Lines, Silent

__all__ = ["LINE_SECONDS", "Bar", "Lines", "Silent", "make_watcher"]


def make_watcher(*, quiet: bool, plain: bool = False) -> Silent:
    """The display that fits stderr.

    Args:
        quiet: show nothing.
        plain: no bar, even on a terminal: log lines would tear it.
    """
    if quiet:
        return Silent()
    console = stderr_console()
    return Bar(console) if console.is_terminal and not plain else Lines(console)
