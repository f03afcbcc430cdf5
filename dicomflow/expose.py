"""Show the metrics of a run to Prometheus: on a port while it goes on, in a file when it is over.

In: ``RunMetrics``, ``MetricsConfig``.  Out: Prometheus' text format.  The only module that imports
``prometheus_client``, and only where metrics are asked for.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomflow.config import MetricsConfig
from dicomflow.errors import ConfigError, describe
from dicomflow.log import get_logger
from dicomflow.metrics import RunMetrics
from dicomflow.summary import Totals

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

_log = get_logger("metrics")


@contextlib.contextmanager
def open_metrics(config: MetricsConfig, version: str) -> Iterator[ExposedMetrics | None]:
    """Metrics as configured: None where nobody asks for them.

    Args:
        config: port, file.
        version: of dicomflow.

    Raises:
        ConfigError: the port cannot be listened on, or the file cannot be written; before the run, not after it.
    """
    if config.port is None and config.file is None:
        yield None
        return
    metrics = ExposedMetrics(config, version)
    try:
        yield metrics
    finally:
        metrics.close()


class ExposedMetrics(RunMetrics):
    """Metrics with a port and a file.

    Attributes:
        address: of the page that is served; None where there is none.
    """

    def __init__(self, config: MetricsConfig, version: str) -> None:
        super().__init__(version)
        self.address: str | None = None
        self._config = config
        self._close: Callable[[], None] | None = None
        if config.file is not None:
            _check_file(config.file)
        if config.port is not None:
            self.address, self._close = serve(self, config.address, config.port)
            _log.info("metrics_served", address=self.address)

    def on_end(self, error: BaseException | None, totals: Totals) -> None:
        """The last numbers: into the file, and on the port for as long as is asked for."""
        super().on_end(error, totals)
        if self._config.file is not None:
            try:
                write_file(self, self._config.file)
            except OSError as fault:  # what the run found is published: this is worth a warning, no more
                _log.warning("metrics_file_failed", file=str(self._config.file), reason=describe(fault))
        if self._close is not None and not isinstance(error, KeyboardInterrupt):
            with contextlib.suppress(KeyboardInterrupt):  # the run is over, and ended as it did
                time.sleep(self._config.linger_seconds)

    def close(self) -> None:
        """Give the port back."""
        if self._close is not None:
            self._close()


def serve(metrics: RunMetrics, address: str, port: int) -> tuple[str, Callable[[], None]]:
    """Serve ``/metrics``; its address, and what ends it.

    Args:
        metrics: shown with memory and CPU time of this process.
        address: of the interface to listen on: a name or a number.
        port: 0 for any that is free.

    Raises:
        ConfigError: nothing can listen there.
    """
    from prometheus_client import ProcessCollector, start_http_server

    registry = make_registry(metrics)
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, addr=address, registry=registry)
    except (OSError, UnicodeError) as error:
        reason = describe(error) if isinstance(error, OSError) else "no such address"
        advice = "take another port, or 0 for any that is free" if port else "see metrics.address"
        raise ConfigError(f"metrics: cannot listen on {_format(address, port)}: {reason}; {advice}") from None

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join(timeout=1)

    return f"http://{_format(address, server.server_port)}/metrics", close


def _format(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def write_file(metrics: RunMetrics, path: Path) -> None:
    """Write the metrics for node_exporter's textfile collector: all of the file or nothing, with no name of its own before.

    Raises:
        OSError: it cannot be written.
    """
    from prometheus_client import write_to_textfile

    write_to_textfile(str(path), make_registry(metrics))


def _check_file(path: Path) -> None:
    """Find out before the run, not after it; the file of the last run stays as it is until then."""
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{path}: the metrics file cannot be written: its folder must be there, and be ours to write to"
        )


def make_registry(metrics: RunMetrics) -> CollectorRegistry:
    """A registry with these metrics and no others."""
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_RunCollector(metrics))
    return registry


class _RunCollector:
    """Makes Prometheus' families of the numbers whenever they are asked for: a run that nobody scrapes pays nothing for it."""

    def __init__(self, metrics: RunMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """All families, of one moment."""
        with self._metrics.frozen():
            families = [*_counters(self._metrics), *_gauges(self._metrics), *_histograms(self._metrics)]
        return iter(families)


_COUNTERS = {
    "files_read": "Files whose reading ended, those of tasks under way included; a task that is read twice counts twice.",
    "header_bytes": "Bytes of headers read, up to the stop tag.",
    "file_bytes": "Bytes of the files whose headers were read.",
    "retries": "Reads that were tried again after an error that may pass.",
    "fallback_files": "Headers that the fast reader left to pydicom.",
    "issues": "Values that are null, or not as they should be.",
    "tasks_done": "Tasks whose result is there.",
    "tasks_lost": "Tasks that were given to a worker again, or split, because their worker was lost.",
}

_GAUGES = {
    "tasks_in_flight": "Tasks that are with the cluster at the moment.",
    "tasks_queued": "Tasks in flight that wait for a worker, or of which none has told anything yet.",
    "listed": "Files listed so far.",
    "to_read": "Files that this run has to read, as far as is known.",
    "peak_rss": "Largest resident memory of any process that ran tasks.",
}

_GAUGE_NAMES = {"listed": "files_listed", "to_read": "files_to_read", "peak_rss": "worker_memory_peak_bytes"}


def _counters(metrics: RunMetrics) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    for name, documentation in _COUNTERS.items():
        yield CounterMetricFamily(f"dicomflow_{name}", documentation, value=getattr(metrics, name))
    files = CounterMetricFamily(
        "dicomflow_files", "Files of tasks that are done, by outcome.", labels=("status", "code")
    )
    for outcome, count in sorted(metrics.files.items()):
        files.add_metric(outcome, count)
    yield files
    stages = CounterMetricFamily("dicomflow_stage_seconds", "Wall time of the run by stage.", labels=("stage",))
    for stage, seconds in metrics.seconds_by_stage().items():
        stages.add_metric([stage], seconds)
    yield stages


def _gauges(metrics: RunMetrics) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

    about = {"version": metrics.version, "run_id": metrics.run_id}
    yield InfoMetricFamily("dicomflow_run", "The version of dicomflow, and the run's id.", value=about)
    for name, documentation in _GAUGES.items():
        yield GaugeMetricFamily(
            f"dicomflow_{_GAUGE_NAMES.get(name, name)}", documentation, value=getattr(metrics, name)
        )
    began = "When the run began, in seconds since the epoch."
    yield GaugeMetricFamily("dicomflow_run_start_time_seconds", began, value=metrics.began)
    stage = GaugeMetricFamily("dicomflow_run_stage", "1 for the stage that the run is in.", labels=("stage",))
    for name in metrics.stage_seconds:
        stage.add_metric([name], float(name == metrics.stage))
    yield stage
    if metrics.success is None:
        return
    ended = "When the run ended, in seconds since the epoch."
    yield GaugeMetricFamily("dicomflow_run_end_time_seconds", ended, value=metrics.ended)
    yield GaugeMetricFamily(
        "dicomflow_run_success", "1 for a run that ended well, else 0.", value=float(metrics.success)
    )
    ledger = "Files below the run's SOURCEs by outcome, as the ledger has them after the run."
    family = GaugeMetricFamily("dicomflow_ledger_files", ledger, labels=("status", "code"))
    for outcome, count in sorted(metrics.ledger.items()):
        family.add_metric(outcome, count)
    yield family


def _histograms(metrics: RunMetrics) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    def buckets(histogram: Any) -> list[Any]:
        return list(histogram.cumulative())

    latency = HistogramMetricFamily("dicomflow_file_seconds", "How long reading the header of one file took.")
    latency.add_metric([], buckets(metrics.file_seconds), sum_value=metrics.file_seconds.sum)
    yield latency
    what = "How long one task spent on each activity."
    activities = HistogramMetricFamily("dicomflow_task_activity_seconds", what, labels=("activity",))
    for activity, histogram in metrics.activity_seconds.items():
        activities.add_metric([activity], buckets(histogram), sum_value=histogram.sum)
    yield activities
