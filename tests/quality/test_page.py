"""The page is one file that needs nothing else; what a stranger wrote does nothing on it, and what is a patient's is not there."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import dicomflow
from dicomflow.quality.figures import QualityReport
from dicomflow.quality.measure import measure_quality
from dicomflow.quality.page import render_page, write_report

from .planted import HOSTILE, SECRET, write_hostile, write_many


class Parsed(HTMLParser):
    """What a browser would make of the page: tags with their attributes, texts of scripts, text that is shown."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[tuple[str, str]] = []
        self.shown: list[str] = []
        self._open: list[str] = [""]
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs).get("type") or "", ""))

    def handle_endtag(self, tag: str) -> None:
        self._open.append("")

    def handle_data(self, data: str) -> None:
        if self._open[-1] == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        elif self._open[-1] != "style":
            self.shown.append(data)

    @property
    def json(self) -> dict[str, object]:
        """What the page's script reads."""
        return json.loads(next(text for kind, text in self.scripts if kind == "application/json"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A dataset whose every name would do harm, and its page."""
    folder = tmp_path_factory.mktemp("hostile")
    write_hostile(folder / "scans")
    dest = folder / "<script>alert(3)<\u202e"
    dicomflow.extract(folder / "scans", dest, scheduler="threads")
    write_report(dest, folder / "report.html")
    return dest, (folder / "report.html").read_text("utf-8")


def test_nothing_is_loaded(report: QualityReport) -> None:
    """No address but places on the page itself, and the policy forbids all others."""
    tags = Parsed(render_page(report)).tags
    for tag, attributes in tags:
        for name in ("src", "href", "action", "srcset", "poster", "data", "background", "formaction", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:,")), (tag, attributes)
    policy = next(a["content"] for _, a in tags if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and not {"connect-src", "frame-src"} & set(rules)
    assert not re.search(r"https?:|\*|unsafe-eval", policy) and "unsafe" not in rules["script-src"]
    style = re.search(r"<style>(.*?)</style>", render_page(report), re.DOTALL)
    assert style and "url(" not in style[1] and "@import" not in style[1]


def test_only_our_scripts_run(hostile: tuple[Path, str]) -> None:
    """Two, whose digests the policy names; what is data is no script."""
    parsed = Parsed(hostile[1])
    policy = next(a["content"] for _, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    run = [text for kind, text in parsed.scripts if not kind]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests and len(digests) == 2
    assert [kind for kind, _ in parsed.scripts if kind] == ["application/json"] * 2


def test_hostile_names_are_text(hostile: tuple[Path, str], report: QualityReport) -> None:
    """They make no element and no attribute; they are shown as they are, or escaped where a terminal or a reader would fall for it."""
    parsed = Parsed(hostile[1])
    known = Parsed(render_page(report))
    assert {tag for tag, _ in parsed.tags} <= {tag for tag, _ in known.tags}
    names = {name for _, attributes in known.tags for name in attributes} | {"hidden"}
    assert {name for _, attributes in parsed.tags for name in attributes} <= names
    assert not any(name.startswith("on") for name in names)
    shown = "".join(parsed.shown)
    assert HOSTILE[0] in shown and HOSTILE[1] in shown and HOSTILE[2] in shown
    assert "\u202e" not in hostile[1] and "<B>\\u202eX" in shown
    labels = parsed.json["labels"]["by_manufacturer"]  # type: ignore[index]
    assert HOSTILE[0] in labels and not any("$$" in label or "\\(" in label for label in labels)


def test_nothing_of_a_patient(hostile: tuple[Path, str]) -> None:
    """No name, identifier, date or description of a patient, study or series; no name of a file."""
    dest, page = hostile
    assert SECRET not in page and "1931" not in page and "04-17" not in page
    rows = dicomflow.open_dataset(dest).to_arrow(
        ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "source_uri"]
    )
    for column in rows.columns:
        assert not any(str(value) in page for value in column.to_pylist())
    assert "heavy" not in page and "1.02.3" not in page  # what issues quote
    figures = measure_quality(dicomflow.open_dataset(dest)).figures
    for name in ("issue-attributes", "issue-devices", "copies", "conflicting-attributes", "inconstant", "plausibility"):
        assert figures[name].rows, name  # there was something to say of each


def test_sql_stands_under_each_figure(report: QualityReport) -> None:
    """On demand, whole."""
    shown = "".join(Parsed(render_page(report)).shown)
    for figure in report.figures.values():
        assert figure.sql in shown, figure.name
    assert (
        render_page(report).count("<details") == len(report.figures) + 3
    )  # archive stands under three, runs under two


def test_numbers_are_on_the_page(report: QualityReport) -> None:
    """Those of the tables, without JavaScript."""
    page = render_page(report)
    total = report.figures["archive"].rows[0]
    assert total[:2] == (None, None)
    assert f'<dd data-tile="instances">{total[2]:,}</dd>' in page
    for row in report.figures["outcomes"].iter_dicts():
        assert re.search(rf"<td>{row['status']}</td><td>{row['code']}</td>.*?>{row['files']:,}</td>", page)


def test_size_is_bounded(tmp_path: Path) -> None:
    """Many names, each as long as can be: the page is not larger for it than it says."""
    write_many(tmp_path / "scans", 60, lambda number: f"{number:03}" + "M" * 61)
    dicomflow.extract(tmp_path / "scans", tmp_path / "out", scheduler="threads")
    write_report(tmp_path / "out", tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 2_000_000


def test_empty(tmp_path: Path) -> None:
    """No instance, and a page all the same."""
    (tmp_path / "a.txt").write_text("no header")
    dicomflow.extract(tmp_path / "a.txt", tmp_path / "out", scheduler="threads")
    report = write_report(tmp_path / "out", tmp_path / "report.html")
    assert report.figures["years"].rows == ()
    assert "no_dicom_header" in (tmp_path / "report.html").read_text("utf-8")
