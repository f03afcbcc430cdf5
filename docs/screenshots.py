"""Take the pictures of the documentation, of real runs: dashboard and quality report in headless Chromium, terminals as SVG.

Usage: make screenshots      (needs Chromium and its driver; writes docs/images; a few minutes)

Each run reads the same synthetic files on a scheduler and two workers on loopback: as they are, on a storage that is slow, where
some files are slow, and with too little memory.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

from docs.stage import Browser, run, run_in_terminal, start
from tests.browser.chromium import open_browser, set_size
from tests.cluster.daemons import Daemons

IMAGES = Path(__file__).parent / "images"
SLOW = Path(__file__).parent / "slow_storage.py"
FILES = 60_000
FINE = "individual-fine-performance-metrics"
LINES_WITH_WORKERS = 4
"""Of a frame of the progress bar: bar, rates, and two workers."""


def main() -> None:
    """Make files, run, take pictures."""
    parser = argparse.ArgumentParser(description="Take the pictures of the documentation.")
    parser.add_argument("--scans", type=Path, help="synthetic files that are there already")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if scans := parser.parse_args().scans:
            (work / "scans").symlink_to(scans.absolute())
        else:
            run("dicomflow", "synth", work / "scans", "--files", FILES, "--seed", 3, "--corrupt", 0.02, "--workers", 2)
        pictures_of_terminal(work)
        pictures_of_report(work)
        pictures_of_run(work)
        picture_of_slow_storage(work)
        picture_of_straggler(work)
        picture_of_little_memory(work)


# ---- the terminal ----


def pictures_of_terminal(work: Path) -> None:
    """``dicomflow extract`` on two worker processes: after the run, and in the middle of it."""
    command = ["extract", "scans", "-o", "headers"]
    two = ["--scheduler", "processes", "--workers", "2"]
    output, frames = run_in_terminal([sys.executable, "-m", "dicomflow", *command, *two], work)
    shown = f"$ dicomflow {' '.join(command)}\n"
    save_terminal(shown + output.replace(f"{work}{os.sep}", ""), IMAGES / "extract.svg")
    bars = [bar for frame in frames if len(bar := lines_of_bar(frame)) == LINES_WITH_WORKERS]
    save_terminal(shown + "\n".join(bars[len(bars) * 2 // 3]), IMAGES / "progress.svg")


def lines_of_bar(frame: str) -> list[str]:
    """The bar and what is below it; log lines that were printed above it are left out."""
    lines = frame.splitlines()
    begin = next((number for number, line in enumerate(lines) if "reading " in line and " of " in line), len(lines))
    return lines[begin:]


def save_terminal(text: str, path: Path) -> None:
    """Text with colours as SVG."""
    with open(os.devnull, "w") as nothing:
        console = Console(record=True, width=90, file=nothing)
        console.print(Text.from_ansi(text))
        console.save_svg(str(path), title="dicomflow")


# ---- the quality report ----


def pictures_of_report(work: Path) -> None:
    """The quality report of what was just read, on a desk and on a phone."""
    run("dicomflow", "report", work / "headers", "-o", work / "report.html")
    with open_browser() as browser:
        for name, width, height in (("report", 1280, 1500), ("report-phone", 390, 1500)):
            set_size(browser, width, height)
            browser.get((work / "report.html").as_uri())
            time.sleep(3)
            picture = Image.open(io.BytesIO(browser.get_screenshot_as_png()))
            picture.convert("RGB").save(IMAGES / f"{name}.png", optimize=True)


# ---- the dashboard ----


def pictures_of_run(work: Path) -> None:
    """A run as it should be: status while it lasts, then workers and activities, and the performance report."""
    report = work / "report.html"
    with Daemons(work / "plain") as cluster, Browser() as browser:
        browser.open(f"{cluster.dashboard}/status")
        with job(work, cluster, files_per_task=1000, report=report) as running:
            watch(running, browser, IMAGES / "dashboard-status.png", at=0.5)
        browser.open(f"{cluster.dashboard}/workers")
        browser.save(IMAGES / "dashboard-workers.png", height=420)
        save_activities(cluster, browser, IMAGES / "dashboard-fine-performance.png")
        browser.open(report.as_uri())
        browser.save(IMAGES / "dashboard-report.png", height=580)


def picture_of_slow_storage(work: Path) -> None:
    """Each open takes ten milliseconds longer."""
    slow = Daemons(work / "slow", options=("--preload", str(SLOW)), environment={"SLOW_OPEN": "0.01"})
    with slow as cluster, Browser() as browser:
        with job(work, cluster, files_per_task=1000) as running:
            running.wait()
        save_activities(cluster, browser, IMAGES / "dashboard-slow-storage.png")


def picture_of_straggler(work: Path) -> None:
    """The folder that is listed last lies on something slow: its files take twenty seconds longer, together."""
    last = max(path for path in (work / "scans").iterdir() if path.is_dir())
    files = sum(len(names) for _, _, names in os.walk(last))
    environment = {"SLOW_OPEN": str(20 / files), "SLOW_PART": last.name}
    with (
        Daemons(work / "straggler", options=("--preload", str(SLOW)), environment=environment) as cluster,
        Browser() as browser,
    ):
        browser.open(f"{cluster.dashboard}/status")
        with job(work, cluster, files_per_task=1000, read_ahead=0) as running:
            watch(running, browser, IMAGES / "dashboard-straggler.png")


def picture_of_little_memory(work: Path) -> None:
    """Workers that may use less than they need; the run is stopped when that has shown."""
    with Daemons(work / "memory", options=("--memory-limit", "200MiB")) as cluster, Browser() as browser:
        browser.open(f"{cluster.dashboard}/status")
        with job(work, cluster, files_per_task=4000) as running:
            watch(running, browser, IMAGES / "dashboard-little-memory.png", seconds=80)


@contextlib.contextmanager
def job(
    work: Path, cluster: Daemons, *, files_per_task: int, read_ahead: int = 16, report: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A run on the cluster, which does not outlive the block."""
    folder = Path(tempfile.mkdtemp(dir=work))
    settings = f"plan: {{files_per_task: {files_per_task}}}\nheader: {{read_ahead: {read_ahead}}}\n"
    (folder / "settings.yaml").write_text(settings)
    options = ["--scheduler", cluster.address, "--config", str(folder / "settings.yaml"), "--quiet"]
    options += [] if report is None else ["--performance-report", str(report)]
    running = start("dicomflow", "extract", str(work / "scans"), "-o", str(folder / "headers"), *options, folder=folder)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.terminate()
        running.wait()


def watch(
    running: subprocess.Popen[bytes], browser: Browser, path: Path, *, at: float = 1.0, seconds: float = 600
) -> None:
    """Look once a second while the job runs, and keep the picture of one moment.

    Args:
        running: the job.
        browser: with the page open.
        path: of the picture.
        at: 0 for the first picture, 1 for the last.
        seconds: not longer than this.
    """
    taken = []
    end = time.monotonic() + seconds
    while running.poll() is None and time.monotonic() < end:
        time.sleep(1)
        taken.append(browser.take())
    path.write_bytes(taken[round(at * (len(taken) - 1))])


def save_activities(cluster: Daemons, browser: Browser, path: Path) -> None:
    """Fine Performance Metrics of the tasks that read."""
    browser.open(f"{cluster.dashboard}/{FINE}")
    browser.choose("MultiChoice", "Filter by function", ["scan_task"])
    browser.save(path, height=600)


if __name__ == "__main__":
    main()
