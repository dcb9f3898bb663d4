"""The figure: what a picture shows, as data, before anything is drawn."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Series:
    """Points of one provider; `name` is what the legend says. A line has a gap where y is None."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    kind: str = "line"  # line, points, or limit: a thin line that nobody crosses


@dataclass(frozen=True)
class Panel:
    """A pair of axes, both logarithmic."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Bars:
    """Horizontal bars from 1.0 on a logarithmic axis, a group for each label, top to bottom."""

    x_label: str
    labels: tuple[str, ...]
    groups: dict[str, tuple[float | None, ...]]  # by what the legend says


@dataclass(frozen=True)
class Figure:
    """`name` is the file's, without its ending. It has bars, or panels in rows of `columns`."""

    name: str
    title: str
    source: str  # the results file
    bars: Bars | None = None
    panels: tuple[Panel, ...] = field(default=())
    columns: int = 3

    def digest(self) -> str:
        """Of all that is shown: two figures with the same one look the same."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]
