"""The benchmark suite itself: presets, gate, timing, results file."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmark_cases import GRU, LSTM, SMALL, Broken, row

from benchmarks import status
from benchmarks.host.environment import sources_hash
from benchmarks.measuring import results, timing
from benchmarks.measuring.gate import LIMIT, Gate
from benchmarks.measuring.timing import BUSY, LONG_S, TURN_S, Effort, Stats, measure, summary
from benchmarks.providers.candidate import Candidate, Result
from benchmarks.providers.table import BASELINE
from benchmarks.shapes import presets
from benchmarks.shapes.presets import CPU_LIMIT_GFLOP, PRESETS, Preset, device_set, load
from benchmarks.shapes.workload import make_workload


def test_presets_name_their_source_and_a_torch_dtype() -> None:
    assert len(PRESETS) > 20
    for name, preset in PRESETS.items():
        assert preset.name == name and preset.source
        assert preset.torch_dtype.is_floating_point


def test_a_name_used_twice_is_refused(tmp_path: Path) -> None:
    entry = json.loads(Path(presets.__file__).with_name("presets.json").read_text())["presets"][0]
    path = tmp_path / "twice.json"
    path.write_text(json.dumps({"presets": [entry, entry]}))
    with pytest.raises(ValueError, match="twice"):
        load(path)


def test_flops_of_a_bidirectional_stack() -> None:
    preset = replace(LSTM, I=2, H=3, B=1, T=1)
    macs = 2 * 12 * (2 + 3) + 2 * 12 * (6 + 3)
    assert preset.gflop("fwd") == pytest.approx(2e-9 * macs)
    assert preset.gflop("fwd_bwd") == pytest.approx(6e-9 * macs)


def test_flops_pick_the_cpu_set() -> None:
    fitting, left_out = device_set("cpu")
    assert all(preset.gflop(preset.passes[-1]) <= CPU_LIMIT_GFLOP for preset in fitting)
    names = {preset.name for preset, _ in left_out}
    assert names == {"isaac-train", "bandit-gru", "bonito-sup", "char-lm", "flashrnn-figure"}
    assert all("GFLOP" in reason for _, reason in left_out)
    assert len(fitting) + len(left_out) == len(PRESETS)
    assert device_set("cuda") == (list(PRESETS.values()), [])


def test_a_workload_is_the_same_every_time_and_leaves_the_global_seed_alone() -> None:
    before = torch.get_rng_state()
    one, other = make_workload(LSTM), make_workload(LSTM)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.x, other.x)
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_the_baseline_starts_anew_where_resets_are_true(cell: str) -> None:
    work = make_workload(replace(LSTM, cell=cell, L=1, D=1, mode="infer", resets=0.5))
    resets = torch.zeros(4, 3, dtype=torch.bool)
    resets[2] = True
    zeros = tuple(torch.zeros_like(state) for state in work.states)
    late = replace(work, x=work.x[2:], states=zeros, resets=None)
    (y, *state), (y_late, *state_late), (y_plain, *_) = (
        BASELINE.build(case, "fwd").call()
        for case in (replace(work, resets=resets), late, replace(work, resets=None))
    )
    torch.testing.assert_close(y[2:], y_late)
    torch.testing.assert_close(state, state_late)
    torch.testing.assert_close(y[:2], y_plain[:2])


@pytest.mark.parametrize("preset", SMALL.values(), ids=SMALL)
def test_the_gate_passes_torch_against_itself(preset: Preset) -> None:
    gate = Gate(make_workload(preset), preset.passes)
    for pass_name in preset.passes:
        verdict = gate.check(BASELINE, pass_name)
        assert verdict.status == "ok", verdict.reason
        assert 0 <= verdict.error_ratio <= 1


def test_the_gate_passes_the_rounded_exact_result() -> None:
    gate = Gate(make_workload(LSTM), LSTM.passes)
    rounded = tuple(exact.float() for exact in gate.exact)
    assert gate.compare(rounded, "fwd_bwd").status == "ok"


@pytest.mark.parametrize("preset", [LSTM, GRU], ids=["LSTM", "GRU"])
def test_the_gate_finds_every_single_result_that_is_one_in_a_thousand_off(preset: Preset) -> None:
    work = make_workload(preset)
    gate = Gate(work, preset.passes)
    right = gate.exact
    names = work.result_names("fwd_bwd")
    assert len(names) == len(right) == (6 if preset is LSTM else 4) + len(work.weights)
    for index, name in enumerate(names):
        results = [exact.float() for exact in right]
        results[index] = results[index] * 1.001
        verdict = gate.compare(tuple(results), "fwd_bwd")
        assert verdict.status == "wrong" and verdict.error_ratio > LIMIT
        assert verdict.reason.startswith(f"{name} ")


def spoil(value: float) -> Callable[[Result], Result]:
    def change(results: Result) -> Result:
        last = results[-1].detach().clone()
        last.view(-1)[-1] = value
        return (*results[:-1], last)

    return change


def fail(error: Exception) -> Callable[[Result], Result]:
    def change(results: Result) -> Result:
        raise error

    return change


BREAKAGES = {
    "scaled": (lambda r: tuple(t * 1.001 for t in r), "wrong", "as far off"),
    "missing gradient": (lambda r: (*r[:-1], None), "wrong", "bias_hh_l1_reverse is missing"),
    "no gradients": (lambda r: r[:3], "wrong", "3 results"),
    "nan": (spoil(float("nan")), "wrong", "not finite"),
    "infinity": (spoil(float("inf")), "wrong", "not finite"),
    "shape": (lambda r: (r[0][:, :1], *r[1:]), "wrong", r"\(4, 1, 14\)"),
    "dtype": (lambda r: (r[0].double(), *r[1:]), "wrong", "float64"),
    "crash": (fail(IndexError("bad tile\nand more")), "wrong", "^IndexError: bad tile$"),
    "out of memory": (fail(torch.OutOfMemoryError("too much")), "oom", "too much"),
    "cpu out of memory": (fail(RuntimeError("can't allocate memory: 8")), "oom", "allocate"),
}


@pytest.mark.parametrize("change, status, reason", BREAKAGES.values(), ids=BREAKAGES)
def test_the_gate_stops_a_broken_provider(change, status: str, reason: str) -> None:
    verdict = Gate(make_workload(LSTM), LSTM.passes).check(Broken(change), "fwd_bwd")
    assert verdict.status == status
    assert re.search(reason, verdict.reason)


def test_dropout_is_active_in_the_timed_training_pass_only() -> None:
    work = make_workload(SMALL["dropout"])
    timed = BASELINE.build(work, "fwd_bwd", dropout=0.5)
    assert not torch.equal(timed.call()[0], timed.call()[0])
    inference = BASELINE.build(work, "fwd", dropout=0.5)
    assert torch.equal(inference.call()[0], inference.call()[0])


class FakeTimer:
    """Each call returns its own seconds; the timer adds them up and notes who had a turn."""

    def __init__(self) -> None:
        self.turns: list[int] = []

    def __call__(self, call: Callable[[], float], number: int) -> float:
        self.turns.append(number)
        return sum(call() for _ in range(number))


def candidate(*seconds: float) -> Candidate:
    """Takes the given times one after the other, the last of them for ever."""
    left = list(seconds)
    return Candidate(lambda: left.pop(0) if len(left) > 1 else left[0], torch.no_grad)


def test_summary_is_median_and_quintiles() -> None:
    stats = summary([50.0, 10.0, 30.0, 20.0, 40.0, 60.0])
    assert (stats.median_us, stats.p20_us, stats.p80_us, stats.rounds) == (35.0, 20.0, 50.0, 6)


def test_candidates_take_turns_and_the_warm_up_does_not_count() -> None:
    timer = FakeTimer()
    pair = {"slow": candidate(0.9, 0.5), "fast": candidate(0.9, TURN_S / 10)}
    effort = Effort(budget_s=0, min_rounds=3, patience_s=99)
    found = measure(pair, effort, timer)
    assert timer.turns == [1, 1, 1, 1, *3 * [1, 1, 10, 10]]
    timer.turns.clear()
    found = measure({"long": candidate(2 * LONG_S), **pair}, effort, timer)
    assert timer.turns == [1, 1, 1, 1, 1, *3 * [1, 1, 1, 10, 10]]
    assert found["long"] == Stats(2e6 * LONG_S, 2e6 * LONG_S, 2e6 * LONG_S, 3)
    assert found["slow"] == Stats(5e5, 5e5, 5e5, 3)
    assert found["fast"].median_us == pytest.approx(1e5 * TURN_S)


@pytest.mark.parametrize("rates, patience_s, kept", [([9, 9, 0], 60, 2), ([0], 60, 0), ([9], 0, 0)])
def test_a_busy_machine_is_measured_again(monkeypatch, rates, patience_s, kept) -> None:
    found = iter([BUSY * rate for rate in rates])
    monkeypatch.setattr(timing.PreemptionWatch, "rate", lambda watch: next(found))
    attempts = iter(range(9))
    monkeypatch.setattr(timing, "measure", lambda *_: next(attempts))
    effort = Effort(budget_s=0, min_rounds=2, patience_s=patience_s)
    assert timing.measure_in_quiet({}, effort) == (kept, BUSY * rates[-1])


@pytest.mark.parametrize(
    "effort, rounds",
    [
        (Effort(budget_s=6.5, min_rounds=2, patience_s=9), 4),
        (Effort(budget_s=6.5, min_rounds=9, patience_s=9), 5),
        (Effort(budget_s=0, min_rounds=9, patience_s=0), 2),
    ],
)
def test_budget_and_patience_bound_the_rounds_of_two_calls(effort: Effort, rounds: int) -> None:
    assert measure({"one": candidate(1.0)}, effort, FakeTimer())["one"].rounds == rounds


def test_a_clock_that_leaves_much_out_does_not_stretch_the_budget() -> None:
    def host_only(call: Callable[[], object], number: int) -> float:
        time.sleep(0.02)
        return 1e-6 * number

    effort = Effort(budget_s=0.1, min_rounds=2, patience_s=1)
    assert measure({"one": candidate(1.0)}, effort, host_only)["one"].rounds <= 3


def test_csv_columns_are_those_specified_and_values_survive(tmp_path: Path) -> None:
    header = (
        "preset,cell,I,H,L,D,B,T,dtype,mode,resets,packed,provider,backend_used,pass,median_us,"
        "p20_us,p80_us,us_per_step,peak_mb,error_ratio,status,device,driver,torch,cudnn,cuda,"
        "triton,commit,sources,utc"
    )
    rows = [
        row("torch.nn", 12.5),
        row("auto", None),
        row("cpu", 3.25, PRESETS["sample-factory"], device='a "device", with a comma'),
        row("cpu", 3.25, PRESETS["torchrl-resets"]),
    ]
    path = tmp_path / "rows.csv"
    results.write(rows, path, whole=False)
    assert path.read_text().splitlines()[0] == header
    assert results.read(path) == rows
    assert rows[0].us_per_step == 12.5 / LSTM.T and rows[1].median_us is None


def test_the_sources_hash_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "csrc" / "cells").mkdir(parents=True)
    source = tmp_path / "csrc" / "cells" / "lstm.h"
    seen = [sources_hash(tmp_path)]
    source.write_text("int a;")
    seen.append(sources_hash(tmp_path))
    source.write_text("int b;")
    seen.append(sources_hash(tmp_path))
    source.rename(source.with_name("gru.h"))
    seen.append(sources_hash(tmp_path))
    assert len(set(seen)) == len(seen)
    (tmp_path / "csrc" / "notes.txt").write_text("not a source")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_lstm.py").write_text("not a source either")
    assert sources_hash(tmp_path) == seen[-1]


def test_a_results_file_is_stale_when_the_sources_moved_on(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(results, "ROOT", tmp_path)
    status.main()
    assert "no results" in capsys.readouterr().out
    results.write([row("auto", 1.0)], results.official_path("New CPU, 2 threads"), whole=True)
    results.write([row("auto", 1.0, sources="gone")], tmp_path / "old.csv", whole=True)
    mixed = [row("auto", 1.0), row("auto", 1.0, sources="gone")]
    results.write(mixed, results.official_path("some", "sweeps"), whole=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.csv").write_text("page,quote\na,b\n")
    status.main()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["current", "new-cpu-2-threads.csv"],
        ["stale", "old.csv"],
        ["stale", "sweeps/some.csv"],
    ]


def test_only_a_whole_run_replaces_an_official_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    path = results.official_path("cpu")
    results.write([row("auto", 1.0)], path, whole=True)
    before = path.read_text()
    with pytest.raises(ValueError, match="whole"):
        results.write([row("auto", 2.0)], path, whole=False)
    assert path.read_text() == before
