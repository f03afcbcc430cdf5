"""A run over files that are known, beside the run that read them; what publishing and a row cost.  Nothing here asserts a time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import WORK, cpu_of_children, cpu_of_self, dicomflow

from dicomflow import extract, open_dataset
from dicomflow.cli.startup import spare_pandas
from tests.conftest import CORPUS

ONE = {"compute__scheduler": "threads", "compute__workers": 1}


@pytest.mark.benchmark(group="again", timer=cpu_of_self)
def test_rerun(benchmark: Any, many: Path) -> None:
    """Nothing changed: list, compare, say so.  In this process, imports apart; beside the first run over the same files."""
    spare_pandas()
    dest = WORK / "again"
    shutil.rmtree(dest, ignore_errors=True)
    start = cpu_of_self()
    first = extract(many, dest, **ONE)
    benchmark.extra_info["first_run"] = cpu_of_self() - start
    benchmark.extra_info["publish_share"] = first.stages["publish"] / first.seconds
    before = {path: path.stat().st_mtime_ns for path in dest.rglob("*.parquet")}
    benchmark.pedantic(extract, args=(many, dest), kwargs=ONE, rounds=5, warmup_rounds=1)
    assert before == {path: path.stat().st_mtime_ns for path in dest.rglob("*.parquet")}, "no byte was written again"
    benchmark.extra_info.update(_bytes_per_row(dest, "synthetic"))


@pytest.mark.benchmark(group="again", timer=cpu_of_children)
def test_rerun_command(benchmark: Any, many: Path) -> None:
    """The same as commands, start-up included."""
    dest = WORK / "again-command"
    shutil.rmtree(dest, ignore_errors=True)
    start = cpu_of_children()
    dicomflow("extract", many, "-o", dest, "--quiet")
    benchmark.extra_info["first_command"] = cpu_of_children() - start
    benchmark.pedantic(dicomflow, args=("extract", many, "-o", dest, "--quiet"), rounds=3)


@pytest.mark.benchmark(group="again", timer=cpu_of_self)
def test_corpus_rows(benchmark: Any) -> None:
    """What a row of real files takes on the disk."""
    if not CORPUS.is_dir():
        pytest.skip("the public files are not here")
    dest = WORK / "corpus"
    benchmark.pedantic(
        extract,
        args=(CORPUS, dest),
        kwargs=ONE,
        setup=lambda: shutil.rmtree(dest, ignore_errors=True),
        rounds=1,
    )
    benchmark.extra_info.update(_bytes_per_row(dest, "corpus"))


def _bytes_per_row(dest: Path, kind: str) -> dict[str, float]:
    snapshot = open_dataset(dest).snapshot
    found = {
        f"{kind}_{table}": snapshot.bytes(table) / max(1, snapshot.rows(table)) for table in ("instances", "files")
    }
    return found
