"""Each command shows its progress where somebody can see it."""

from __future__ import annotations

import pytest

from dicomflow.cli import progress as module
from dicomflow.cli.progress import Bar, Lines, Silent, make_watcher
from tests.report.test_progress import console


def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quiet is silent; without a terminal, or with a log on it, there are lines."""
    assert type(make_watcher(quiet=True)) is Silent
    assert isinstance(make_watcher(quiet=False), Lines)
    monkeypatch.setattr(module, "stderr_console", lambda: console(terminal=True))
    assert isinstance(make_watcher(quiet=False), Bar)
    assert isinstance(make_watcher(quiet=False, plain=True), Lines)
