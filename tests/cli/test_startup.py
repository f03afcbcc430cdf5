"""A command starts and ends without what it does not need, and leaves nothing switched off."""

import gc
import subprocess
import sys

import pytest

from dicomflow.cli.startup import spare_collector


def test_the_collector_rests_meanwhile_and_then_passes_over_what_was_made() -> None:
    frozen = gc.get_freeze_count()
    with spare_collector():
        assert not gc.isenabled()
        made = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= frozen + len(made)
    gc.unfreeze()


def test_the_collector_works_again_after_a_failed_import() -> None:
    with pytest.raises(ImportError), spare_collector():
        raise ImportError("no such module")
    assert gc.isenabled()
    gc.unfreeze()


def test_who_switched_the_collector_off_finds_it_off() -> None:
    gc.disable()
    try:
        with spare_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


@pytest.mark.parametrize("name", ["distributed", "pydicom", "pandas", "duckdb", "structlog"])
def test_extract_imports_nothing_that_a_short_run_does_not_need(name: str) -> None:
    code = f"import sys, dicomflow.cli.extract; sys.exit({name!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["duckdb", "pandas", "distributed", "pydicom"])
def test_export_imports_nothing_before_it_runs(name: str) -> None:
    code = f"import sys, dicomflow.cli.export; sys.exit({name!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
