"""The grid: its jobs, its rows, its tables and the page they stand on."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from benchmark_cases import WHERE, Broken, row

from benchmarks import grid, status
from benchmarks.grid import PARTS, Sizes, jobs_of, shape
from benchmarks.host.environment import sources_hash
from benchmarks.measuring import findings, results
from benchmarks.measuring.job import Job
from benchmarks.measuring.timing import QUICK, Effort
from benchmarks.providers.table import BASELINE, PROVIDERS
from benchmarks.reporting import grid_tables
from benchmarks.shapes.presets import Preset

TINY = Sizes(H=(5, 7), B=(3,), T=3, streaming_H=(5,), resets=(7, 3, 9))
PEERS = ("onnxruntime", "openvino", "openvino-bf16")


@pytest.fixture
def tiny(monkeypatch, tmp_path) -> None:
    """Small and short, into a folder of its own."""
    effort = Effort(budget_s=0, min_rounds=2, patience_s=0)
    monkeypatch.setattr(grid, "EFFORT", effort)
    monkeypatch.setitem(QUICK, "cpu", effort)
    monkeypatch.setattr(grid, "WHOLE", TINY)
    monkeypatch.setattr(grid, "FEW", replace(TINY, H=(5,)))
    monkeypatch.setattr(findings, "RUN_IN_S", 0.0)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)


def preset_of(job: Job) -> Preset:
    (preset,) = job.presets
    return preset


def test_the_jobs_cover_what_is_promised() -> None:
    jobs = {part: jobs_of(grid.WHOLE, [part]) for part in PARTS}
    sizes = set(product(("GRU", "LSTM"), (64, 128, 256, 512, 1024), (1, 8, 32, 64)))
    quartet = ("torch.nn", "auto", "onnxruntime", "openvino")
    expected = {
        "inference": ("float32", "fwd", quartet),
        "training": ("float32", "fwd_bwd", quartet[:2]),
        "bfloat16": ("bfloat16", "fwd", (*quartet[:2], "openvino-bf16")),
    }
    for part, (dtype, pass_name, providers) in expected.items():
        presets = [preset_of(job) for job in jobs[part]]
        assert {(one.cell, one.H, one.B) for one in presets} == sizes
        assert {(one.I, one.T, one.L, one.D, one.dtype) for one in presets} == {
            (16, 100, 1, 1, dtype)
        }
        assert {(job.pass_name, job.providers) for job in jobs[part]} == {(pass_name, providers)}

    steps = [(preset_of(job), job) for job in jobs["streaming"]]
    assert {(one.cell, one.H, job.pass_name, job.providers) for one, job in steps} == {
        (cell, H, *how)
        for cell in ("GRU", "LSTM")
        for H in (64, 128, 256)
        for how in (("fwd", quartet), ("cell_fwd", quartet[:2]))
    }
    assert all((one.I, one.B, one.T) == (one.H, 1, 1) for one, _ in steps)

    cells = [job.presets[0].cell for job in jobs["resets"]]
    assert sorted(zip(cells, (job.pass_name for job in jobs["resets"]), strict=True)) == list(
        product(("GRU", "LSTM"), ("fwd", "fwd_bwd"))
    )
    for job in jobs["resets"]:
        plain, cut = job.presets
        assert (plain.H, plain.B, plain.T, plain.resets, cut.resets) == (256, 8, 128, 0, 0.03)
        assert replace(cut, name=plain.name, resets=0.0) == plain and job.providers == ("auto",)

    assert [job for part in PARTS for job in jobs[part]] == jobs_of(grid.WHOLE)
    keys = [(one.name, job.pass_name) for job in jobs_of(grid.WHOLE) for one in job.presets]
    assert len(set(keys)) == len(keys)


@pytest.mark.slow
def test_a_whole_grid_replaces_the_device_s_file(tiny, tmp_path, capsys) -> None:
    assert grid.main([]) == 0
    (path,) = tmp_path.rglob("*.csv")
    assert path == results.official_path(WHERE.device, "grid")
    rows = results.read(path)
    jobs = jobs_of(TINY)
    assert [(one.preset, one.provider, one.pass_) for one in rows] == [
        (preset.name, provider, job.pass_name)
        for job in jobs
        for preset in job.presets
        for provider in job.providers
    ]
    for one in rows:
        assert one.status == "ok" or (one.status == "missing" and one.provider in PEERS)
        assert (one.median_us is not None) == (one.status == "ok")
        assert (one.device, one.commit, one.sources) == (WHERE.device, WHERE.commit, sources_hash())
    out = capsys.readouterr().out
    assert all(title in out for title in (*grid_tables.TITLES.values(), grid_tables.RESETS))
    assert f"written: {path}" in out
    status.main()
    assert capsys.readouterr().out.split() == ["current", str(path.relative_to(tmp_path))]
    results.write([replace(rows[0], sources="gone")], path, whole=True)
    status.main()
    assert capsys.readouterr().out.split()[0] == "stale"


def test_a_quick_grid_writes_nothing_and_parts_write_where_they_are_told(tiny, tmp_path, capsys):
    assert grid.main(["--quick", "--part", "streaming"]) == 0
    out = capsys.readouterr().out
    assert "no file written" in out and "One step" in out and "Training" not in out
    path = tmp_path / "rows.csv"
    assert grid.main(["--part", "training", "resets", "--output", str(path)]) == 0
    rows = results.read(path)
    assert {one.preset.split()[0] for one in rows} == {"training", "resets"}
    assert {one.provider for one in rows} == {"torch.nn", "auto"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name, code", [("openvino", 0), ("auto", 1)])
def test_a_wrong_provider_has_no_time_and_only_ours_fails_the_grid(
    name, code, tiny, tmp_path, monkeypatch, capsys
) -> None:
    broken = Broken(lambda results: tuple(result * 1.001 for result in results))
    broken.name, broken.peer = name, PROVIDERS[name].peer
    monkeypatch.setitem(PROVIDERS, name, broken)
    path = tmp_path / "rows.csv"
    assert grid.main(["--quick", "--part", "inference", "--output", str(path)]) == code
    wrong = [one for one in results.read(path) if one.status == "wrong"]
    assert {one.provider for one in wrong} == {name} and len(wrong) == 2
    assert all(one.median_us is one.us_per_step is None for one in wrong)
    out = capsys.readouterr().out
    assert f"wrong: {name} on inference GRU H 5 B 3 fwd: " in out
    assert ("a peer's, so no failure" in out) == (code == 0)


def test_a_peer_that_is_not_there_has_its_row_and_its_reason(
    tiny, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("benchmarks.providers.cpu_peers.find_spec", lambda package: None)
    path = tmp_path / "rows.csv"
    assert grid.main(["--quick", "--part", "inference", "--output", str(path)]) == 0
    status = {one.provider: one.status for one in results.read(path)}
    assert status == dict.fromkeys(("torch.nn", "auto"), "ok") | dict.fromkeys(PEERS[:2], "missing")
    out = capsys.readouterr().out
    assert "missing: openvino: needs onnx and openvino: pip install 'rnn_kernels[peers]'" in out
    assert out.count("pip install") == 2


@pytest.mark.parametrize(
    "options, reason",
    [
        (["--part", "nobody"], "invalid choice"),
        (["--device", "cuda"], "CPU backend"),
        (["--quick", "--output", str(results.RESULTS / "grid" / "cpu.csv")], "whole runs only"),
        (["--part", "resets", "--output", str(results.RESULTS / "x.csv")], "whole runs only"),
        (["--output", "/no/such/folder/rows.csv"], "no such folder"),
        ([], "OMP_WAIT_POLICY is set"),
    ],
    ids=str,
)
def test_a_bad_option_costs_one_line_and_exit_code_2(options, reason, monkeypatch, capsys) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(SystemExit) as stopped:
        grid.main(options)
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and reason in said.err


def rows_of(cell: str, B: int, **times: float | str) -> list[results.Row]:
    """Of one line; a text in place of a time is the status."""
    preset = shape("inference", cell, (64, B, 100))
    found = []
    for name, us in times.items():
        name = {"torch": BASELINE.name}.get(name, name)
        lost = isinstance(us, str)
        made = row(name, None if lost else us, preset, backend_used=f"{name} 1.0")
        found.append(replace(made, status=us, backend_used="") if lost else made)
    return found


ROWS = [
    *rows_of("GRU", 1, torch=800.0, auto=100.0, onnxruntime=200.0, openvino=99.0),
    *rows_of("GRU", 8, torch=200.0, auto=100.0, onnxruntime=200.0, openvino="wrong"),
    *rows_of("LSTM", 1, torch=99.9, auto=100.0, onnxruntime="missing", openvino=400.0),
    *rows_of("LSTM", 8, torch=300.0, auto="wrong", onnxruntime="missing", openvino=1.0),
]


def test_the_tables_show_losses_and_what_is_missing() -> None:
    (table,) = grid_tables.tables(ROWS)
    assert table.title == "Inference, float32, T 100"
    columns = ("torch.nn", "ours", "onnxruntime", "openvino", "ratio")
    assert table.lines == [
        ["H", "B", *(f"{cell} {column}" for cell in ("GRU", "LSTM") for column in columns)],
        ["64", "1", "8.00", "1.00", "2.00", "**0.99**", "8.00x"]
        + ["1.00", "1.00", "missing", "4.00", "**0.99x**"],
        ["64", "8", "2.00", "1.00", "2.00", "wrong", "2.00x"]
        + ["3.00", "wrong", "missing", "0.01", "-"],
    ]
    assert table.sums[1:] == [
        ["torch.nn", "4.00x", "2.00x", "0/2", "0.99x", "0.99x", "1/1"],
        ["onnxruntime", "2.00x", "2.00x", "0/2", "-", "-", "0/0"],
        ["openvino", "0.99x", "0.99x", "1/1", "4.00x", "4.00x", "0/1"],
    ]


def test_unsteady_times_are_marked_and_busy_ones_do_not_count() -> None:
    noisy = [replace(one, p20_us=one.p80_us and one.p80_us / 2) for one in ROWS[:4]]
    (table,) = grid_tables.tables([*noisy, *ROWS[4:]], busy=[(ROWS[4].preset, "fwd")])
    assert [line[6] for line in table.lines[1:]] == ["8.00x~", "2.00x~"]
    assert table.sums[1][1:4] == ["8.00x", "8.00x", "0/1"]


def test_the_cost_of_resets_is_ours_with_over_ours_without() -> None:
    preset = shape("resets", "GRU", (256, 8, 100))
    cut = replace(preset, name=f"{preset.name} cut", resets=0.03)
    rows = [row("auto", 200.0, preset), row("auto", 250.0, cut)]
    rows += [replace(one, pass_="fwd_bwd", median_us=None, status="wrong") for one in rows]
    (table,) = grid_tables.tables(rows)
    assert table.title.endswith("H 256, B 8, T 100, 3% set") and table.sums == []
    assert table.lines == [
        ["pass", "GRU without", "GRU with", "GRU cost"],
        ["inference", "2.00", "2.50", "1.25x"],
        ["training", "wrong", "wrong", "-"],
    ]


def test_the_page_has_every_table_and_names_the_libraries() -> None:
    page = grid_tables.page(ROWS)
    assert page.startswith(f"Measured on {WHERE.device}; torch {torch.__version__}, ")
    assert "onnxruntime 1.0, openvino 1.0" in page and "torch.nn 1.0" not in page
    assert "\n### Inference, float32, T 100\n\n| H | B | GRU torch.nn |" in page
    assert "| 64 | 1 | 8.00 | 1.00 | 2.00 | **0.99** | 8.00x |" in page
    assert "| ours against | GRU mean |" in page
    assert "\n\n\n" not in page and page.endswith("|\n")

    preset = shape("resets", "GRU", (256, 8, 100))  # its table has no sums
    cut = replace(preset, name=f"{preset.name} cut", resets=0.03)
    more = grid_tables.page([*ROWS, row("auto", 200.0, preset), row("auto", 250.0, cut)])
    assert more.startswith(page) and more.endswith("| inference | 2.00 | 2.50 | 1.25x |\n")
    assert "Resets, float32" in grid_tables.printed([row("auto", 200.0, p) for p in (preset, cut)])
