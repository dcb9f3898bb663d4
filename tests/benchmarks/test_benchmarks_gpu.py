"""The benchmarks on a GPU: timing, memory, graphs, whole commands."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from benchmark_cases import GPU, SMALL, tf32_restored

from benchmarks import machine, run, sweep
from benchmarks.host.environment import ROOT
from benchmarks.measuring import results
from benchmarks.measuring.gate import Gate
from benchmarks.measuring.memory import allocated_mb
from benchmarks.measuring.timing import Effort, cuda_seconds, host_seconds, measure
from benchmarks.providers.candidate import Candidate
from benchmarks.providers.graph import captured
from benchmarks.providers.table import BASELINE, usual_on
from benchmarks.shapes.presets import PRESETS, Preset
from benchmarks.shapes.workload import make_workload
from rnn_kernels.__main__ import main as command_line

pytestmark = list(GPU)


@pytest.fixture(autouse=True)
def as_in_a_run() -> Iterator[None]:
    """Without the deterministic algorithms of the other tests, which cuBLAS refuses."""
    torch.use_deterministic_algorithms(False)
    with tf32_restored():
        yield


def doubled(x: torch.Tensor) -> Candidate:
    return Candidate(lambda: (x * 2,), torch.no_grad)


@pytest.mark.parametrize("preset", SMALL.values(), ids=SMALL)
def test_the_gate_passes_torch_on_a_gpu(preset: Preset) -> None:
    passes = preset.passes_on("cuda")
    gate = Gate(make_workload(preset, "cuda"), passes)
    for pass_name in passes:
        verdict = gate.check(BASELINE, pass_name)
        assert verdict.status == "ok", verdict.reason


@pytest.mark.parametrize("timer", [cuda_seconds, host_seconds])
def test_both_clocks_measure(timer) -> None:
    effort = Effort(budget_s=0, min_rounds=2, patience_s=1)
    assert measure({"one": doubled(torch.ones(9, device="cuda"))}, effort, timer)["one"].rounds == 2


def test_peak_memory_is_what_the_call_needs() -> None:
    x = torch.ones(1 << 20, device="cuda")
    assert allocated_mb(doubled(x)) == 4
    assert allocated_mb(Candidate(lambda: (x * 2 + 1,), torch.no_grad)) == 8


def test_a_replay_reads_its_inputs_anew() -> None:
    x = torch.ones(9, device="cuda")
    replay = captured(doubled(x))
    x.fill_(3)
    with replay.context():
        (y,) = replay.call()
    assert torch.equal(y, torch.full_like(x, 6))


def test_a_call_that_waits_for_the_device_is_not_captured_and_harms_nothing() -> None:
    x = torch.ones(9, device="cuda")
    stream = torch.cuda.current_stream()
    with pytest.raises(RuntimeError, match="synchroniz"):
        captured(Candidate(lambda: (x * x.sum().item(),), torch.no_grad))
    assert torch.cuda.current_stream() == stream
    assert torch.cuda.get_sync_debug_mode() == 0
    assert captured(doubled(x)).call()[0].sum().item() == 18
    assert torch.rand(9, device="cuda").isfinite().all()


def test_a_capture_that_breaks_leaves_the_stream_and_the_next_capture_alone() -> None:
    x = torch.ones(9, device="cuda")
    stream = torch.cuda.current_stream()

    def call():
        if torch.cuda.is_current_stream_capturing():
            raise ValueError("not in a graph")
        return (x * 2,)

    with pytest.raises(ValueError, match="not in a graph"):
        captured(Candidate(call, torch.no_grad))
    assert torch.cuda.current_stream() == stream
    assert captured(doubled(x)).call()[0].sum().item() == 18


def test_a_quick_run_on_a_gpu(tmp_path, capsys) -> None:
    path = tmp_path / "rows.csv"
    names = ["deepar", "cleanrl-ppo", "sample-factory", "silero-vad"]
    run.main(["--device", "cuda", "--quick", "--preset", *names, "--output", str(path)])
    rows = results.read(path)
    assert {row.provider for row in rows} == set(usual_on("cuda", PRESETS["deepar"], "fwd"))
    graphs = {row.preset for row in rows if row.pass_ == "graph_fwd"}
    assert graphs == {"deepar", "cleanrl-ppo", "silero-vad"}  # sample-factory is packed
    assert {row.preset for row in rows if row.pass_ == "host_fwd"} == set(names)
    for row in rows:
        assert row.provider != BASELINE.name or row.status == "ok"
        assert (row.median_us is not None) == (row.status == "ok")
        computes = row.pass_ in ("fwd", "fwd_bwd")
        assert (row.peak_mb is not None) == (row.status == "ok" and computes)
        assert row.device == torch.cuda.get_device_name() and row.cuda == torch.version.cuda


def test_a_quick_sweep_on_a_gpu(monkeypatch, tmp_path, capsys) -> None:
    few = sweep.Sweep(
        dtypes=("float32", "float16"), centre={"I": 128, "H": 256, "B": 16, "T": 4},
        H=(64, 256), B=(16,), T=(4,), recompute={"I": 4, "H": 8, "B": 2, "T": 5},
    )  # fmt: skip
    monkeypatch.setattr(sweep, "FEW", few)
    path = tmp_path / "rows.csv"
    sweep.main(["--device", "cuda", "--quick", "--output", str(path)])
    rows = results.read(path)
    theirs = [row for row in rows if row.provider == BASELINE.name]
    assert theirs and all(row.status == "ok" for row in theirs)
    assert {row.pass_ for row in rows if row.preset.startswith("overhead")} == {
        f"{clock}{name}" for clock in ("", "host_") for name in ("fwd", "fwd_bwd", "cell_fwd")
    }
    out = capsys.readouterr().out
    assert "@persist_static" in out and "@small_h" in out


def test_a_quick_look_at_the_machine_on_a_gpu(capsys) -> None:
    assert machine.main(["--device", "cuda", "--quick"]) == 0
    assert "float16" in capsys.readouterr().out


def test_sizes_of_one_s_own_on_a_gpu(capsys) -> None:
    assert command_line(["bench", "--hidden", "32", "--batch", "3", "--time", "9"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("cuda", "triton", "graph_fwd", "host_fwd"))


def test_pytest_benchmark_on_a_gpu() -> None:
    command = [sys.executable, "-m", "pytest", "benchmarks", "--quick", "--device", "cuda", "-v"]
    command += ["-k", "silero-vad and torch.nn"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_recurrent[silero-vad-graph_fwd-torch.nn] PASSED" in done.stdout
