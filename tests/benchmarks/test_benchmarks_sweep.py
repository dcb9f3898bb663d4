"""The sweep: its regions, its jobs, its rows, its file."""

from dataclasses import replace

import pytest
from benchmark_cases import COUNTS, WHERE, Broken, row

from benchmarks import status, sweep
from benchmarks.measuring import findings, results
from benchmarks.measuring.timing import QUICK, Effort
from benchmarks.providers.table import PROVIDERS
from benchmarks.shapes.region import region
from benchmarks.sweep import AXES, PARTS, Sweep, jobs_of, shape

TINY = Sweep(
    centre={"I": 3, "H": 5, "B": 2, "T": 4},
    H=(5, 7),
    B=(1,),
    T=(1, 9),
    recompute={"I": 3, "H": 5, "B": 2, "T": 4},
)


@pytest.fixture
def tiny(monkeypatch, tmp_path) -> None:
    """Small and short, into a folder of its own."""
    effort = Effort(budget_s=0, min_rounds=2, patience_s=0)
    monkeypatch.setitem(sweep.EFFORTS, "cpu", effort)
    monkeypatch.setitem(QUICK, "cpu", effort)
    monkeypatch.setattr(sweep, "FEW", replace(TINY, H=(5,), T=(9,)))
    monkeypatch.setitem(sweep.WHOLE, "cpu", TINY)
    monkeypatch.setattr(findings, "RUN_IN_S", 0.0)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)


WINDOW = shape("H", "LSTM", "float16", I=768, H=768, B=16, T=256)


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


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_each_axis_runs_from_end_to_end_while_the_others_stay(device: str) -> None:
    whole = sweep.WHOLE[device]
    ends = {"H": (64, 4096), "B": (1, 512), "T": (1, 16384)}
    jobs = jobs_of(device, whole)
    for axis in AXES:
        presets = [job.presets[0] for job in jobs if job.part == axis]
        sizes = {getattr(one, axis) for one in presets}
        assert (min(sizes), max(sizes)) == ends[axis] and len(sizes) > 5
        for other in {"I", *AXES} - {axis}:
            assert {getattr(one, other) for one in presets} == {whole.centre[other]}
        assert {(one.cell, one.dtype) for one in presets} == {
            (cell, dtype) for cell in ("LSTM", "GRU") for dtype in whole.dtypes
        }
        assert {job.pass_name for job in jobs if job.part == axis} == {"fwd", "fwd_bwd"}
    keys = [(job.presets[0].name, job.pass_name) for job in jobs]
    assert len(set(keys)) == len(keys) and {job.part for job in jobs} == set(PARTS)


def test_every_backend_and_peer_that_can_takes_part() -> None:
    jobs = {(job.presets[0].name, job.pass_name): job for job in jobs_of("cpu", sweep.WHOLE["cpu"])}
    at = shape("T", "GRU", "float32", I=64, H=128, B=8, T=64).name
    ours = ("torch.nn", "auto", "reference")
    assert jobs[at, "fwd"].providers == (*ours, "onnxruntime", "openvino")
    assert jobs[at, "fwd_bwd"].providers == ours
    assert "reference" not in jobs[at.replace("T 64", "T 1024"), "fwd"].providers
    on_gpu = {name for job in jobs_of("cuda", sweep.WHOLE["cuda"]) for name in job.providers}
    assert on_gpu == {
        "torch.nn", "auto", "cuda", "triton", "torchrl-triton", "haste", "recompute",
    }  # fmt: skip


@pytest.mark.slow
def test_a_whole_sweep_replaces_the_device_s_file_apart_from_the_runs(tiny, tmp_path, capsys):
    assert sweep.main(["--device", "cpu"]) == 0
    (path,) = tmp_path.rglob("*.csv")
    assert path == results.official_path(WHERE.device, "sweeps") and path.parent.name == "sweeps"
    rows = results.read(path)
    assert [(one.preset, one.pass_, one.provider) for one in rows] == [
        (job.presets[0].name, job.pass_name, provider)
        for job in jobs_of("cpu", TINY)
        for provider in job.providers
    ]
    for one in rows:
        assert one.status == "ok" or (one.status == "missing" and PROVIDERS[one.provider].peer)
        assert one.status != "ok" or one.us_per_step > 0
        counted = one.status == "ok" and COUNTS and not PROVIDERS[one.provider].peer
        assert (one.peak_mb is not None) == counted
    capsys.readouterr()
    status.main()
    assert capsys.readouterr().out.split() == ["current", str(path.relative_to(tmp_path))]


def test_a_quick_sweep_prints_the_tables_and_writes_nothing(tiny, tmp_path, capsys) -> None:
    assert sweep.main(["--device", "cpu", "--quick"]) == 0
    out = capsys.readouterr().out
    words = ("us per step", "H 5", "B 1", "T 9", "cell_fwd", "recompute", "no file written")
    assert all(word in out for word in words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_parts_passes_and_providers_are_picked(tiny, tmp_path) -> None:
    path = tmp_path / "rows.csv"
    options = ["--part", "B", "--pass", "fwd", "--provider", "reference", "--output", str(path)]
    assert sweep.main(["--device", "cpu", *options]) == 0
    rows = results.read(path)
    assert {one.preset.split()[0] for one in rows} == {"B"}
    assert {one.pass_ for one in rows} == {"fwd"}
    assert [one.provider for one in rows] == 2 * ["torch.nn", "reference"]


@pytest.mark.parametrize(
    "options",
    [
        ["--part", "Q"],
        ["--pass", "bwd"],
        ["--part", "recompute", "--pass", "cell_fwd"],
        ["--provider", "triton"],
        ["--quick", "--output", str(results.RESULTS / "sweeps" / "cpu.csv")],
    ],
    ids=" ".join,
)
def test_a_bad_option_costs_one_line_and_exit_code_2(options: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        sweep.main(["--device", "cpu", *options])
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and "benchmarks.sweep: " in said.err


def test_a_provider_that_is_wrong_has_no_time_and_fails_the_sweep(
    tiny, tmp_path, monkeypatch, capsys
) -> None:
    wrong = Broken(lambda found: tuple(one * 1.001 for one in found))
    monkeypatch.setitem(PROVIDERS, "auto", wrong)
    path = tmp_path / "rows.csv"
    options = ["--quick", "--part", "B", "--pass", "fwd", "--output", str(path)]
    assert sweep.main(["--device", "cpu", *options]) == 1
    status = {one.provider: (one.status, one.median_us) for one in results.read(path)}
    assert status["broken"] == ("wrong", None) and status["torch.nn"][0] == "ok"
    assert "wrong: broken on B LSTM" in capsys.readouterr().out


def test_the_summary_names_the_algorithms_of_a_gpu() -> None:
    def line(H: int, provider: str):
        return row(provider, 512.0, replace(WINDOW, H=H, name=f"H {H}"), driver="580.1")

    rows = [line(768, "torch.nn"), line(768, "auto"), line(2048, "torch.nn")]
    lines = [text.split() for text in sweep.summary(rows).splitlines()]
    assert lines[0][-4:] == ["H", "768", "H", "2048"]
    assert lines[1][-3:] == ["torch.nn", "2.00@persist_static", "2.00"]
    assert lines[2][-2:] == ["auto", "2.00"]
