"""What the tests of the command line share: small studies, and a way to call ``dicomflow`` in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import structlog

from dicomflow.cli import main
from dicomflow.synth import make_series, write_studies


class Outcome(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Call ``dicomflow`` with arguments."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    yield call
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 files, a quarter of them faulty in every way that there is."""
    folder = tmp_path_factory.mktemp("cli") / "studies"
    write_studies(folder, files=120, seed=3, corrupt=0.25)
    return folder


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """One CT image."""
    path = tmp_path / "ct.dcm"
    path.write_bytes(next(make_series("ct")).data)
    return path
