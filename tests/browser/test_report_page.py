"""The report in a real browser, on a desk and on a phone: it draws, filters, complains of nothing and asks for nothing.

Needs: apt-get install chromium chromium-driver, pip install selenium.  ``make browser`` fails without, ``make test`` skips.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dicomflow
from dicomflow.quality.figures import Figure, QualityReport
from dicomflow.quality.page import write_report
from dicomflow.quality.questions import list_core
from dicomflow.quality.sections import SECTIONS
from dicomflow.quality.view import add_up, is_filtered, list_labels, show_number
from dicomflow.synth import write_studies
from tests.quality.planted import write_hostile

if os.environ.get("DICOMFLOW_BROWSER") != "required":
    pytest.importorskip("selenium")

from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.browser.chromium import is_there, open_browser, read_complaints, read_requests, set_size

if os.environ.get("DICOMFLOW_BROWSER") != "required" and not is_there():
    pytest.skip("Chromium and its driver are not here", allow_module_level=True)

SIZES = [(1280, 900), (390, 844)]
TABLES = [table for section in SECTIONS for table in section.tables]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, QualityReport]:
    """A page of synthetic studies, some of them faulty."""
    folder = tmp_path_factory.mktemp("browser")
    write_studies(folder / "scans", files=600, seed=5, corrupt=0.2)
    dicomflow.extract(folder / "scans", folder / "out", scheduler="threads")
    return folder / "report.html", write_report(folder / "out", folder / "report.html")


@pytest.fixture(params=SIZES, ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, browser: Chrome, written: tuple[Path, QualityReport]) -> Iterator[Chrome]:
    """Opened; at the end nothing was complained of, and nothing asked for but the page itself."""
    set_size(browser, *request.param)
    yield open_page(browser, written[0])
    check_quiet(browser, written[0])


def open_page(browser: Chrome, path: Path) -> Chrome:
    browser.get("about:blank")
    read_complaints(browser)
    read_requests(browser)
    browser.get(path.as_uri())
    WebDriverWait(browser, 30).until(lambda one: one.execute_script("return document.documentElement.dataset.ready"))
    return browser


def check_quiet(browser: Chrome, path: Path) -> None:
    assert read_complaints(browser) == []
    requests = read_requests(browser)
    assert path.as_uri() in requests
    assert [address for address in requests if address != path.as_uri() and not address.startswith("data:")] == []


def read_tables(page: Chrome) -> dict[str, list[list[str]]]:
    """Texts of the cells, without bars and explanations."""
    script = """
        return Object.fromEntries([...document.querySelectorAll("table[data-table]")].map(table => [
          table.dataset.table,
          [...table.tBodies[0].rows].map(row => [...row.cells].filter(cell => cell.className !== "share")
            .map(cell => cell.firstChild ? cell.firstChild.textContent : ""))]))"""
    return page.execute_script(script)


def expect_tables(report: QualityReport, keep: Callable[[dict[str, Any]], bool]) -> dict[str, list[list[str]]]:
    """What ``read_tables`` should give, from the rows that a filter keeps."""
    expected = {}
    for table in TABLES:
        figure = report.figures[table.figure]
        if is_filtered(figure) and not table.is_total:
            rows = tuple(tuple(row.values()) for row in figure.iter_dicts() if keep(row))
            figure = Figure(name="", description="", sql="", columns=figure.columns, rows=rows)
        expected[table.name] = [
            [*keys, *map(show_number, table.measures, values)] for keys, values in add_up(figure, table)
        ]
    return expected


def read_source(page: Chrome, name: str) -> dict[str, list[Any]]:
    """Data of a chart."""
    script = """
        const source = Bokeh.documents.map(one => one.get_model_by_name(arguments[0])).find(one => one);
        return Object.fromEntries(Object.entries(source.data).map(([name, values]) => [name, [...values]]))"""
    return page.execute_script(script, name)


def choose(page: Chrome, name: str, text: str) -> None:
    Select(page.find_element(By.ID, name)).select_by_visible_text(text)


def test_opens(page: Chrome, written: tuple[Path, QualityReport]) -> None:
    """The script's tables are those that came with the page; charts are drawn; nothing is wider than the screen."""
    _, report = written
    assert read_tables(page) == expect_tables(report, lambda _: True)
    width, shown = page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= shown
    for name in ("years", "completeness", "runs"):
        chart = page.find_element(By.ID, f"chart-{name}")
        assert chart.size["height"] > 150 and chart.size["width"] > 200
    years = read_source(page, "years")
    counted = sum(sum(values) for name, values in years.items() if name != "year")
    assert counted == sum(report.figures["years"].column("instances")) > 0
    assert read_source(page, "runs")["read"] == report.figures["runs"].column("read")


def test_filters(page: Chrome, written: tuple[Path, QualityReport]) -> None:
    """Tiles show totals of the pick; tables and charts add up the rows of it; the way back leads to where it began."""
    _, report = written
    archive = list(report.figures["archive"].iter_dicts())
    both = next(row for row in archive if row["by_modality"] and row["by_manufacturer"])
    before = read_tables(page)
    choose(page, "filter-by_modality", both["by_modality"])
    choose(page, "filter-by_manufacturer", both["by_manufacturer"])

    def is_kept(row: dict[str, Any]) -> bool:
        return all(row[name] == both[name] for name in ("by_modality", "by_manufacturer"))

    found, expected = read_tables(page), expect_tables(report, is_kept)
    for table in TABLES:
        if table.is_total:
            key = both[next(iter(table.keys))]
            expected[table.name] = [[key, *(show_number(name, both[name]) for name in table.measures)]]
    assert found == expected != before
    tiles = {tile.get_attribute("data-tile"): tile.text for tile in page.find_elements(By.CSS_SELECTOR, "[data-tile]")}
    assert tiles == {name: show_number(name, both[name]) for name in tiles}
    years = read_source(page, "years")
    assert sum(sum(values) for name, values in years.items() if name != "year") == both["instances"]
    assert set(read_source(page, "completeness")["group"]) == {both["by_modality"]}
    said = page.execute_script("return document.querySelector('.picked').textContent")
    assert both["by_modality"] in said and both["by_manufacturer"] in said
    page.find_element(By.ID, "reset").click()
    assert read_tables(page) == before
    assert not page.find_element(By.ID, "reset").is_enabled()


def test_heat_map(page: Chrome, written: tuple[Path, QualityReport]) -> None:
    """By modality or manufacturer, of core attributes or all: shares are those of the query."""
    figure = written[1].figures["completeness"]
    attributes = list(figure.columns[3:])
    for by, columns in (("by_modality", "modalities"), ("by_manufacturer", "manufacturers")):
        choose(page, "heat-by", columns)
        for rows, names in (
            ("core attributes", list_core(attributes)),
            (f"all {len(attributes)} attributes", attributes),
        ):
            choose(page, "heat-rows", rows)
            found = read_source(page, "completeness")
            expected: dict[tuple[str, str], list[int]] = {}
            for row in figure.iter_dicts():
                for name in names:
                    sums = expected.setdefault((row[by], name), [0, 0])
                    sums[0], sums[1] = sums[0] + row[name], sums[1] + row["instances"]
            cells = zip(found["group"], found["attribute"], found["share"], strict=True)
            shares = {(group, attribute): share for group, attribute, share in cells}
            assert shares == pytest.approx({key: 100 * n / of for key, (n, of) in expected.items()})
        filled = set(figure.column(by))
        assert list(dict.fromkeys(found["group"])) == [one for one in list_labels(written[1], by) if one in filled]


def test_sql_on_demand(page: Chrome, written: tuple[Path, QualityReport]) -> None:
    """Hidden until it is asked for."""
    details = page.find_element(By.CSS_SELECTOR, "#table-issue-codes details")
    query = details.find_element(By.TAG_NAME, "pre")
    assert not query.is_displayed()
    details.find_element(By.TAG_NAME, "summary").click()
    assert query.is_displayed() and query.text.strip() == written[1].figures["issue-codes"].sql.strip()


def test_hostile_names_do_nothing(browser: Chrome, tmp_path: Path) -> None:
    """Neither in tables and filters, nor in what charts show under the pointer."""
    write_hostile(tmp_path / "scans")
    dicomflow.extract(tmp_path / "scans", tmp_path / "<script>alert(3)<", scheduler="threads")
    path = tmp_path / "report.html"
    report = write_report(tmp_path / "<script>alert(3)<", path)
    set_size(browser, *SIZES[0])
    page = open_page(browser, path)
    for place in range(len(list_labels(report, "by_manufacturer")) + 1):
        Select(page.find_element(By.ID, "filter-by_manufacturer")).select_by_index(place)
    page.find_element(By.ID, "reset").click()
    choose(page, "heat-by", "manufacturers")
    told = ""
    for name in ("years", "completeness", "runs"):
        chart = page.find_element(By.ID, f"chart-{name}")
        page.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
        for x in range(-500, 501, 100):
            ActionChains(page, duration=20).move_to_element_with_offset(chart, x, 40).perform()
            told += page.execute_script(_TOLD)
    assert "attribute" in told and "<script>alert(1)</script>" in told
    assert page.execute_script(_COUNT, "script") == 4 and page.execute_script(_COUNT, "img") == 0
    check_quiet(page, path)  # an alert would have been an error of the driver


_WALK = """
    function* walk(root) {
      for (const one of root.querySelectorAll("*")) { yield one; if (one.shadowRoot) yield* walk(one.shadowRoot); }
    }"""
_COUNT = f"{_WALK} return [...walk(document)].filter(one => one.localName === arguments[0]).length"
_TOLD = f"""{_WALK} return [...walk(document)].filter(one => [...one.classList].some(name => name.includes("tooltip")))
    .map(one => one.textContent + (one.shadowRoot ? one.shadowRoot.textContent : "")).join(" ")"""
