"""The drawing: a figure as an SVG file, which says what it was drawn from."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

from ..reporting.table import times
from .figure import Bars, Figure, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Ours in the one strong colour; the baseline dark; the rest apart from both, also for eyes that
# see fewer colours (after Okabe and Ito).
COLOURS = {
    "rnn_kernels": "#0072b2",
    "torch.nn": "#222222",
    "reference": "#bbbbbb",
    "cuda": "#56b4e9",
    "triton": "#009e73",
    "onnxruntime": "#e69f00",
    "openvino": "#cc79a7",
    "openvino-bf16": "#cc79a7",
    "flashrnn": "#d55e00",
    "flashrnn-alternating": "#f0a070",
    "torchrl-triton": "#e69f00",
    "haste": "#cc79a7",
    "inference": "#0072b2",
    "training": "#56b4e9",
    "limit": "#d55e00",
}
OTHER = "#999999"
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "rnn_kernels",  # the same figure is the same file
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "legend.frameon": False,
}


@cache
def drawing_digest() -> str:
    """Of this file: another way of drawing makes other pictures."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def mark(figure: Figure) -> str:
    """What the picture's file says of its origin."""
    return f"figure {figure.digest()} drawing {drawing_digest()} from {figure.source}"


def mark_in(path: Path) -> str | None:
    """The mark in a picture's file; None where there is no such file, or no mark in it."""
    if not path.exists():
        return None
    found = re.search(r"figure \w+ drawing \w+ from [^<]+", path.read_text())
    return found and found[0]


def draw(figure: Figure, path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    with matplotlib.rc_context(STYLE):
        if figure.bars:
            size = (8, 1.3 + 0.36 * len(figure.bars.labels))
            drawn, axes = pyplot.subplots(figsize=size, layout="constrained")
            _bars(axes, figure.bars)
            axes.legend(loc="upper right")  # the worst come first, so there is room
        else:
            rows = -(-len(figure.panels) // figure.columns)
            size = (max(8.0, 3.2 * figure.columns), 0.9 + 2.5 * rows)
            drawn, grid = pyplot.subplots(
                rows, figure.columns, figsize=size, layout="constrained", squeeze=False
            )
            for axes, panel in zip(grid.flat, figure.panels, strict=False):
                _panel(axes, panel)
            known = {}
            for axes in grid.flat:
                handles, labels = axes.get_legend_handles_labels()
                known.update(zip(labels, handles, strict=True))
            drawn.legend(known.values(), known.keys(), loc="outside lower center", ncols=6)
        drawn.suptitle(figure.title, fontsize=10)
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(path, metadata={"Date": None, "Creator": None, "Source": mark(figure)})
        pyplot.close(drawn)


def _bars(axes: Axes, bars: Bars) -> None:
    height = 0.8 / len(bars.groups)
    for index, (name, ratios) in enumerate(bars.groups.items()):
        shown = [(place, ratio) for place, ratio in enumerate(ratios) if ratio is not None]
        shift = (index - (len(bars.groups) - 1) / 2) * height
        places, widths = [place + shift for place, _ in shown], [ratio - 1 for _, ratio in shown]
        axes.barh(places, widths, height, left=1, color=COLOURS.get(name, OTHER), label=name)
        for place, ratio in shown:
            text = times(ratio)
            at = (max(ratio, 1), place + shift)
            axes.annotate(text, at, (3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis)
    axes.set_yticks(range(len(bars.labels)), bars.labels)
    axes.invert_yaxis()
    axes.set_xlabel(bars.x_label)


def _panel(axes: Axes, panel: Panel) -> None:
    axes.set(xscale="log", yscale="log", xlabel=panel.x_label, ylabel=panel.y_label)
    for one in panel.series:
        colour = COLOURS.get(one.name, OTHER)
        front = 3 if one.name == "rnn_kernels" else 2
        if one.kind == "points":
            axes.scatter(one.x, one.y, s=14, color=colour, label=one.name, zorder=front)
        elif one.kind == "limit":
            axes.plot(one.x, one.y, color=colour, label=one.name, linewidth=1, linestyle="--")
        else:
            width = 1.8 if front == 3 else 1.1
            look = {"marker": "o", "markersize": 3, "linewidth": width, "zorder": front}
            y = [nan if value is None else value for value in one.y]
            axes.plot(one.x, y, color=colour, label=one.name, **look)
    _plain_numbers(axes.yaxis)
    sizes = sorted({x for one in panel.series if one.kind == "line" for x in one.x})
    if sizes:
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes], fontsize=7)
        axes.minorticks_off()
    else:
        _plain_numbers(axes.xaxis)
    axes.set_title(panel.title)
    axes.grid(True, which="major", linewidth=0.3)


def _plain_numbers(axis: Axis) -> None:
    """1, 2, 5, 10, …: no powers, and no more labels than are read."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    few = high < 300 * low
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
