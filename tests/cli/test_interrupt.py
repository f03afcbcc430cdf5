"""Ctrl-C ends a run within two seconds, and the dataset is what it was."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dicomflow.cli.interrupt import leave_on_interrupt
from dicomflow.query import open_dataset

from .conftest import Run

SLOW_START = """
import sys, time
from dicomflow.cli import extract, main
from dicomflow.cli.interrupt import leave_on_interrupt
real = extract.extract
def slow(*arguments, progress, **options):
    def watch(stage, totals):
        progress(stage, totals)
        if stage == "scan":
            print("scanning", flush=True)
            time.sleep(30)
    return real(*arguments, progress=watch, **options)
extract.extract = slow
"""
STUBBORN = """
def stubborn(*arguments, **options):
    print("scanning", flush=True)
    try:
        time.sleep(30)
    finally:
        time.sleep(30)
extract.extract = stubborn
"""


def stop(script: str, arguments: list[str]) -> tuple[int, str, float]:
    """Run ``dicomflow`` after ``script``, press Ctrl-C when it scans; exit code, stderr, seconds."""
    command = [sys.executable, "-c", script + "sys.exit(main(sys.argv[1:]))", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "scanning\n"
        start = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(timeout=30)
        return code, process.stderr.read(), time.monotonic() - start


@pytest.mark.parametrize("scheduler", ["in-process", "processes"])
def test_ctrl_c_leaves_the_dataset(run: Run, studies: Path, tmp_path: Path, scheduler: str) -> None:
    """Exit code 130 and one line; the dataset reads as before, and the next run works."""
    dest = tmp_path / "out"
    run("extract", studies, "-o", dest, "--quiet", "--columns", "minimal")
    before = open_dataset(dest).to_arrow()
    arguments = [
        "extract",
        str(studies),
        "-o",
        str(dest),
        "--quiet",
        "--columns",
        "minimal",
        "--no-dashboard",
        "--full",
    ]
    code, err, seconds = stop(SLOW_START, [*arguments, "--scheduler", scheduler, "--workers", "1"])
    assert (code, err) == (
        130,
        f"dicomflow: stopped; the dataset {dest} is as it was before; the same command goes on from here\n",
    )
    assert seconds < 5  # two on a machine that has nothing else to do
    assert open_dataset(dest).to_arrow().equals(before)
    assert run(*arguments).code == 0


def test_work_that_does_not_stop_is_left(tmp_path: Path) -> None:
    """Where putting away takes too long, the process leaves all the same."""
    code, err, seconds = stop(SLOW_START + STUBBORN, ["extract", "x", "-o", str(tmp_path / "out")])
    assert (code, err) == (
        130,
        f"dicomflow: stopped; nothing was published in {tmp_path / 'out'}; the same command goes on from here\n",
    )
    assert seconds < 5


PUTS_AWAY = """
def put_away(*arguments, **options):
    try:
        print("scanning", flush=True)
        time.sleep(30)
    finally:
        time.sleep(1.5)
        print("put away", file=sys.stderr, flush=True)
extract.extract = put_away
"""


def test_a_cluster_elsewhere_is_ended_first(tmp_path: Path) -> None:
    """Its jobs or machines would go on, and cost: putting away may take longer than on this machine."""
    config = tmp_path / "config.yaml"
    config.write_text("cluster: {ssh: {hosts: [a, b]}}")
    code, err, _ = stop(
        SLOW_START + PUTS_AWAY, ["extract", "x", "-o", str(tmp_path / "out"), "--config", str(config), "--quiet"]
    )
    assert code == 130 and err.startswith("put away\n")


def test_signals_are_as_before(tmp_path: Path) -> None:
    """After the block Ctrl-C is Python's own again, whether the work failed or not."""
    for error in (None, ValueError()):
        before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGUSR1), signal.pthread_sigmask(0, ()))
        with contextlib.suppress(ValueError), leave_on_interrupt(lambda: "never said"):
            assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
            if error:
                raise error
        assert before == (
            signal.getsignal(signal.SIGINT),
            signal.getsignal(signal.SIGUSR1),
            signal.pthread_sigmask(0, ()),
        )
    with pytest.raises(KeyboardInterrupt):
        _press_ctrl_c()


def _press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
