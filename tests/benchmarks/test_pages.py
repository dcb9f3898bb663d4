"""The pages and pictures: made from results files alone, and up to date with them."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmark_cases import row

from benchmarks import machine
from benchmarks.grid import shape as grid_shape
from benchmarks.host.environment import ROOT
from benchmarks.measuring import results
from benchmarks.measuring.results import Row
from benchmarks.pages import __main__ as pages
from benchmarks.pages import blocks, drawing, performance
from benchmarks.pages.device_results import DeviceResults, devices
from benchmarks.pages.figure import Bars, Figure
from benchmarks.pages.figures import figures, limit_x, presets_figure, worst_first
from benchmarks.reporting.limits import TRIP_US
from benchmarks.shapes.presets import PRESETS
from benchmarks.sweep import AXES, shape

DEEPAR, SILERO, DECODE = (PRESETS[name] for name in ("deepar", "silero-vad", "rnnt-decode"))


def test_the_pages_of_this_checkout_are_what_its_results_files_say() -> None:
    stale = [str(path.relative_to(ROOT)) for path in pages.outdated(devices())]
    assert not stale, f"out of date, `make pages` writes them: {stale}"


def preset_rows(**where: str) -> list[Row]:
    """deepar: won, and lost in training. silero-vad: won. rnnt-decode: ours was wrong."""
    peak = {"torch.nn": 40.0, "auto": 20.0}
    return [
        *(row(name, us, DEEPAR, **where) for name, us in (("torch.nn", 300.0), ("auto", 100.0))),
        *(
            row(name, us, DEEPAR, pass_="fwd_bwd", peak_mb=peak[name], **where)
            for name, us in (("torch.nn", 400.0), ("auto", 500.0))
        ),
        row("torch.nn", 60.0, SILERO, **where),
        row("auto", 10.0, SILERO, p20_us=8.0, p80_us=12.0, **where),
        row("onnxruntime", 5.0, SILERO, **where),
        row("torch.nn", 60.0, DECODE, **where),
        row("auto", None, DECODE, **where),
    ]


def sweep_rows(**where: str) -> list[Row]:
    """Two sizes of each axis; torch.nn takes twice as long as ours. Then recompute and overhead."""
    rows = []
    sizes = {"I": 4, "H": 8, "B": 2, "T": 16}
    for axis, cell, factor, one in product(AXES, ("LSTM", "GRU"), (1, 2), ("fwd", "fwd_bwd")):
        preset = shape(axis, cell, "float32", **{**sizes, axis: factor * sizes[axis]})
        rows += [
            row("torch.nn", 200.0 * factor, preset, pass_=one, peak_mb=4.0, **where),
            row("auto", 100.0 * factor, preset, pass_=one, peak_mb=3.0, **where),
        ]
    saved, small = shape("recompute", "LSTM", "float32", **sizes), shape(
        "overhead", "GRU", "float32", I=8, H=8, B=1, T=1
    )  # fmt: skip
    for name, us, peak in (("torch.nn", 50.0, 9.0), ("auto", 40.0, 7.5), ("recompute", 80.0, 2.25)):
        rows.append(row(name, us, saved, pass_="fwd_bwd", peak_mb=peak, **where))
    rows += [
        row(name, us, small, pass_="cell_fwd", **where)
        for name, us in (("torch.nn", 9.0), ("auto", 3.0))
    ]
    return rows


def machine_rows(**where: str) -> list[machine.Row]:
    base = row("auto", 1.0, **where)
    fields = machine.Row.__dataclass_fields__
    same = {name: getattr(base, name) for name in fields if hasattr(base, name)}
    facts = {"what": "product", "size": 64, "rate": 250.0, "unit": "GFLOP/s", "dtype": "float32"}
    return [machine.Row(**{**same, **facts})]


Files = Callable[..., DeviceResults]


@pytest.fixture
def files(monkeypatch, tmp_path) -> Files:
    """Writes the files of a device, into a folder of their own."""
    folder = tmp_path / "benchmarks" / "results"
    monkeypatch.setattr(results, "RESULTS", folder)
    monkeypatch.setattr("benchmarks.pages.figures.ROOT", tmp_path)

    def write(slug: str, **by_folder: list) -> DeviceResults:
        for name, rows in by_folder.items():
            place = folder if name == "presets" else folder / name
            results.write(rows, place / f"{slug}.csv", whole=True)
        return DeviceResults(slug)

    return write


def everything(files: Files, slug: str = "some-cpu", **where: str) -> DeviceResults:
    return files(
        slug,
        presets=preset_rows(**where),
        sweeps=sweep_rows(**where),
        machine=machine_rows(**where),
    )


def test_losses_come_first_and_a_wrong_row_has_no_ratio(files) -> None:
    device = everything(files)
    assert worst_first(device.presets) == ["rnnt-decode", "deepar", "silero-vad"]
    bars = presets_figure(device).bars
    assert bars.labels == ("deepar", "silero-vad")
    assert bars.groups == {"inference": (3.0, 6.0), "training": (0.8, None)}


def test_the_readme_s_block_has_the_picture_and_each_ratio(files) -> None:
    text = blocks.readme(everything(files, device="Some CPU"))
    assert "on Some CPU" in text and "](docs/pictures/some-cpu/presets.svg)" in text
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    bad, lost, won, *sums = [line for line in lines if line][2:]
    assert (bad[0], bad[2:]) == ("rnnt-decode", ["wrong", ""])
    assert lost == ["deepar", "LSTM I 20, H 40, L 2, D 1, B 32, T 192", "3.00x", "**0.80x**"]
    assert won[2:] == ["6.00x~", ""]
    assert sums == [["geometric mean", "", "4.24x", "0.80x"], ["losses", "", "0/2", "1/1"]]


def test_a_page_s_block_is_replaced_and_the_rest_stays() -> None:
    page = f"above\n{blocks.START}old\n{blocks.END}below\n"
    assert blocks.with_block(page, "new\n") == f"above\n{blocks.START}new\n{blocks.END}below\n"


def test_the_section_of_a_device_has_every_number_of_its_files(files) -> None:
    text = performance.section(everything(files, device="Some CPU", commit="abc123", sources="def"))
    assert text.startswith("## Some CPU\n") and "commit abc123, sources def" in text
    assert "| **0.80x** | 400 | 500 | 40 | 20 |" in text  # training of deepar, and its memory
    assert "| 6.00x~ | 60 | 10 |" in text
    assert "| onnxruntime | 0.50x | 0.50x | 1/1 |" in text
    assert "| torch.nn | 4.24x | 3.00x | 0/2 | 0.80x | 0.80x | 1/1 |" in text
    assert "Against hidden units H, float32; I 4, B 2, T 16:" in text
    assert "| GRU torch.nn | training | 12.50 | 25.00 |" in text
    assert "| wrong |" in text.partition("| deepar |")[0]
    assert (
        "| LSTM float32 I 4 H 8 B 2 T 16 | training | recompute | 80.0 | **0.62x** | 2.2 |" in text
    )
    assert "| inference, the cell | rnn_kernels | 3.0 | 3.00x |  |" in text
    assert "| product | float32 | 64 | 250 GFLOP/s |" in text
    rate = DEEPAR.gflop("fwd") / 100e-6
    theirs = DEEPAR.gflop("fwd") / 300e-6
    shares = f"{rate:.1f} | {rate / 250:.0%} | {theirs / 250:.0%}"
    assert f"| deepar | inference | {shares} |" in text


def test_no_line_is_drawn_through_a_result_that_was_wrong(files) -> None:
    rows = sweep_rows()
    (first, last) = [
        r for r in rows if (r.preset[:6], r.provider, r.pass_) == ("H LSTM", "auto", "fwd")
    ]
    middle = replace(first, H=12, median_us=None, us_per_step=None, status="wrong", peak_mb=None)
    steps = figures(files("some", sweeps=[*rows, middle]))[0]
    (ours,) = [one for one in steps.panels[0].series if one.name == "rnn_kernels"]
    assert (ours.x, ours.y) == ((8, 12, 16), (first.us_per_step, None, last.us_per_step))


def test_a_preset_that_is_wrong_in_one_pass_comes_first(files) -> None:
    bad = [row("torch.nn", 60.0, DECODE), row("auto", None, DECODE)]
    bad += [replace(row(name, 9.0, DECODE), pass_="fwd_bwd") for name in ("torch.nn", "auto")]
    assert worst_first(preset_rows()[:7] + bad)[0] == "rnnt-decode"


def test_a_peer_that_is_faster_is_bold(files) -> None:
    rows = sweep_rows()
    fast = replace(rows[1], provider="openvino", median_us=50.0, us_per_step=3.125)
    text = performance.section(files("some", sweeps=[*rows, fast]))
    assert "| LSTM openvino | inference | **3.12** |  |" in text


def test_a_gpu_has_its_passes_a_picture_for_each_dtype_and_a_limit_of_trips(files) -> None:
    where = {"driver": "580.1", "cuda": "13.0", "cudnn": "91300", "device": "NVIDIA H100"}
    rows = sweep_rows(**where)
    half = [replace(one, dtype="float16") for one in rows]
    presets = preset_rows(**where)
    presets += [
        replace(one, pass_=name) for one in presets[:2] for name in ("host_fwd", "graph_fwd")
    ]
    device = files("h100", presets=presets, sweeps=rows + half, machine=machine_rows(**where))
    names = [figure.name for figure in figures(device)]
    assert names == [
        "presets",
        *(
            f"{name}-{dtype}"
            for dtype in ("float32", "float16")
            for name in ("steps-inference", "steps-training", "memory-training")
        ),
        "limit",
    ]
    (panel, _) = figures(device)[-1].panels
    limit = panel.series[-1]
    assert limit.kind == "limit" and limit.y[0] == pytest.approx(
        limit.x[0] * 1e3 / TRIP_US, rel=0.01
    )
    assert limit_x(1.0, 9.0, 4.0, True) == (1.0, 4.0, 9.0)
    assert limit_x(1.0, 9.0, 10.0, True) == limit_x(1.0, 9.0, 4.0, False) == (1.0, 9.0)
    text = performance.section(device)
    assert "CUDA 13.0, cuDNN 91300, driver 580.1" in text
    assert "host's time of an inference" in text and "inference from a CUDA graph" in text


@pytest.mark.slow
def test_pictures_say_what_they_show_and_are_drawn_again_when_it_changes(files, tmp_path) -> None:
    device = everything(files)
    drawn = figures(device)
    assert [one.name for one in drawn] == [
        "presets", "steps-inference", "steps-training", "memory-training", "limit",
    ]  # fmt: skip
    for figure in drawn:
        path = tmp_path / f"{figure.name}.svg"
        drawing.draw(figure, path)
        root = ElementTree.parse(path).getroot()
        shown = " ".join(text for text in root.itertext() if text.strip())
        assert root.tag.endswith("svg") and figure.title in re.sub(r"\s+", " ", shown)
        assert drawing.mark_in(path) == drawing.mark(figure)
        assert "benchmarks/results" in drawing.mark(figure)
        before = path.read_bytes()
        drawing.draw(figure, path)
        assert path.read_bytes() == before
    assert drawing.mark_in(tmp_path / "absent.svg") is None
    bars = Bars("x", ("one",), {"inference": (2.0,)})
    figure = Figure("a", "A", "a.csv", bars=bars)
    other = replace(figure, bars=replace(bars, groups={"inference": (2.001,)}))
    assert figure.digest() != other.digest() == replace(other).digest()


def test_what_is_out_of_date_is_named_and_mended(files, monkeypatch, tmp_path, capsys) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    places = {"README": tmp_path / "README.md", "CPU": docs / "cpu.md"}
    for path in places.values():
        path.write_text(f"above\n{blocks.START}old\n{blocks.END}below\n")
    places |= {"PERFORMANCE": docs / "performance.md", "PICTURES": docs / "pictures"}
    for name, path in {**places, "ROOT": tmp_path}.items():
        monkeypatch.setattr(pages, name, path)
    assert pages.main([]) == 0 and "old" in places["README"].read_text()  # no results yet

    files("some", presets=preset_rows(utc="2026-01-01T00:00:00+00:00"))
    files("newer", presets=preset_rows(utc="2026-02-01T00:00:00+00:00", device="Newer"))
    grid = grid_shape("inference", "GRU", (64, 1, 10))
    files("some", grid=[row("torch.nn", 8.0, grid), row("auto", 4.0, grid)])
    assert pages.main(["--check"]) == 1 and "old" in places["README"].read_text()
    assert "out of date: docs/performance.md" in capsys.readouterr().out
    assert pages.main([]) == 0
    assert {path.name for path in pages.outdated(devices())} == set()
    readme = places["README"].read_text()
    assert "on Newer" in readme and readme.startswith("above\n") and readme.endswith("below\n")
    assert "2.00x" in places["CPU"].read_text()
    assert places["PERFORMANCE"].read_text().count("## ") > 2
    capsys.readouterr()

    picture: Path = places["PICTURES"] / "newer" / "presets.svg"
    picture.write_text(picture.read_text().replace("figure ", "figure 0"))
    gone = picture.with_name("gone.svg")
    gone.write_text("")
    assert set(pages.outdated(devices())) == {picture, gone}
    pages.main([])
    assert not gone.exists() and pages.main(["--check"]) == 0
