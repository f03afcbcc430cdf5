"""One HTML file that says how good a dataset is: it needs no network and no other file.

In: a ``QualityReport``.  Out: HTML.  The one door to Jinja2, whose templates escape whatever they are given.

What a stranger wrote (a manufacturer's name) reaches the page as escaped text, or as JSON in which ``<``, ``>``, ``&`` and
``'`` are written as escapes, and is set by the script as text, never as HTML.  The page's policy (CSP) lets no script run
but the two whose digests it names, and nothing be loaded from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined, Template, TemplateNotFound
from markupsafe import Markup

from dicomflow.dataset.storage import write_atomically
from dicomflow.quality.charts import ROW_HEIGHT, STACKED, bokeh_script, make_charts
from dicomflow.quality.figures import TOP, TOP_MANUFACTURERS, TOP_MODALITIES, QualityReport
from dicomflow.quality.measure import measure_quality
from dicomflow.quality.questions import list_core
from dicomflow.quality.sections import SECTIONS
from dicomflow.quality.view import FILTERS, add_up, is_filtered, make_unique, show_label, show_number, to_json
from dicomflow.query import open_dataset
from dicomflow.sql.sandbox import Limits


def write_report(
    dest: str | os.PathLike[str], path: str | os.PathLike[str], *, limits: Limits | None = None
) -> QualityReport:
    """Write the data-quality report of a dataset as one HTML file, and give its numbers.

    Args:
        dest: the dataset.
        path: of the file, which is replaced if it is there.
        limits: what the queries may take.

    Raises:
        DatasetError: there is no dataset, it cannot be read, or the file cannot be written.

    >>> dicomflow.write_report("headers/", "report.html").figures["issue-codes"].rows    # doctest: +SKIP
    """
    report = measure_quality(open_dataset(dest), limits=limits)
    page = render_page(report)
    write_atomically(Path(path), lambda temporary: _write(temporary, page))
    return report


def _write(path: Path, page: str) -> None:
    path.write_text(page, "utf-8", newline="\n")


def render_page(report: QualityReport) -> str:
    """The HTML: some 1.5 MB, of which BokehJS is 1.3."""
    data = to_json(report)
    years = list(dict.fromkeys(report.figures["years"].column("year")))
    runs = [row for row in report.figures["runs"].iter_dicts() if row["files_per_second"] is not None][::-1]
    data |= {
        "stacked": STACKED,
        "rowHeight": ROW_HEIGHT,
        "years": years,
        "core": list_core(report.figures["completeness"].columns),
        "runs": [{**row, "run": name} for row, name in zip(runs, _name_runs(runs), strict=True)],
    }
    charts = make_charts(data["labels"][FILTERS[0]], years, [row["run"] for row in data["runs"]])
    scripts = [_script(bokeh_script()), _script(_read("page.js"))]
    page: str = _template().render(
        report=report,
        title=show_label(report.title),
        profile=show_label(report.profile),
        sections=SECTIONS,
        tiles=_make_tiles(report),
        data=data,
        charts=charts,
        scripts=scripts,
        digests=[_digest(script) for script in scripts],
        style=Markup(_read("page.css")),  # noqa: S704 (our own file)
        add_up=add_up,
        is_filtered=is_filtered,
        show_number=show_number,
        tops=(TOP_MODALITIES, TOP_MANUFACTURERS, TOP),
    )
    return page


def _name_runs(runs: Sequence[dict[str, Any]]) -> list[str]:
    return make_unique([str(run["started"] or run["run_id"]) for run in runs])


def _make_tiles(report: QualityReport) -> list[tuple[str, str, str]]:
    """Name, title and number, of all."""
    total = next(
        row for row in report.figures["archive"].iter_dicts() if row["by_modality"] is row["by_manufacturer"] is None
    )
    titles = {
        "instances": "instances",
        "series": "series",
        "studies": "studies",
        "patients": "patients",
        "bytes": "of files",
        "partial": "partial headers",
        "faulty_values": "faulty values",
    }
    return [(name, title, show_number(name, total[name])) for name, title in titles.items()]


# ---- template --------------------------------------------------------------------------------------------------------


class _Loader(BaseLoader):
    """Templates of the package, be it a folder or an archive."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, None]:
        """The text of the one template."""
        if template != "page.html.j2":
            raise TemplateNotFound(template)
        return _read(template), None, None


@cache
def _template() -> Template:
    environment = Environment(
        loader=_Loader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # Bokeh refers to what stands before: the order is kept
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    environment.filters["zip"] = zip
    return environment.get_template("page.html.j2")


def _script(text: str) -> Markup:
    assert "</script" not in text.lower() and "\r" not in text
    return Markup(text)  # noqa: S704 (our own, and Bokeh's)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _read(name: str) -> str:
    return (files("dicomflow") / "quality" / name).read_text("utf-8")
