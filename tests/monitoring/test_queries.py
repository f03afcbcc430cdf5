"""The dashboard and the rules ask for metrics and labels that a real run has, dicomflow's and Dask's.

``make metrics-check`` goes further: a real Prometheus answers each query.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import dicomflow
from dicomflow.model import ScanResult
from dicomflow.summary import Totals
from dicomflow.synth import write_studies
from dicomflow.watch import Watcher

from .queries import CONFIGS, DASHBOARD, Query, all_queries, answerable, groupings, selectors

ADDED_BY_PROMETHEUS = {"job", "instance"}

Labels = dict[str, dict[str, set[str]]]
"""Metric -> label -> values."""


def get(address: str) -> str:
    """A page of this machine."""
    with urllib.request.urlopen(address, timeout=20) as page:
        text: str = page.read().decode()
        return text


class Scraper(Watcher):
    """Does what Prometheus would do while the run goes on."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.pages: list[str] = []

    def __call__(self, stage: str, totals: Totals) -> None:
        self.totals = totals

    def on_result(self, result: ScanResult) -> None:
        if len(self.pages) > 20 or self.totals.dashboard is None or self.totals.metrics is None:
            return
        scheduler = self.totals.dashboard.removesuffix("/status")
        ports = re.findall(r"/proxy/([0-9]+)/127\.0\.0\.1/", get(f"{scheduler}/info/main/workers.html"))
        assert len(set(ports)) == 2
        pages = [self.totals.metrics, f"{scheduler}/metrics", *(f"http://127.0.0.1:{port}/metrics" for port in ports)]
        self.pages += map(get, pages)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Labels:
    """Metrics of a real run on worker processes, and of its file."""
    folder = tmp_path_factory.mktemp("monitoring")
    write_studies(folder / "scans", files=120, seed=3, corrupt=0.25)
    scraper = Scraper()
    dicomflow.extract(
        folder / "scans",
        folder / "out",
        progress=scraper,
        columns="minimal",
        scheduler="processes",
        workers=2,
        plan__files_per_task=20,
        compute__dashboard_address="127.0.0.1:0",
        metrics__port=0,
        metrics__file=folder / "run.prom",
    )
    assert len(scraper.pages) >= 4
    found: Labels = defaultdict(lambda: defaultdict(set))
    for page in (*scraper.pages, (folder / "run.prom").read_text()):
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                labels = found[sample.name]
                for label, value in sample.labels.items():
                    labels[label].add(value)
    return found


QUERIES = all_queries()


@pytest.mark.parametrize("query", QUERIES, ids=[query.where for query in QUERIES])
def test_query_asks_for_what_there_is(query: Query, scraped: Labels) -> None:
    """Each metric exists, has the labels that are asked for, and the values where one is named."""
    named = selectors(query.expr)
    assert named
    for metric, matchers in named:
        assert metric in scraped, metric
        for label, operator, value in matchers:
            if label not in ADDED_BY_PROMETHEUS:
                assert label in scraped[metric], (metric, label)
                assert operator != "=" or value in scraped[metric][label], (metric, label, value)
    labels = set().union(*(scraped[metric] for metric, _ in named)) | ADDED_BY_PROMETHEUS
    assert groupings(query.expr) <= labels


def test_all_metrics_are_shown(scraped: Labels) -> None:
    """What a run says is on the dashboard or in a rule; what is only for look-ups is listed here."""
    asked = {metric for query in QUERIES for metric, _ in selectors(query.expr)}
    shown = {re.sub("_(bucket|sum|count)$", "", metric) for metric in asked}
    ours = {re.sub("_(bucket|sum|count)$", "", name) for name in scraped if name.startswith("dicomflow_")}
    assert ours - shown == {"dicomflow_files_listed", "dicomflow_tasks_done_total"}


def test_labels_are_few(scraped: Labels) -> None:
    """No name of a file, no UID, no value: labels are words of closed sets, and bounds of buckets."""
    for name, labels in scraped.items():
        if name.startswith("dicomflow_") and name != "dicomflow_run_info":
            assert set(labels) <= {"status", "code", "stage", "activity", "le"}
            for values in labels.values():
                assert all(re.fullmatch(r"[a-z_]*|[0-9.e-]+|\+Inf", value) for value in values)


def test_dashboard_is_sound() -> None:
    """Panels have distinct ids and do not overlap; each has a description, a unit, and the chosen data source."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"].endswith(".") and panel["fieldConfig"]["defaults"]["unit"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_provisioning_fits_together() -> None:
    """The files that Grafana is started with are what it expects, and listen to no strangers."""
    grafana = CONFIGS / "grafana" / "provisioning"
    (source,) = yaml.safe_load((grafana / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((grafana / "dashboards" / "dicomflow.yml").read_text())["providers"]
    assert (
        source["type"] == "prometheus"
        and provider["type"] == "file"
        and Path(provider["options"]["path"]).is_absolute()
    )
    prometheus = yaml.safe_load((CONFIGS / "prometheus.yml").read_text())
    assert [job["job_name"] for job in prometheus["scrape_configs"]] == [
        "dicomflow",
        "dask-scheduler",
        "dask-worker",
        "node",
    ]
    targets = [
        target for job in prometheus["scrape_configs"] for group in job["static_configs"] for target in group["targets"]
    ]
    assert all(target.startswith("127.0.0.1:") for target in (*targets, source["url"].removeprefix("http://")))
    assert all((CONFIGS / name).is_file() for name in prometheus["rule_files"])


def test_answerable() -> None:
    """Alerts are quiet while all is well: to be tried, they must answer all the same."""
    assert answerable('a == 0 and on (i) b{c="d"} == 1') == 'a == bool 0 and on (i) b{c="d"} == bool 1'
