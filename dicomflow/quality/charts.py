"""What is drawn: charts without data, which the page's script fills, so that filters need no second way to count.

In: labels.  Out: Bokeh's JSON, its script.  The one door to Bokeh; knows no SQL and no HTML.

Sources of data are found by their names: ``years``, ``completeness``, ``runs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.embed import json_item
from bokeh.models import (
    ColorBar,
    ColumnDataSource,
    FactorRange,
    HoverTool,
    LinearColorMapper,
    NoOverlap,
    NumeralTickFormatter,
)
from bokeh.plotting import figure
from bokeh.resources import Resources

STACKED = 7
"""Modalities that have a colour of their own in a chart; the others share one."""

_COLOURS = ("#3f7cac", "#e08e45", "#5a9367", "#b5588f", "#8d7bc0", "#c9a227", "#4aa3a2", "#9aa0a6")
_SHADES = ("#f0e3d3", "#e3dfc9", "#cddac4", "#b0d0c1", "#90c3bf", "#70b2bb", "#529db3", "#3a86a7", "#2b6e97", "#1f5682")
_INK = "#7b818a"
"""Readable on white and on near black."""

ROW_HEIGHT = 18
"""Pixels of a row of the heat map."""


def make_charts(modalities: Sequence[str], years: Sequence[str], runs: Sequence[str]) -> dict[str, Any]:
    """Name -> what ``Bokeh.embed.embed_item`` takes."""
    charts = {"years": _draw_years(modalities, years), "completeness": _draw_completeness(), "runs": _draw_runs(runs)}
    return {name: json_item(chart, f"chart-{name}") for name, chart in charts.items()}


def bokeh_script() -> str:
    """BokehJS, without what widgets, tables and TeX need."""
    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)


def _draw_years(modalities: Sequence[str], years: Sequence[str]) -> figure:
    names = [*modalities[:STACKED], *(["all others"] if len(modalities) > STACKED else [])]
    stacks = [f"m{place}" for place in range(len(names))]
    source = ColumnDataSource({"year": list(years), **{stack: [0] * len(years) for stack in stacks}}, name="years")
    chart = _make_figure(x_range=FactorRange(*years), height=260)
    bars = chart.vbar_stack(
        stacks, x="year", width=0.8, color=_COLOURS[: len(stacks)], source=source, legend_label=names
    )
    for bar, stack, name in zip(bars, stacks, names, strict=True):
        chart.add_tools(HoverTool(renderers=[bar], tooltips=[("year", "@year"), (_plain(name), f"@{stack}{{0,0}}")]))
    chart.y_range.start = 0
    chart.xaxis.major_label_orientation = 0.9
    chart.xaxis.major_label_policy = NoOverlap(min_distance=4)
    if names:
        chart.add_layout(chart.legend[0], "above")
        chart.legend.orientation, chart.legend.ncols, chart.legend.location = "horizontal", 4, "top_left"
        chart.legend.background_fill_color = chart.legend.border_line_color = None
        chart.legend.label_text_color, chart.legend.label_text_font_size = _INK, "12px"
        chart.legend.glyph_width = chart.legend.glyph_height = 12
    return chart


def _draw_completeness() -> figure:
    columns = ("group", "attribute", "share", "values", "instances")
    source = ColumnDataSource({name: [] for name in columns}, name="completeness")
    chart = _make_figure(x_range=FactorRange(), y_range=FactorRange(), height=400, x_axis_location="above")
    shades = LinearColorMapper(palette=_SHADES, low=0, high=100)
    cells = chart.rect(
        x="group",
        y="attribute",
        width=0.96,
        height=0.9,
        source=source,
        fill_color={"field": "share", "transform": shades},
        line_color=None,
    )
    told = [("attribute", "@attribute"), ("of", "@group"), ("complete", "@share{0.0} %"), ("values", "@values{0,0}")]
    chart.add_tools(HoverTool(renderers=[cells], tooltips=[*told, ("instances", "@instances{0,0}")]))
    chart.grid.grid_line_color = None
    chart.xaxis.major_label_orientation = 0.9
    bar = ColorBar(color_mapper=shades, height=8, padding=4, title="per cent with a value", major_label_text_color=_INK)
    bar.background_fill_color, bar.title_text_color, bar.title_text_font_style = None, _INK, "normal"
    chart.add_layout(bar, "below")
    return chart


def _draw_runs(runs: Sequence[str]) -> figure:
    names = ("run", "files_per_second", "read", "seconds")
    source = ColumnDataSource({name: [] for name in names}, name="runs")
    chart = _make_figure(x_range=FactorRange(*runs), height=220, y_axis_label="files per second")
    bars = chart.vbar(
        x="run", top="files_per_second", width=min(0.7, 0.08 * max(1, len(runs))), color=_COLOURS[0], source=source
    )
    told = [
        ("run", "@run"),
        ("files/s", "@files_per_second{0,0}"),
        ("read", "@read{0,0}"),
        ("seconds", "@seconds{0.0}"),
    ]
    chart.add_tools(HoverTool(renderers=[bars], tooltips=told))
    chart.y_range.start = 0
    chart.yaxis.axis_label_text_color, chart.yaxis.axis_label_text_font_style = _INK, "normal"
    chart.xaxis.major_label_orientation = 0.9
    chart.xaxis.major_label_policy = NoOverlap(min_distance=4)
    return chart


def _make_figure(**about: Any) -> figure:
    """No toolbar, no background: the page's shows, be it light or dark."""
    chart = figure(sizing_mode="stretch_width", toolbar_location=None, tools="", min_width=240, **about)
    chart.background_fill_color = chart.border_fill_color = chart.outline_line_color = None
    chart.grid.grid_line_color, chart.grid.grid_line_alpha = _INK, 0.2
    chart.xgrid.grid_line_color = None
    chart.axis.axis_line_color = chart.axis.major_tick_line_color = None
    chart.axis.minor_tick_line_color = None
    chart.axis.major_label_text_color, chart.axis.major_label_text_font_size = _INK, "12px"
    if not isinstance(chart.y_range, FactorRange):
        chart.yaxis.formatter = NumeralTickFormatter(format="0,0")
    return chart


def _plain(label: str) -> str:
    """A name in a tooltip: what stands behind an @ or a $ there would be looked up."""
    return label.replace("@", "(at)").replace("$", "(dollar)")
