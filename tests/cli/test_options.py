"""Shares and ranges are written as people write them."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from dicomflow.cli.options import parse_range, parse_share
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("text", "share"),
    [("0", 0), ("1", 1), ("0.05", 0.05), ("5%", 0.05), ("100%", 1), (" 2.5 % ", 0.025), ("1e-3", 0.001)],
)
def test_shares(text: str, share: float) -> None:
    """Per cent or a number from 0 to 1."""
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "five", "5", "101%", "-0.1", "nan", "inf", "nan%"])
def test_no_shares(text: str) -> None:
    """Everything else is a usage error: 5 could mean 5 % or five times all."""
    with pytest.raises(click.BadParameter):
        parse_share(text)


@pytest.mark.parametrize(("text", "least", "most"), [("0:1", 0, 1), ("2:40", 2, 40), (" 3:3 ", 3, 3)])
def test_ranges(text: str, least: int, most: int) -> None:
    """Two whole numbers with a colon between."""
    assert parse_range(text) == {"minimum": least, "maximum": most}


@pytest.mark.parametrize("text", ["", "4", "4:", ":4", "4:2", "0:0", "-1:4", "1:2:3", "a:b", "1.5:2", "1:10000000"])
def test_no_ranges(text: str) -> None:
    """Everything else is a usage error."""
    with pytest.raises(click.BadParameter):
        parse_range(text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--adapt", "4"], "'4' is not MIN:MAX; write 2:40."),
        (
            ["--adapt", "1:2", "--scheduler", "threads"],
            "cluster.adapt (--adapt): threads cannot adapt; processes, slurm,",
        ),
        (["--adapt", "1:2", "--scheduler", "tcp://127.0.0.1:1"], "a cluster at an address cannot adapt"),
        (
            ["--adapt", "1:2", "--workers", "2"],
            "compute.workers (--workers) and cluster.adapt (--adapt) both say how many",
        ),
        (["--scheduler", "slurm"], "compute.scheduler is slurm, but there is no cluster.slurm to say how"),
    ],
)
def test_workers_that_cannot_be(options: list[str], said: str, run: Run, tmp_path: Path) -> None:
    """Exit code 2 and one line, before anything is read."""
    outcome = run("extract", tmp_path, "-o", tmp_path / "dest", *options)
    assert outcome.code == 2 and said in outcome.err
    assert not (tmp_path / "dest").exists()
