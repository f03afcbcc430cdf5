"""Take the README's pictures of a real run: the Dask dashboard and the quality report in headless Chromium, the output as SVG.

Usage: make screenshots      (needs Chromium and its driver; writes docs/images)

A scheduler and two workers run on loopback, so that the dashboard is there before and after the job.
"""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

from tests.browser.chromium import open_browser, set_size

IMAGES = Path(__file__).parent / "images"
BIN = Path(sys.executable).parent
SCHEDULER, DASHBOARD = "tcp://127.0.0.1:18786", "127.0.0.1:18787"
FILES = 60_000


def main() -> None:
    """Make files, run, take pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run("dicomflow", "synth", work / "scans", "--files", FILES, "--seed", 3, "--corrupt", 0.02, "--workers", 2)
        picture_of_output(work)
        pictures_of_report(work)
        pictures_of_dashboard(work)


def picture_of_output(work: Path) -> None:
    """The terminal after ``dicomflow extract``, as it was printed to a terminal."""
    shown = "dicomflow extract scans -o headers"
    output = run_in_terminal([str(BIN / "dicomflow"), "extract", "scans", "-o", "headers"], work)
    output = hide_folder(output, work)
    console = Console(record=True, width=90, file=open(os.devnull, "w"))  # noqa: SIM115 (nothing to keep)
    console.print(Text.from_ansi(f"$ {shown}\n{output}"))
    console.save_svg(str(IMAGES / "extract.svg"), title="dicomflow")


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


def hide_folder(output: str, work: Path) -> str:
    """Paths as somebody who works in ``work`` would write them: where this script happened to work is no news."""
    return output.replace(f"{work}{os.sep}", "")


def pictures_of_dashboard(work: Path) -> None:
    """The status page while the job runs, drawn by a real browser."""
    cluster = [
        start("dask", "scheduler", "--host", "127.0.0.1", "--port", "18786", "--dashboard-address", DASHBOARD),
        *(start("dask", "worker", SCHEDULER, "--nthreads", "1", "--no-dashboard") for _ in range(2)),
    ]
    settings = work / "small-tasks.yaml"
    settings.write_text("plan: {files_per_task: 600}\n")
    extract = ("extract", str(work / "scans"), "-o", str(work / "cluster"), "--scheduler", SCHEDULER, "--quiet")
    try:
        wait_for(f"http://{DASHBOARD}/status")
        with open_browser() as browser:
            browser.get(f"http://{DASHBOARD}/status")
            time.sleep(8)
            job = start("dicomflow", *extract, "--config", str(settings))
            for shot in range(12):  # the last one before the end shows the most
                time.sleep(1)
                if job.poll() is None or shot == 0:
                    browser.save_screenshot(str(IMAGES / "dashboard-status.png"))
            job.wait()
            browser.get(f"http://{DASHBOARD}/individual-fine-performance-metrics")
            time.sleep(8)
            browser.save_screenshot(str(IMAGES / "dashboard-fine-performance.png"))
    finally:
        for process in reversed(cluster):
            process.terminate()


def run(program: str, *arguments: object) -> None:
    """Run a program of this environment."""
    subprocess.run([str(BIN / program), *map(str, arguments)], check=True)


def start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a program of this environment in the background."""
    return subprocess.Popen(
        [str(BIN / program), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tempfile.mkdtemp()
    )


def run_in_terminal(command: list[str], folder: Path) -> str:
    """What a program prints to a terminal, without what it overwrote."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command, cwd=folder, stdout=slave, stderr=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "90"}
    )
    os.close(slave)
    chunks = []
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    process.wait()
    return b"".join(chunks).decode().replace("\r\n", "\n")


def wait_for(address: str) -> None:
    """Until the page answers."""
    for _ in range(400):
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{address} does not answer")


if __name__ == "__main__":
    main()
