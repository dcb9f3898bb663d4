"""The benchmark runner: its table, its options, what it writes."""

import subprocess
import sys
from dataclasses import replace

import pytest
from benchmark_cases import LSTM, Broken, row

from benchmarks import run
from benchmarks.host.environment import ROOT
from benchmarks.measuring import results
from benchmarks.providers.table import BASELINE, PROVIDERS, Provider, usual, usual_on
from benchmarks.reporting.table import ratios, table
from benchmarks.shapes.presets import PRESETS, device_set
from benchmarks.shapes.workload import Workload, make_workload


def main(options: list[str]) -> int:
    """On the CPU, unless the options say otherwise."""
    return run.main(["--device", "cpu", *options])


def words(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()}


def test_the_table_shows_losses_and_failures() -> None:
    other = replace(LSTM, name="other")
    third = replace(LSTM, name="third")
    rows = [
        *(row("torch.nn", 100.0, preset) for preset in (LSTM, other, third)),
        row("auto", 50.0),
        row("auto", 100.1, other, p20_us=60.0),
        row("auto", None, third),
    ]
    assert ratios(rows, "auto") == pytest.approx(
        {("small", "fwd"): 2.0, ("other", "fwd"): 100 / 100.1}
    )
    lines = words(table(rows))
    assert lines["small"] == ["fwd", "100.0", "2.00x"]
    assert lines["other"] == ["fwd", "100.0", "0.99x~"]
    assert lines["third"] == ["fwd", "100.0", "wrong"]
    assert lines["geometric"] == ["mean", "1.41x"]
    assert lines["worst"] == ["0.99x"]
    assert lines["slower"] == ["1/2"]
    assert lines["counted"] == ["2/3"]
    lines = words(table(rows, busy=[("small", "fwd")]))
    assert lines["small"] == ["fwd", "100.0", "2.00x~"]
    assert lines["geometric"] == ["mean", "0.99x"] and lines["counted"] == ["1/3"]


def test_where_a_provider_was_left_out_its_cell_is_empty() -> None:
    other = replace(LSTM, name="other")
    rows = [row(name, 2.0) for name in ("torch.nn", "auto", "reference")]
    rows += [row(name, 2.0, other) for name in ("torch.nn", "auto")]
    lines = words(table(rows))
    assert lines["small"] == ["fwd", "2.0", "1.00x", "1.00x"]
    assert lines["other"] == ["fwd", "2.0", "1.00x"]
    assert lines["counted"] == ["2/2", "1/2"]


def test_a_quick_run_times_every_provider_and_prints_the_table(tmp_path, capsys) -> None:
    path = tmp_path / "rows.csv"
    assert main(["--quick", "--preset", "deepar", "--output", str(path)]) == 0
    rows = results.read(path)
    assert [(one.provider, one.pass_) for one in rows] == [
        (provider, pass_name) for pass_name in ("fwd", "fwd_bwd") for provider in usual("cpu")
    ]
    assert all(one.status in ("ok", "missing") and one.T == 16 for one in rows)
    assert all((one.median_us is not None) == (one.status == "ok") for one in rows)
    assert [one.status for one in rows if one.provider == BASELINE.name] == ["ok", "ok"]
    out = capsys.readouterr().out
    assert all(
        word in out for word in ("deepar", "fwd_bwd", "geometric mean", "worst", *usual("cpu"))
    )


def test_a_wrong_provider_gets_no_time_and_fails_the_run(tmp_path, monkeypatch, capsys) -> None:
    broken = Broken(lambda results: tuple(result * 1.001 for result in results))
    monkeypatch.setitem(PROVIDERS, broken.name, broken)
    path = tmp_path / "rows.csv"
    options = ["--provider", "broken", "--pass", "fwd", "--output", str(path)]
    assert main(["--quick", "--preset", "deepar", *options]) == 1
    baseline, wrong = results.read(path)
    assert baseline.status == "ok" and wrong.status == "wrong"
    assert wrong.median_us is wrong.p20_us is wrong.us_per_step is None
    assert "wrong: broken on deepar fwd: " in capsys.readouterr().out


def test_a_missing_provider_is_reported_with_the_reason(monkeypatch, capsys) -> None:
    def missing(self: Provider, work: Workload, pass_name: str) -> str:
        return "needs two moons"

    monkeypatch.setattr(type(PROVIDERS["reference"]), "missing", missing)
    assert main(["--quick", "--preset", "silero-vad", "--provider", "reference"]) == 0
    assert "missing: reference: needs two moons" in capsys.readouterr().out


def test_without_the_package_its_providers_are_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "rnn_kernels", None)
    assert "rnn_kernels" in PROVIDERS["auto"].missing(make_workload(LSTM), "fwd")


@pytest.mark.parametrize(
    "options",
    [
        ["--fast"],
        ["--preset", "nobody"],
        ["--provider", "nobody"],
        ["--pass", "bwd"],
        ["--pass", "graph_fwd"],
        ["--device", "tpu"],
        ["--provider", "triton"],
        ["--preset", "silero-vad", "--pass", "fwd_bwd"],
        ["--output", "/no/such/folder/rows.csv"],
        ["--quick", "--output", str(results.RESULTS / "cpu.csv")],
        ["--preset", "deepar", "--output", str(results.RESULTS / "cpu.csv")],
    ],
    ids=" ".join,
)
def test_a_bad_option_costs_one_line_and_exit_code_2(options: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(options)
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and "benchmarks.run: " in said.err


def test_a_run_of_everything_names_the_presets_it_leaves_out(monkeypatch, capsys) -> None:
    monkeypatch.setattr("benchmarks.run.run_preset", lambda *_: None)
    main(["--quick"])
    out = capsys.readouterr().out
    assert all(f"{preset.name}, " in out for preset, _ in device_set("cpu")[1])
    assert "the reference, on large shapes" in out


def test_the_reference_is_left_out_of_large_calls_on_a_cpu_unless_asked_for() -> None:
    small, large = (PRESETS[name] for name in ("deepar", "open-unmix"))
    assert usual_on("cpu", small, "fwd_bwd") == usual("cpu")
    kept = [name for name in usual("cpu") if name != "reference"]
    assert usual_on("cpu", large, "fwd") == usual_on("cpu", replace(small, T=999), "fwd") == kept


def test_a_peer_that_compiles_for_every_shape_is_on_its_own_figure_s() -> None:
    ours, peers = ["torch.nn", "auto", "cuda", "triton"], ["torchrl-triton", "haste"]
    assert usual_on("cuda", PRESETS["deepar"], "fwd") == [*ours, *peers]
    assert usual_on("cuda", PRESETS["flashrnn-figure"], "fwd") == usual("cuda")


@pytest.mark.slow
def test_pytest_collects_the_benchmarks() -> None:
    command = [sys.executable, "-m", "pytest", "benchmarks", "--quick", "-k", "silero-vad", "-v"]
    command += ["--device", "cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_recurrent[silero-vad-fwd-torch.nn] PASSED" in done.stdout


def test_a_file_that_counts_is_not_measured_on_sleeping_threads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    with pytest.raises(SystemExit):
        main([])
    assert "OMP_WAIT_POLICY is set" in capsys.readouterr().err


def test_what_was_found_is_kept_when_a_run_ends_early(monkeypatch, tmp_path, capsys) -> None:
    def fails(found, *_) -> None:
        found.rows.append(row("torch.nn", 1.0))
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_preset", fails)
    monkeypatch.setattr("benchmarks.measuring.findings.ROOT", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        main(["--quick"])
    (path,) = tmp_path.rglob("*.csv")
    assert results.read(path) == [row("torch.nn", 1.0)] and str(path) in capsys.readouterr().err
