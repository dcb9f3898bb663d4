"""The sweep: its regions, its facts, its file."""

from dataclasses import replace

import pytest
from benchmark_cases import WHERE

from benchmarks import results, sweep
from benchmarks.region import region
from benchmarks.sweep import Fact, Grid, shape

TINY = Grid(dtypes=("float32", "bfloat16"), H=(8,), B=(2,), T=3)
EFFORT = replace(sweep.EFFORT, budget_s=0, min_rounds=2)


@pytest.fixture
def tiny(monkeypatch, tmp_path) -> None:
    """Small and short, into a folder of its own."""
    monkeypatch.setattr(sweep, "EFFORT", EFFORT)
    monkeypatch.setattr(sweep, "QUICK_GRID", TINY)
    monkeypatch.setitem(sweep.GRIDS, "cpu", TINY)
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(results, "ROOT", tmp_path)


WINDOW = shape("LSTM", "float16", H=768, B=16, T=256)


@pytest.mark.parametrize(
    "preset, forward, training",
    [
        (WINDOW, "persist_static", "persist_static"),
        (replace(WINDOW, B=128, H=1024), "persist_static", "persist_static"),
        (replace(WINDOW, B=136), "standard", "standard"),
        (replace(WINDOW, B=12), "standard", "standard"),
        (replace(WINDOW, H=1152), "standard", "standard"),
        (replace(WINDOW, H=320), "standard", "standard"),
        (replace(WINDOW, I=100), "standard", "standard"),
        (replace(WINDOW, L=2), "standard", "standard"),
        (replace(WINDOW, D=2), "standard", "standard"),
        (replace(WINDOW, cell="GRU"), "standard", "standard"),
        (replace(WINDOW, dtype="bfloat16"), "standard", "standard"),
        (replace(WINDOW, dtype="float32"), "standard", "standard"),
        (replace(WINDOW, packed=True), "standard", "standard"),
        (replace(WINDOW, H=128), "small_h", "small_h"),
        (replace(WINDOW, H=192, cell="GRU"), "small_h", "small_h/standard"),
        (replace(WINDOW, H=192, dtype="float32", D=2), "small_h", "small_h/standard"),
        (replace(WINDOW, H=64, dtype="float64"), "standard", "standard"),
        (replace(WINDOW, H=64, packed=True), "standard", "standard"),
    ],
    ids=str,
)
def test_the_region_is_what_torch_asks_cudnn_for(preset, forward, training) -> None:
    assert (region(preset, "fwd"), region(preset, "fwd_bwd")) == (forward, training)


def test_facts_cover_the_grid_and_survive_a_file(tiny, tmp_path) -> None:
    facts = sweep.sweep("cpu", TINY, WHERE)
    cases = {(f.module, f.dtype, f.H, f.B, f.T, f.pass_) for f in facts}
    long = {
        (cell, dtype, 8, 2, 3, name)
        for cell in ("LSTM", "GRU")
        for dtype in TINY.dtypes
        for name in ("fwd", "fwd_bwd")
    }
    smallest = {
        (module, "float32", 64, 1, 1, name)
        for cell in ("LSTM", "GRU")
        for module, name in ((cell, "fwd"), (cell, "fwd_bwd"), (f"{cell}Cell", "fwd"))
    }
    assert cases == long | smallest
    assert {f.provider for f in facts} == {"torch.nn", "auto"}
    assert all(f.status == "ok" and f.us_per_call and f.us_per_step for f in facts)
    assert all(f.host_us is None and f.region == "" for f in facts)
    path = tmp_path / "facts.csv"
    results.write(facts, path, whole=True)
    assert results.read(path, Fact) == facts
    with pytest.raises(ValueError, match="Row"):
        results.read(path)


def test_a_whole_sweep_replaces_the_device_s_file_apart_from_the_runs(tiny, tmp_path, capsys):
    assert sweep.main(["--device", "cpu"]) == 0
    (path,) = tmp_path.rglob("*.csv")
    assert path == results.official_path(WHERE.device, "sweeps") and path.parent.name == "sweeps"
    assert results.read(path, Fact)[0].sources == WHERE.sources
    capsys.readouterr()
    results.main()
    assert "no results" in capsys.readouterr().out


def test_a_quick_sweep_prints_the_tables_and_writes_nothing(tiny, tmp_path, capsys) -> None:
    assert sweep.main(["--device", "cpu", "--quick"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("us per step", "H 8", "GRUCell", "no file written"))
    assert list(tmp_path.iterdir()) == []


def test_a_provider_that_fails_costs_the_others_nothing(tiny, monkeypatch, capsys) -> None:
    def fail(*_, **__):
        raise RuntimeError("no such kernel\nand more")

    monkeypatch.setattr(type(sweep.PROVIDERS["auto"]), "build", fail)
    assert sweep.main(["--device", "cpu", "--quick"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "auto: RuntimeError: no such kernel" in lines
    assert any(line.split()[-2:] != ["torch.nn", "-"] for line in lines if "torch.nn" in line)


def test_the_summary_names_the_regions() -> None:
    times = dict(us_per_call=512.0, us_per_step=2.0, host_us=40.0, backend_used="", status="ok")
    common = dict(module="LSTM", dtype="float16", B=16, T=256, pass_="fwd", **times)
    where = {name: "" for name in WHERE.__dataclass_fields__}
    facts = [
        Fact(H=768, region="persist_static", provider="torch.nn", **common, **where),
        Fact(H=768, region="persist_static", provider="auto", **common, **where),
        Fact(H=2048, region="standard", provider="torch.nn", **common, **where),
    ]
    lines = [line.split() for line in sweep.summary(facts).splitlines()]
    assert lines[0][-4:] == ["H", "768", "H", "2048"]
    assert lines[1][-3:] == ["torch.nn", "2.00@persist_static", "2.00"]
    assert lines[2][-2:] == ["auto", "2.00"]
