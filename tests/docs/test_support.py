"""The page of supported features cannot lie."""

from __future__ import annotations

from types import SimpleNamespace

import support

PAGE = f"# Title\n\n{support.BEGIN}\n{support.END}\n\nRest.\n"


def record(*outcomes: tuple[str, str, str], **more: object) -> support.Record:
    found = support.Record()
    for feature, column, outcome in outcomes:
        properties = [("support", [feature, column])]
        report = {"when": "call", "outcome": outcome, "user_properties": properties} | more
        found.pytest_runtest_logreport(SimpleNamespace(**report))
    return found


GOOD = record(("f", "LSTM", "passed"), ("f", "GRU", "skipped"), ("g", "GRUCell", "passed"))


def test_a_page_is_read_as_it_was_written() -> None:
    rows = {"f": ["yes", "not run", "", ""], "g": ["", "", "", "yes"]}
    assert GOOD.rows() == rows
    page = support.written(PAGE, rows)
    assert support.read(page) == rows and page.startswith("# Title") and page.endswith("Rest.\n")
    assert support.written(page, rows) == page
    assert support.complaints(page, GOOD, whole=True) == []


def test_every_lie_is_noticed() -> None:
    page = support.written(PAGE, GOOD.rows())
    for found, said in [
        (record(("f", "LSTM", "failed"), ("f", "LSTM", "passed")), "tests say ['no'"),
        (record(("f", "LSTM", "skipped"), wasxfail="why"), "tests say ['no'"),
        (record(("f", "GRU", "passed")), "tests say ['yes', 'yes'"),
        (record(("new", "GRU", "passed")), "the page says None"),
    ]:
        (line,) = support.complaints(page, found, whole=False)
        assert said in line
    gone = support.complaints(page, record(("g", "GRUCell", "passed")), whole=True)
    assert gone == ["f: no test speaks for it any more"]


def run_of(*args: str, **options: object) -> SimpleNamespace:
    given = {"markexpr": "", "keyword": "", "deselect": None, "ignore": None, "ignore_glob": None}
    return SimpleNamespace(args=list(args), option=SimpleNamespace(**given | options))


def test_a_run_of_all_tests_is_told_from_others() -> None:
    assert support.is_whole(run_of("tests"))
    assert support.is_whole(run_of("tests", lf=False, markexpr="support"))
    assert not support.is_whole(run_of("tests", markexpr="not slow"))
    assert not support.is_whole(run_of("tests", keyword="GRU"))
    assert not support.is_whole(run_of("tests", lf=True))
    assert not support.is_whole(run_of("tests/modules"))


def test_what_could_not_run_stays_as_it_was_found() -> None:
    page = support.written(PAGE, GOOD.rows())
    assert support.complaints(page, record(("f", "LSTM", "skipped")), whole=False) == []
