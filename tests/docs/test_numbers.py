"""Every quantity that a page states in its prose is in a quote of the ledger, with its origin."""

from __future__ import annotations

import csv
import re
from datetime import datetime
from typing import NamedTuple

import pytest
from paths import ROOT

LEDGER = "benchmarks/results/notes/notes.csv"
GENERATED = {"docs/performance.md", "docs/support.md"}  # wholly, from results or tests
DOCS = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")}
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(DOCS - GENERATED)]
KINDS = {"measured", "derived", "chosen", "cited"}

# A number with a unit, a ratio (2.4×, 3 times), or a decimal. Not found: whole numbers without a
# unit, which are mostly sizes (H 128, 8 × 2, sm_90), so of "15 to 20 µs" only the latter half; bits
# and bytes, which say what a type is; "twice", "half" and "a third"; and "a second", which is
# mostly no time.
UNITS = r"[nµu]s|ms|s|seconds?|minutes?|times|%|[KMG]iB|[GT]B/s|[GT]FLOP(?:/s)?|ulp|cycles"
WORDS = r"an?|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|thirty|hundred|thousand"
QUANTITY = re.compile(
    rf"""(?<![\w.,]) (?:
        \d+(?:[.,]\d+)* (?:[x×] | \s?(?:{UNITS})) (?!\w)
        | (?:{WORDS})\s(?:minutes?|times)\b
        | \d+\.\d+
    )""",
    re.VERBOSE,
)
# What is no prose: what is generated between markers, code, and versions, which are decimals too.
TABLE = r"^<!--\ (?P<what>table|results):.*?^<!--\ end\ of\ (?P=what)\ -->"
CODE = r"^\ *```.*?^\ *```$ | `[^`]*`"
NAMES = r"Python|torch|Triton|CUDA|GCC|Clang|onnxruntime|openvino"
VERSION = rf"(?:{NAMES})\W+(?:(?:before|newer\sthan)\s)?\d+(?:\.\d+)*(?:\sto\s\d+\.\d+)?"
NO_PROSE = re.compile(rf"{TABLE} | {CODE} | {VERSION}", re.VERBOSE | re.DOTALL | re.MULTILINE)


class Note(NamedTuple):
    """A row: whose words, what kind of number they hold, and where it comes from."""

    page: str
    quote: str  # its words, of which the page has no others
    kind: str
    device: str  # of a measurement, as in other results files
    commit: str  # that brought the words into the page, or whose code gives the number
    utc: str  # of the commit
    how: str


def notes() -> list[Note]:
    with open(ROOT / LEDGER, newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == Note._fields
        return [Note(**row) for row in reader]


def words(text: str) -> str:
    return " ".join(text.split())


def loose(text: str, quotes: list[str]) -> list[str]:
    """The quantities of a page that no quote covers, each with the words around it."""
    page = words(text)
    # Of the same length, so that a place in one is the same place in the other.
    prose = words(NO_PROSE.sub(lambda found: re.sub(r"\S", "*", found[0]), text))
    spans = [
        (at.start(), at.end()) for quote in quotes for at in re.finditer(re.escape(quote), page)
    ]
    return [
        f"{found[0]!r} in '{page[max(0, found.start() - 40) : found.end() + 20]}'"
        for found in QUANTITY.finditer(prose)
        if not any(begin <= found.start() and found.end() <= end for begin, end in spans)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_every_quantity_has_a_row(page: str) -> None:
    quotes = [note.quote for note in notes() if note.page == page]
    missing = loose((ROOT / page).read_text(), quotes)
    assert not missing, (
        f"{page} states what no row of {LEDGER} has: {'; '.join(missing)}. Add a row that quotes it"
        " and says where it comes from, have a table between markers state it, or leave it out."
    )


def test_every_quote_is_on_its_page() -> None:
    pages = {page: words((ROOT / page).read_text()) for page in PAGES}
    for note in notes():
        assert note.page in pages, f"{LEDGER} has a row for {note.page}, which is no such page"
        assert note.quote == words(note.quote)
        count = pages[note.page].count(note.quote)
        assert count == 1, (
            f"{note.page} has {note.quote!r} {count} times, not once. Where the page has changed,"
            f" change or drop the row in {LEDGER}; where there are several, quote more words."
        )


def test_rows_say_where_numbers_come_from() -> None:
    for note in notes():
        assert note.kind in KINDS, f"{note.quote!r}: {note.kind!r} is none of {sorted(KINDS)}"
        assert re.fullmatch(r"[0-9a-f]{12}", note.commit), f"{note.quote!r}: no commit of 12 digits"
        offset = datetime.fromisoformat(note.utc).utcoffset()
        assert offset is not None and not offset, f"{note.quote!r}: {note.utc} is not UTC"
        assert note.how, f"{note.quote!r}: how was it found?"
        assert note.device or note.kind != "measured", f"{note.quote!r}: measured on what?"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It takes 4.3 ms for one.", ["4.3 ms"]),
        ("From 300 to 450 GFLOP/s,\nand 2 % of 64\nMiB.", ["450 GFLOP/s", "2 %", "64 MiB"]),
        ("Up to 1.4×, 3x, or 2 times as long.", ["1.4×", "3x", "2 times"]),
        ("It takes a minute, a wait 20 s, four times as long.", ["a minute", "20 s", "four times"]),
        ("Within 4 ulp; H 64, B 8: 0.33.", ["4 ulp", "0.33"]),
        ("H 128, T 63, 16 bits, sm_90, 6 rows × 4 gates, 8 × 3, a second derivative.", []),
        ("Python 3.10 to 3.13, torch ≥ 2.6, Triton 3.5, torch newer\nthan 2.6.", []),
        ("Sizes `as 2.5 ms` in code.\n\n```sh\nsleep 3 s\n```\n", []),
        ("<!-- table: x -->\n| 2.24× |\n\n5 ms\n<!-- end of table -->\nand 6 ms", ["6 ms"]),
        ("<!-- results: x -->\n7 %\n<!-- end of results -->\nand 6 ms", ["6 ms"]),
    ],
)
def test_the_finder(text: str, found: list[str]) -> None:
    assert [one.split("'")[1] for one in loose(text, [])] == found


def test_a_quote_covers_its_own_place_alone() -> None:
    text = "A step takes 5 ms. A call takes 5 ms."
    assert len(loose(text, ["A call takes 5 ms"])) == 1
    assert not loose(text, ["A call takes 5 ms", "A step takes 5 ms"])
