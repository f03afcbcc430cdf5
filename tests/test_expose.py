"""Prometheus reads what a run exposes: on a port while it goes on, from a file when it is over."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import dicomflow
from dicomflow.config import MetricsConfig
from dicomflow.errors import ConfigError
from dicomflow.expose import ExposedMetrics, open_metrics, write_file
from dicomflow.metrics import RunMetrics
from dicomflow.model import LATENCY_BUCKETS, BatchDone, ScanResult
from dicomflow.summary import Totals
from dicomflow.synth import write_studies

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Samples:
    """Samples by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """One of them."""
    return samples[f"dicomflow_{name}", frozenset(labels.items())]


def scrape(address: str) -> str:
    """What Prometheus gets."""
    with urllib.request.urlopen(address, timeout=10) as page:
        text: str = page.read().decode()
        return text


def tell(metrics: RunMetrics) -> None:
    """A run with one task done and one under way."""
    metrics.on_begin("run-1")
    metrics("scan", Totals(listed=30, to_read=20, in_flight=3))
    metrics.on_result(
        ScanResult(
            task_id="a",
            data_files=(),
            files=10,
            counts={("ok", None): 9, ("failed", "io_error"): 1},
            header_bytes=100,
            file_bytes=1000,
            fallback_files=3,
            issues=7,
            seconds={"read": 0.5, "wait": 0.02},
            retries=2,
            latency=(4, 6, *[0] * (len(LATENCY_BUCKETS) - 1)),
        )
    )
    metrics.on_batch(BatchDone(task_id="b", files=5, header_bytes=50, file_bytes=500, worker="w"))


def test_families() -> None:
    """Each number is there under its name, with its unit and its labels."""
    with open_metrics(MetricsConfig(port=0), "9.9") as metrics:
        assert metrics is not None and metrics.address is not None
        tell(metrics)
        text = scrape(metrics.address)
    samples = parse(text)
    assert value(samples, "files_total", status="ok", code="") == 9
    assert value(samples, "files_total", status="failed", code="io_error") == 1
    assert value(samples, "files_read_total") == 15
    assert (value(samples, "header_bytes_total"), value(samples, "file_bytes_total")) == (150, 1500)
    assert (value(samples, "retries_total"), value(samples, "fallback_files_total")) == (2, 3)
    assert (value(samples, "issues_total"), value(samples, "tasks_done_total")) == (7, 1)
    assert (value(samples, "tasks_in_flight"), value(samples, "tasks_queued")) == (3, 2)
    assert (value(samples, "files_listed"), value(samples, "files_to_read")) == (30, 20)
    assert value(samples, "file_seconds_bucket", le="2.5e-05") == 4
    assert value(samples, "file_seconds_bucket", le="5e-05") == 10 == value(samples, "file_seconds_count")
    assert value(samples, "file_seconds_sum") == 0.5
    assert value(samples, "task_activity_seconds_sum", activity="wait") == 0.02
    assert value(samples, "run_stage", stage="scan") == 1 and value(samples, "run_stage", stage="list") == 0
    assert value(samples, "run_info", run_id="run-1", version="9.9") == 1
    assert value(samples, "stage_seconds_total", stage="scan") > 0
    assert ("dicomflow_run_success", frozenset()) not in samples
    assert samples["process_resident_memory_bytes", frozenset()] > 0


def test_every_family_is_documented_and_well_named() -> None:
    """Names are of the form that Prometheus asks for, and each says what it counts."""
    metrics = RunMetrics()
    tell(metrics)
    metrics.on_end(None, Totals(counts={("ok", None): 9}))
    with open_metrics(MetricsConfig(port=0), "") as exposed:
        assert exposed is not None and exposed.address is not None
        tell(exposed)
        exposed.on_end(None, Totals(counts={("ok", None): 9}))
        families = list(text_string_to_metric_families(scrape(exposed.address)))
    ours = [family for family in families if family.name.startswith("dicomflow_")]
    assert len(ours) >= 20
    for family in ours:
        assert re.fullmatch(r"[a-z_]+", family.name) and family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram")
        names = {sample.name for sample in family.samples}
        assert family.type != "counter" or all(name.endswith("_total") for name in names)


def test_file(tmp_path: Path) -> None:
    """The file is written when the run is over, takes the place of the last one, and has nothing of the process's own."""
    path = tmp_path / "dicomflow.prom"
    path.write_text("old")
    with open_metrics(MetricsConfig(file=path), "") as metrics:
        assert metrics is not None and metrics.address is None
        tell(metrics)
        assert path.read_text() == "old"
        metrics.on_end(OSError("lost"), Totals())
    text = path.read_text()
    assert value(parse(text), "run_success") == 0
    assert "process_" not in text and "python_" not in text  # node_exporter has metrics of these names
    assert [entry.name for entry in tmp_path.iterdir()] == ["dicomflow.prom"]


def test_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the run it is an error; after it a warning, because the dataset is published."""
    for bad in (tmp_path / "no" / "m.prom", tmp_path / "folder.prom"):
        (tmp_path / "folder.prom").mkdir(exist_ok=True)
        with (
            pytest.raises(ConfigError, match="the metrics file cannot be written"),
            open_metrics(MetricsConfig(file=bad), ""),
        ):
            pass
    path = tmp_path / "sub" / "m.prom"
    path.parent.mkdir()
    with open_metrics(MetricsConfig(file=path), "") as metrics:
        assert metrics is not None
        path.parent.rmdir()
        metrics.on_end(None, Totals())
    assert "metrics_file_failed" in capsys.readouterr().err


def test_port_in_use() -> None:
    """One clear error, before anything is read; the port is free again after the run."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(
                ConfigError, match=f"metrics: cannot listen on 127.0.0.1:{port}: Address already in use; take another"
            ),
            open_metrics(MetricsConfig(port=port), ""),
        ):
            pass
    for _ in range(2):
        with open_metrics(MetricsConfig(port=port), "") as metrics:
            assert metrics is not None and metrics.address == f"http://127.0.0.1:{port}/metrics"
    with pytest.raises(urllib.error.URLError):
        scrape(f"http://127.0.0.1:{port}/metrics")


def test_address_that_is_not_here() -> None:
    """An address of somebody else, or none at all."""
    for address in ("192.0.2.1", "no.such.host.invalid"):
        with (
            pytest.raises(ConfigError, match=f"metrics: cannot listen on {address}:0: .*see metrics.address"),
            open_metrics(MetricsConfig(port=0, address=address), ""),
        ):
            pass


def test_listens_on_loopback_only() -> None:
    """Unless told otherwise."""
    with open_metrics(MetricsConfig(port=0), "") as metrics:
        assert metrics is not None and metrics.address is not None
        port = int(metrics.address.rpartition(":")[2].partition("/")[0])
        with socket.socket() as other:  # the port is free on another address of this machine
            other.bind(("127.0.0.2", port))


def test_lingers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port stays open after the run for as long as asked, but not after Ctrl-C."""
    slept: list[float] = []
    monkeypatch.setattr("dicomflow.expose.time.sleep", slept.append)
    with open_metrics(MetricsConfig(port=0, linger_seconds=20), "") as metrics:
        assert metrics is not None
        metrics.on_end(KeyboardInterrupt(), Totals())
        assert slept == []
        metrics.on_end(None, Totals())
    assert slept == [20]


def test_nothing_is_imported_where_nobody_asks() -> None:
    """A run without metrics does not even import the library."""
    code = (
        "import sys, dicomflow.pipeline\nfrom dicomflow.config import MetricsConfig\nfrom dicomflow.expose import open_metrics\n"
        "with open_metrics(MetricsConfig(), '') as metrics: print(metrics, 'prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False"]


def test_run(tmp_path: Path) -> None:
    """A real run with damaged files: the counters are those of its summary."""
    write_studies(tmp_path / "scans", files=80, seed=3, corrupt=0.25)
    path = tmp_path / "run.prom"
    summary = dicomflow.extract(tmp_path / "scans", tmp_path / "out", columns="minimal", metrics__file=path)
    samples = parse(path.read_text())
    outcomes = {(status, code or ""): files for status, code, files in summary.outcomes}
    ledger = {
        (dict(labels)["status"], dict(labels)["code"]): files
        for (name, labels), files in samples.items()
        if name == "dicomflow_ledger_files"
    }
    assert ledger == outcomes
    assert value(samples, "files_read_total") == summary.read == 80
    assert value(samples, "header_bytes_total") == summary.header_bytes > 0
    assert value(samples, "fallback_files_total") == summary.fallback_files
    assert value(samples, "issues_total") == summary.issues > 0
    assert value(samples, "run_success") == 1
    assert value(samples, "run_info", run_id=summary.run_id, version=dicomflow.__version__) == 1


def test_run_that_fails_says_so(tmp_path: Path) -> None:
    """The file is written then, too: an alert has something to look at."""
    path = tmp_path / "run.prom"
    with pytest.raises(dicomflow.DicomflowError):
        dicomflow.extract(tmp_path / "nothing", tmp_path / "out", metrics__file=path)
    assert value(parse(path.read_text()), "run_success") == 0


def test_write_file_needs_no_config(tmp_path: Path) -> None:
    """Metrics of one's own can be written, too."""
    write_file(ExposedMetrics(MetricsConfig(), "1"), tmp_path / "m.prom")
    assert value(parse((tmp_path / "m.prom").read_text()), "files_read_total") == 0
