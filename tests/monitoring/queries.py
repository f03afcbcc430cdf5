"""Every query of ``configs/``: of the dashboard's panels, variables and annotations, and of the rules.

In: the files.  Out: PromQL, and the metrics and labels that it names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CONFIGS = Path(__file__).parent.parent.parent / "configs"
DASHBOARD = CONFIGS / "grafana" / "dashboards" / "dicomflow.json"
RULES = CONFIGS / "prometheus-rules.yml"

_WORDS = frozenset(
    [
        "and",
        "or",
        "unless",
        "bool",
        "by",
        "on",
        "without",
        "ignoring",
        "group_left",
        "group_right",
        "offset",
        "inf",
        "nan",
    ]
)
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"(?<![\w.$\"])([A-Za-z_:][\w:]*)\s*(\{[^}]*\})?(?!\s*[(\w])")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_COMPARISON = re.compile(r"(==|!=|>=|<=|>|<)(?!~)\s*(?!bool)")


class Query(NamedTuple):
    """PromQL, and where it stands."""

    where: str
    expr: str


class Selector(NamedTuple):
    """A metric that a query names, with its label matchers."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


def all_queries() -> list[Query]:
    """All of them, Grafana's variables filled in."""
    return [Query(where, _fill_in(expr)) for where, expr in (*_dashboard_queries(), *_rule_queries())]


def _dashboard_queries() -> Iterator[Query]:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield Query(f"panel {panel['title']} {target['refId']}", target["expr"])
    for annotation in dashboard["annotations"]["list"]:
        yield Query(f"annotation {annotation['name']}", annotation["expr"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            yield Query(f"variable {variable['name']}", f"count by ({label}) ({metric})")


def _rule_queries() -> Iterator[Query]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield Query(f"rule {rule['alert']}", rule["expr"])


def _fill_in(expr: str) -> str:
    expr = expr.replace("$__rate_interval", "20s").replace("$__interval", "20s").replace("$instance", ".*")
    assert "$" not in expr, expr
    return expr


def answerable(expr: str) -> str:
    """The query with data where an alert has none: comparisons give 0 or 1 instead of leaving series out.

    >>> answerable('rate(a_total{b!="c"}[5m]) > 0.05')
    'rate(a_total{b!="c"}[5m]) > bool 0.05'
    """
    parts = re.split(r"(\{[^}]*\})", expr)
    return "".join(part if part.startswith("{") else _COMPARISON.sub(r"\1 bool ", part) for part in parts)


def selectors(expr: str) -> list[Selector]:
    """The metrics that it names.

    >>> selectors('sum by (le) (rate(a_bucket{b=~"x"}[5m])) / 36 * 3600 > 1e3')
    [Selector(metric='a_bucket', matchers=(('b', '=~', 'x'),))]
    """
    named = _SELECTOR.findall(_GROUPING.sub(" ", expr))
    return [Selector(metric, tuple(_MATCHER.findall(matchers))) for metric, matchers in named if metric not in _WORDS]


def groupings(expr: str) -> set[str]:
    """The labels that it groups or joins by.

    >>> sorted(groupings("sum by (status, code) (a) > on () b"))
    ['code', 'status']
    """
    return {label.strip() for labels in _GROUPING.findall(expr) for label in labels.split(",") if label.strip()}
