"""What all tests share: the corpus of real files, and how long hypothesis may search."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
# The corpus lies beside the checkout, or where the environment says: a second worktree has another neighbour.
CORPUS = Path(os.environ.get("DICOMFLOW_CORPUS") or ROOT.parent / "shared" / "corpus")

if str(ROOT) not in sys.path:  # the tests import each other's helpers as ``tests.name``
    sys.path.insert(0, str(ROOT))

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True, suppress_health_check=_SLOW)
settings.register_profile("dev", max_examples=2000, deadline=None, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it, and never end


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real DICOM files."""
    if not CORPUS.is_dir():
        pytest.skip("the corpus of real files is not here")
    return CORPUS


@pytest.fixture(scope="session")
def corpus_files(corpus: Path) -> list[Path]:
    """All files of the corpus, in a fixed order."""
    return sorted(path for path in corpus.rglob("*") if path.is_file() and path.name != "README.md")
