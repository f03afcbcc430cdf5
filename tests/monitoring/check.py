"""``make metrics-check``: a real Prometheus scrapes a real run on a real Dask cluster, and must have an answer to every query.

In: ``configs/prometheus.yml``, the rules, the dashboard.  Out: a line for each query without data, and the exit code.
Needs ``prometheus`` and ``promtool`` (Debian: apt-get install prometheus).  All of it listens to loopback, on free ports.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from dicomflow.synth import write_studies
from tests.cluster.daemons import Daemons, free_port

from .queries import CONFIGS, RULES, Query, all_queries, answerable

ROOT = str(CONFIGS.parent)
PATIENCE = 120.0
SCRAPE_SECONDS = 0.5
LINGER_SECONDS = 5.0


def main() -> int:
    """Run it all; 0 if each query has data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000, help="files of the run; it should last a few scrapes")
    files = parser.parse_args().files
    if missing := [tool for tool in ("prometheus", "promtool") if shutil.which(tool) is None]:
        print(f"{' and '.join(missing)} not found: apt-get install prometheus", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="metrics-check-") as folder, contextlib.ExitStack() as stack:
        unanswered, count = check(Path(folder), files, stack)
    for query, reason in unanswered:
        print(f"{query.where}: {reason}: {query.expr}")
    print(f"{count - len(unanswered)} passed, {len(unanswered)} failed")
    return 1 if unanswered else 0


def check(folder: Path, files: int, stack: contextlib.ExitStack) -> tuple[list[tuple[Query, str]], int]:
    """Start everything, run, ask; the queries without data, and how many there are."""
    write_studies(folder / "scans", files=files, seed=3, corrupt=0.02)
    driver, dashboard, first, second, web = ports = [free_port() for _ in range(5)]
    config = write_config(folder, dict(zip((9105, 8787, 8790, 8791), (driver, dashboard, first, second), strict=True)))
    subprocess.run(["promtool", "check", "config", config], check=True, stdout=subprocess.DEVNULL)
    daemons = stack.enter_context(Daemons(folder / "daemons", dashboards=(dashboard, first, second)))
    storage = ["--storage.tsdb.path", str(folder / "tsdb"), "--web.listen-address", f"127.0.0.1:{web}"]
    stack.enter_context(running(["prometheus", "--config.file", str(config), *storage], folder))
    wait_for(lambda: up(web) == {"dask-scheduler": 1, "dask-worker": 2}, "Prometheus sees the cluster")
    run = subprocess.Popen(command(folder, daemons.address, driver))
    stack.callback(run.kill)
    wait_for(lambda: finished(web), "Prometheus sees the end of the run")
    queries = all_queries()
    assert len(ports) == len(set(ports))
    answers = [(query, why_unanswered(web, query)) for query in queries]
    if run.wait(timeout=PATIENCE):
        raise SystemExit("the run failed")
    return [(query, reason) for query, reason in answers if reason], len(queries)


def command(folder: Path, address: str, port: int) -> list[str]:
    """A run in small tasks, which waits for the last scrape."""
    (folder / "run.yaml").write_text(
        yaml.safe_dump(
            {
                "compute": {"scheduler": address},
                "plan": {"files_per_task": 500},
                "metrics": {"port": port, "linger_seconds": LINGER_SECONDS},
            }
        )
    )
    extract = [
        "extract",
        str(folder / "scans"),
        "-o",
        str(folder / "out"),
        "--config",
        str(folder / "run.yaml"),
        "--quiet",
    ]
    return [sys.executable, "-m", "dicomflow", *extract]


def write_config(folder: Path, ports: dict[int, int]) -> Path:
    """``configs/prometheus.yml`` as it is, but for ports, how often it scrapes, and node_exporter, which is not here."""
    text = re.sub(
        r"(127\.0\.0\.1:)(\d+)",
        lambda m: m[1] + str(ports.get(int(m[2]), int(m[2]))),
        (CONFIGS / "prometheus.yml").read_text(),
    )
    config: dict[str, Any] = yaml.safe_load(text)
    config["global"] = dict.fromkeys(("scrape_interval", "evaluation_interval"), f"{SCRAPE_SECONDS * 1000:.0f}ms")
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] != "node"]
    shutil.copy(RULES, folder)
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextlib.contextmanager
def running(arguments: list[str], folder: Path) -> Iterator[None]:
    """A process that is ended with the block; what it says is shown if it ends before."""
    log = folder / f"{Path(arguments[-1]).name or 'process'}-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, stdout=output, stderr=output, cwd=folder, env={**os.environ, "PYTHONPATH": ROOT}
        )
    try:
        yield
        if process.poll() is not None:
            print(log.read_text()[-2000:], file=sys.stderr)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(happened: Callable[[], bool], what: str) -> None:
    """Until it has happened, within reason."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {PATIENCE:g} s in vain: {what}")
        time.sleep(0.1)


def ask(web: int, expr: str) -> list[dict[str, Any]]:
    """The answer of Prometheus to a query, as of now.

    Raises:
        ValueError: it does not understand the query.
        OSError: it does not answer.
    """
    query = urllib.parse.urlencode({"query": expr})
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{web}/api/v1/query?{query}", timeout=10) as page:
            answer = json.load(page)
    except urllib.error.HTTPError as error:
        if error.code not in (400, 422):  # it is still starting
            raise
        raise ValueError(json.load(error)["error"]) from None
    series: list[dict[str, Any]] = answer["data"]["result"]
    return series


def up(web: int) -> dict[str, int]:
    """How many targets of each job answer; none while Prometheus does not."""
    try:
        return {one["metric"]["job"]: int(one["value"][1]) for one in ask(web, "sum by (job) (up == 1)")}
    except OSError:
        return {}


def finished(web: int) -> bool:
    """Whether the end of the run was scraped."""
    return bool(ask(web, "dicomflow_run_success == 1"))


def why_unanswered(web: int, query: Query) -> str:
    """What is wrong with the answer, ``""`` if nothing is: a number at least, in at least one series."""
    try:
        series = ask(web, answerable(query.expr))
    except ValueError as error:
        return f"not understood ({error})"
    if not series:
        return "no data"
    return "" if any(math.isfinite(float(one["value"][1])) for one in series) else "no number"


if __name__ == "__main__":
    sys.exit(main())
