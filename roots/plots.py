"""Plots for the cards of data and models, as SVG text: equal figures give equal bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from roots import facts

INK, BAR, GRID = (
    "#333333",
    "#4477aa",
    "#dddddd",
)  # Paul Tol's blue: distinct in print and to colour-blind readers
LIMIT = "#cc3311"  # the same scheme's red
SIZE_INCHES = (7.2, 2.7)
LABELS_MAX = 14  # more would touch
POINTS_MAX = 400  # of a curve: about one a pixel

# Text stays text, ids come from the content: no font, date or random salt gets into the file
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "roots", "font.family": ["sans-serif"], "font.size": 9}


def lengths(counts: facts.Counts) -> str:
    """Documents by size in bytes, a bar for each doubling, as SVG.

    counts  as `Facts.lengths`; at least one document
    raises  ValueError where there is none
    """
    if not counts:
        raise ValueError("plots.lengths: no documents; a plot needs at least one")
    bins = range(min(map(int, counts)), max(map(int, counts)) + 1)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES)
        axes = figure.add_axes((0.1, 0.2, 0.88, 0.74))  # fixed: a computed layout depends on installed fonts
        axes.bar(bins, [counts.get(str(k), 0) for k in bins], width=0.86, color=BAR, zorder=2)
        edges = range(bins[0], bins[-1] + 2, 1 + len(bins) // LABELS_MAX)
        axes.set_xticks([k - 0.5 for k in edges], [facts.size(k) for k in edges], color=INK)
        axes.set_xlim(bins[0] - 0.7, bins[-1] + 0.7)
        axes.set_xlabel("size of a document", color=INK)
        axes.set_ylabel("documents", color=INK)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        _plain(axes)
        return _svg(figure)


def spread(edges: np.ndarray, documents: np.ndarray, is_logarithmic: bool, limits: Mapping[str, float]) -> str:
    """Documents by a measure, a bar for each bin, and where its limits stand, as SVG.

    edges float64 [bins + 1]; documents int64 [bins], at least one document; limits by name
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES)
        axes = figure.add_axes((0.1, 0.2, 0.88, 0.74))
        axes.bar(edges[:-1], documents, width=np.diff(edges), align="edge", color=BAR, zorder=2)
        axes.set_yscale("log")  # what a limit removes is rare: on a linear scale nothing would be seen of it
        axes.set_ylim(bottom=0.5)
        if is_logarithmic:
            axes.set_xscale("symlog", linthresh=1)
        for name, value in limits.items():
            axes.axvline(value, color=LIMIT, linewidth=1.4, zorder=3)
            side = name.rsplit("_", 1)[1]
            at = "right" if side == "max" else "left"
            axes.annotate(f" {side} {value:,g} ", (value, 0.93), xycoords=("data", "axes fraction"), ha=at, color=LIMIT)
        axes.set_ylabel("documents", color=INK)
        _plain(axes)
        return _svg(figure)


def bars(names: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    """A bar for each name, a panel below the other for each series, as SVG; nan leaves a gap.

    raises  ValueError where there is no name
    """
    if not names:
        raise ValueError("plots.bars: no names; a plot needs at least one")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(SIZE_INCHES[0] + 0.14 * len(names), SIZE_INCHES[1] * len(series)))
        for panel, (title, values) in enumerate(series.items()):
            height = 1 / len(series)
            axes = figure.add_axes((0.08, 1 - height * (panel + 0.72), 0.91, height * 0.58))
            axes.bar(range(len(names)), [0 if value != value else value for value in values], color=BAR, zorder=2)
            axes.set_xticks(range(len(names)), names, rotation=90, color=INK)
            axes.set_xlim(-0.7, len(names) - 0.3)
            axes.set_title(title, loc="left", color=INK, fontsize=9)
            _plain(axes)
            axes.spines["bottom"].set_visible(False)
        return _svg(figure)


def curve(places: np.ndarray, values: np.ndarray, x_label: str, y_label: str) -> str:
    """A curve, as SVG: the mean of neighbours where there are more than POINTS_MAX, and their range as a band.

    places, values float64 [n], n at least 1, places rising
    """
    parts = min(len(values), POINTS_MAX)
    across = [part.mean() for part in np.array_split(places, parts)]
    split = np.array_split(values, parts)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES)
        axes = figure.add_axes((0.1, 0.2, 0.88, 0.74))
        axes.fill_between(across, [p.min() for p in split], [p.max() for p in split], color=BAR, alpha=0.25, zorder=2)
        axes.plot(across, [p.mean() for p in split], color=BAR, linewidth=1.2, zorder=3)
        axes.set_xlabel(x_label, color=INK)
        axes.set_ylabel(y_label, color=INK)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        _plain(axes)
        return _svg(figure)


def _plain(axes: Axes) -> None:
    """Lines across at the ticks of the y axis, and no frame but its bottom."""
    axes.grid(axis="y", color=GRID, linewidth=0.8, zorder=1)
    axes.tick_params(length=0, labelcolor=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(out, metadata=nothing)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
