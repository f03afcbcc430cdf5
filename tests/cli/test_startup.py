"""A command starts and ends without what it does not need, and leaves nothing switched off."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

import dicomflow
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


_QUERY = """
import sys
from pathlib import Path
from dicomflow.cli.main import main
code = main(["query", sys.argv[1], "select count(*) as n from instances", "--format", "csv"])
print(code, sys.argv[2] in sys.modules)
"""


@pytest.mark.parametrize(
    "name", ["pydantic", "pyarrow.compute", "pyarrow.dataset", "pandas", "pydicom", "dicomflow.config"]
)
def test_a_query_imports_nothing_that_it_does_not_need(dest: Path, name: str) -> None:
    """From the start to its last row: imports would cost more than a small query."""
    done = subprocess.run([sys.executable, "-c", _QUERY, str(dest), name], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ['"n"', "40", "0 False"]


@pytest.fixture(scope="module")
def dest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("startup")
    dicomflow.write_studies(folder / "scans", files=40, seed=1)
    dicomflow.extract(folder / "scans", folder / "dest", scheduler="threads")
    return folder / "dest"


_LIMIT = """
import resource
from dicomflow.cli.startup import limit_memory
before = resource.getrlimit(resource.RLIMIT_DATA)
with limit_memory(256 << 20):
    after = resource.getrlimit(resource.RLIMIT_DATA)
    with limit_memory(1 << 40):
        assert resource.getrlimit(resource.RLIMIT_DATA) == after, "raised"
    assert after[1] == before[1] and after[0] < 1 << 32
    bytearray(64 << 20)
    try:
        bytearray(512 << 20)
    except MemoryError:
        print("refused")
assert resource.getrlimit(resource.RLIMIT_DATA) == before
bytearray(512 << 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not count")
def test_memory_is_refused_beyond_a_limit() -> None:
    """From where the process is; a lower limit of somebody else stays."""
    done = subprocess.run([sys.executable, "-c", _LIMIT], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
