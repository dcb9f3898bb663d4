"""The page of supported features, docs/support.md: written from what tests found, never by hand.

A test says what it shows: ``@pytest.mark.support(feature)``. Whose column it speaks for is the
parameter that names a layer, or the marker's second argument. A feature is supported where every
test of it passed, and "not run" where each was skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from paths import DOCS

PAGE = DOCS / "support.md"
COLUMNS = ("LSTM", "GRU", "LSTMCell", "GRUCell")
BEGIN, END = "<!-- table: `make support` writes it -->", "<!-- end of table -->"
# Outcomes of the tests of one feature, the first that applies.
WORST = {"failed": "no", "passed": "yes", "skipped": "not run"}

Found = dict[tuple[str, str], set[str]]


def claims(item: pytest.Item) -> Iterable[tuple[str, str]]:
    """The features and columns that a test speaks for."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    words = {p.split()[0].lower() for p in parameters if isinstance(p, str) and p}
    named = {column for column in COLUMNS if column.lower() in words}
    for mark in item.iter_markers("support"):
        feature, *column = mark.args
        whose = column or sorted(named)
        if not whose:
            raise pytest.UsageError(f"{item.nodeid}: support() names no layer: {COLUMNS} or 'all'")
        for one in whose:
            for column_name in COLUMNS if one == "all" else [one]:
                yield feature, column_name


class Record:
    """What the tests of one run found."""

    def __init__(self) -> None:
        self.outcomes: Found = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            for name, value in report.user_properties:
                if name == "support":
                    found = "failed" if hasattr(report, "wasxfail") else report.outcome
                    self.outcomes.setdefault(tuple(value), set()).add(found)

    def rows(self) -> dict[str, list[str]]:
        """By feature, what stands in each column."""
        found = {feature: [""] * len(COLUMNS) for feature, _ in self.outcomes}
        for (feature, column), outcomes in self.outcomes.items():
            words = [word for outcome, word in WORST.items() if outcome in outcomes]
            found[feature][COLUMNS.index(column)] = words[0]
        return found


def read(page: str) -> dict[str, list[str]]:
    """The rows of a page."""
    table = page[page.index(BEGIN) : page.index(END)]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|") and not re.match(r"\|( \||-)", line)
    ]
    return {name: values for name, *values in cells}


def written(page: str, rows: dict[str, list[str]]) -> str:
    """The page with these rows."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (1 + len(COLUMNS))]
    lines += [
        f"| {name} | " + " | ".join(rows[name]) + " |" for name in sorted(rows, key=str.lower)
    ]
    head, rest = page.split(BEGIN)
    return head + "\n".join([BEGIN, "", *lines, "", END]) + rest.split(END)[1]


def merged(old: dict[str, list[str]], new: dict[str, list[str]]) -> dict[str, list[str]]:
    """Old rows with what a run found; what it could not run stays as an earlier one found it."""
    rows = dict(old)
    for name, values in new.items():
        before = old.get(name, [""] * len(COLUMNS))
        rows[name] = [
            was if value == "" or value == "not run" and was == "yes" else value
            for was, value in zip(before, values, strict=True)
        ]
    return rows


def is_whole(config: pytest.Config) -> bool:
    """Whether a run is of every test that speaks for a feature. Others say nothing about the page:
    a feature may have tests that they leave out."""
    option = config.option
    names = ("keyword", "deselect", "ignore", "ignore_glob", "lf")  # the last is a plugin's
    fewer = (getattr(option, name, None) for name in names)
    return not any(fewer) and option.markexpr in ("", "support") and config.args == ["tests"]


def complaints(page: str, record: Record, whole: bool) -> list[str]:
    """Where a page says other than a run found; of all rows, if the run was of all tests."""
    old, new = read(page), record.rows()
    lines = [
        f"{name}: the page says {old.get(name)}, tests say {values}"
        for name, values in merged(old, new).items()
        if old.get(name) != values
    ]
    if whole:
        lines += [f"{name}: no test speaks for it any more" for name in old.keys() - new.keys()]
    return lines
