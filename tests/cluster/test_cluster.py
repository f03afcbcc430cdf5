"""A real scheduler and real workers: the same dataset as in one process, whoever dies meanwhile."""

from __future__ import annotations

import shutil
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client

import dicomflow
from dicomflow.errors import ComputeError
from dicomflow.model import ScanResult
from dicomflow.summary import RunSummary, Totals
from dicomflow.synth import write_studies
from dicomflow.watch import Watcher
from dicomflow.worker.meter import STAGES
from tests import poison
from tests.cluster.daemons import Daemons
from tests.test_pipeline import leftovers, read_all

FILES = 120


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies of all kinds, every tenth file with a fault."""
    folder = tmp_path_factory.mktemp("cluster") / "source"
    write_studies(folder, files=FILES, seed=3, corrupt=0.1)
    return folder


@pytest.fixture(scope="module")
def reference(source: Path) -> dict[str, list[dict[str, Any]]]:
    """The dataset of one process."""
    dest = source.parent / "reference"
    dicomflow.extract(source, dest, compute__scheduler="in-process", compute__dashboard_address="")
    return read_all(dest)


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    """Two workers, which a file named ``.kill`` kills; whatever else happens to them, they are two again after each test."""
    options, environment = ("--preload", poison.PATH), {"POISON": ".kill=KILL"}
    with Daemons(tmp_path_factory.mktemp("daemons"), options=options, environment=environment) as running:
        yield running


def extract(source: Path, dest: Path, daemons: Daemons, **options: Any) -> RunSummary:
    settings = {"compute__scheduler": daemons.address, "plan__files_per_task": 10, **options}
    return dicomflow.extract(source, dest, **settings)


def at_tasks(*counts: int, do: Callable[[], object]) -> Callable[[str, Totals], None]:
    """A watcher that does something, once each, when so many tasks are done."""
    left = list(counts)

    def watch(stage: str, totals: Totals) -> None:
        if stage == "scan" and left and totals.tasks_done >= left[0]:
            del left[0]
            do()

    return watch


def test_same_dataset_as_in_one_process(
    source: Path, reference: dict[str, Any], daemons: Daemons, tmp_path: Path
) -> None:
    """Rows and ledger do not depend on where tasks run."""
    summary = extract(source, tmp_path / "d", daemons)
    assert read_all(tmp_path / "d") == reference and leftovers(tmp_path / "d") == []
    assert summary.files == FILES and summary.tasks == FILES // 10 and summary.scheduler == daemons.address


def test_dashboard_names_the_stages(source: Path, daemons: Daemons, tmp_path: Path) -> None:
    """The dashboard of the run answers, and knows the tasks by their name and their activities by theirs."""
    said: list[str] = []

    def look(stage: str, totals: Totals) -> None:
        if stage == "scan" and totals.tasks_done >= 6 and not said:
            assert totals.dashboard == f"http://127.0.0.1:{daemons.dashboard_port}/status"
            for page in ("/status", "/individual-fine-performance-metrics", "/info/main/workers.html", "/metrics"):
                with urllib.request.urlopen(totals.dashboard.replace("/status", page), timeout=60) as answer:
                    assert answer.status == 200
                    said.append(answer.read().decode())

    extract(source, tmp_path / "d", daemons, progress=look)
    assert "Dask" in said[0] and "scan_task" in said[-1]


class Booked(Watcher):
    """What workers say that their tasks spent their time on."""

    def __init__(self) -> None:
        self.run_id = ""
        self.seconds: Counter[str] = Counter()

    def on_begin(self, run_id: str) -> None:
        self.run_id = run_id

    def on_result(self, result: ScanResult) -> None:
        self.seconds.update(result.seconds)


def read_spans(daemons: Daemons, run_id: str) -> dict[tuple[str, ...], dict[str, float]]:
    """What the dashboard has to draw of a run: seconds of its ``scan_task`` by activity, and in all, for each span."""

    def read(dask_scheduler: Any) -> dict[tuple[str, ...], dict[str, float]]:  # local, so that it travels by value
        spans = {}
        for span in dask_scheduler.extensions["spans"].spans.values():
            if run_id not in span.name:
                continue
            groups = [group for group in span.traverse_groups() if group.prefix.name == "scan_task"]
            found = spans[span.name] = {"compute": sum(group.all_durations["compute"] for group in groups)}
            for key, value in span.cumulative_worker_metrics.items():
                if key[:2] == ("execute", "scan_task") and key[-1] == "seconds":
                    found[key[2]] = value
        return spans

    with Client(daemons.address, set_as_default=False) as client:
        spans: dict[tuple[str, ...], dict[str, float]] = client.run_on_scheduler(read)
    return spans


def test_activities_add_up_to_the_time_of_tasks(source: Path, daemons: Daemons, tmp_path: Path) -> None:
    """Fine Performance Metrics: each second of a task is in one activity and in no other, by run and by SOURCE."""
    booked, other = Booked(), tmp_path / "other"
    write_studies(other, files=60, seed=4)
    settings: dict[str, Any] = {"compute__scheduler": daemons.address, "plan__files_per_task": 30}
    dicomflow.extract([source, other], tmp_path / "d", progress=booked, **settings)
    whole = ("dicomflow", booked.run_id)
    deadline = time.monotonic() + 60
    while (spans := read_spans(daemons, booked.run_id))[whole].get("write", 0.0) < booked.seconds["write"] * 0.999:
        assert time.monotonic() < deadline, "workers tell at their next heartbeat"
        time.sleep(0.2)
    assert spans.keys() == {whole, (*whole, str(source)), (*whole, str(other))}
    run = spans.pop(whole)
    for stage in set(STAGES) - {"other"}:
        assert run[stage] == pytest.approx(booked.seconds[stage])
        assert run[stage] == pytest.approx(sum(span[stage] for span in spans.values()))
    assert run["other"] >= booked.seconds["other"]  # Dask has one of its own: what it spends around a task
    assert booked.seconds.total() == pytest.approx(run["compute"], rel=0.02)
    unbooked = run["thread-cpu"] + run["thread-noncpu"]  # what Dask finds that nobody booked: never less than nothing
    assert booked.seconds.total() + unbooked == pytest.approx(run["compute"], rel=0.002)


def test_workers_killed_while_they_read(
    source: Path, reference: dict[str, Any], daemons: Daemons, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker that is gone takes nothing with it: its task runs again elsewhere; that it went is said."""

    def kill() -> None:
        daemons.worker_processes()[0].kill()

    extract(source, tmp_path / "d", daemons, progress=at_tasks(2, 7, do=kill))
    assert read_all(tmp_path / "d") == reference and leftovers(tmp_path / "d") == []
    assert "workers_lost" in capsys.readouterr().err


def test_worker_that_hangs(source: Path, reference: dict[str, Any], daemons: Daemons, tmp_path: Path) -> None:
    """A worker that was stopped is not waited for longer than the scheduler is told to; its task runs elsewhere."""
    stopped: list[psutil.Process] = []

    def stop() -> None:
        stopped.append(daemons.worker_processes()[0])
        stopped[0].suspend()

    def be_patient(seconds: float, dask_scheduler: Any) -> None:  # as its settings would have it from the beginning
        dask_scheduler.worker_ttl = seconds
        looking = dask_scheduler.periodic_callbacks["worker-ttl"]
        looking.stop()
        looking.callback_time = seconds * 1000
        looking.start()

    with Client(daemons.address, set_as_default=False) as client:
        client.run_on_scheduler(be_patient, 0.5)
        extract(source, tmp_path / "d", daemons, progress=at_tasks(4, do=stop))
        client.run_on_scheduler(be_patient, 300.0)
    assert stopped and read_all(tmp_path / "d") == reference


def test_scheduler_killed(source: Path, reference: dict[str, Any], daemons: Daemons, tmp_path: Path) -> None:
    """The run ends with one clear line; the same command goes on where it was when there is a scheduler again."""
    with pytest.raises(ComputeError, match="the Dask cluster was lost") as caught:
        extract(source, tmp_path / "d", daemons, progress=at_tasks(4, do=daemons.kill_scheduler))
    assert "\n" not in str(caught.value) and not (tmp_path / "d" / "instances").exists()
    daemons.start(2)
    summary = extract(source, tmp_path / "d", daemons)
    assert summary.resumed >= 30 and summary.read + summary.resumed == FILES
    assert read_all(tmp_path / "d") == reference and leftovers(tmp_path / "d") == []


def test_files_that_kill_every_worker(source: Path, daemons: Daemons, tmp_path: Path) -> None:
    """All but such a file are in the dataset; it is ``failed``, ``worker_killed``, and no other is."""
    mine = tmp_path / "source"
    shutil.copytree(source, mine)
    victim = sorted(path for path in mine.rglob("*") if path.is_file())[70]
    victim = victim.rename(f"{victim}.kill")
    dicomflow.extract(mine, tmp_path / "reference", compute__scheduler="threads")
    summary = extract(mine, tmp_path / "d", daemons, plan__files_per_task=8)
    found, expected = read_all(tmp_path / "d"), read_all(tmp_path / "reference")
    (killed,) = (row for row in found["files"] if row["code"] == "worker_killed")
    assert (killed["uri"], killed["status"], killed["SOPInstanceUID"]) == (str(victim), "failed", None)
    assert summary.failed >= 1
    assert [row for row in found["files"] if row != killed] == [
        row for row in expected["files"] if row["uri"] != str(victim)
    ]
    assert found["instances"] == [row for row in expected["instances"] if row["source_uri"] != str(victim)]
