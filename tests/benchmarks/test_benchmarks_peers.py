"""The peers: what they compute, what they refuse, how they are timed."""

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from benchmark_cases import GRU, LSTM, SMALL, WHERE, Broken

from benchmarks.measuring import findings, timing
from benchmarks.measuring.findings import Entrant, Findings
from benchmarks.measuring.gate import Gate, run
from benchmarks.measuring.timing import Effort
from benchmarks.providers import onnx_graph
from benchmarks.providers.candidate import Candidate
from benchmarks.providers.table import BASELINE, PROVIDERS
from benchmarks.shapes.presets import Preset
from benchmarks.shapes.workload import make_workload
from rnn_kernels.core.cells import CELLS

PEERS = {"onnxruntime": "float32", "openvino": "float32", "openvino-bf16": "bfloat16"}
EFFORT = Effort(budget_s=0, min_rounds=2, patience_s=0)


def layer(cell: str, L: int, D: int, dtype: str = "float32") -> Preset:
    return replace(LSTM, cell=cell, L=L, D=D, T=3, dtype=dtype, mode="infer")


def excused(name: str, gate: Gate) -> bool:
    """Whether the peer cannot run here; it has to say what is lacking."""
    reason = PROVIDERS[name].missing(gate.work, "fwd")
    if reason:
        assert "pip install" in reason or "bfloat16 instructions" in reason
    return reason is not None


@pytest.mark.parametrize("L, D", [(1, 1), (1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_agrees_with_torch(name: str, cell: str, L: int, D: int) -> None:
    gate = Gate(make_workload(layer(cell, L, D, PEERS[name])), ["fwd"])
    if not excused(name, gate):
        verdict = gate.check(PROVIDERS[name], "fwd")
        assert verdict.status == "ok", verdict.reason
        assert PROVIDERS[name].backend_used(gate.work).startswith(PROVIDERS[name].package)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
@pytest.mark.parametrize("name", PEERS)
def test_every_run_of_a_peer_reads_its_inputs_anew(name: str, cell: str) -> None:
    work = make_workload(layer(cell, 1, 1, PEERS[name]))
    gate = Gate(work, ["fwd"])
    if excused(name, gate):
        return
    candidate = PROVIDERS[name].build(work, "fwd")
    first = [result.clone() for result in run(candidate)]
    assert all(map(torch.equal, first, run(candidate)))
    if work.dtype == torch.float32:  # else the peer has a copy
        work.x.mul_(-1)
        assert Gate(work, ["fwd"]).compare(run(candidate), "fwd").status == "ok"
        assert gate.compare(run(candidate), "fwd").status == "wrong"


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
@pytest.mark.parametrize("name", PEERS)
def test_the_gate_finds_gates_in_torch_s_order(name: str, cell: str, monkeypatch) -> None:
    gate = Gate(make_workload(layer(cell, 1, 1, PEERS[name])), ["fwd"])
    row = CELLS[cell.lower()]
    wrong = replace(row.node, order=tuple(range(row.gates)))
    monkeypatch.setitem(CELLS, row.name, replace(row, node=wrong))
    if not excused(name, gate):
        assert gate.check(PROVIDERS[name], "fwd").status == "wrong"


REFUSALS = {
    "training": (LSTM, "fwd_bwd", "forward pass only"),
    "cell": (LSTM, "cell_fwd", "forward pass only"),
    "resets": (SMALL["resets"], "fwd", "neither resets nor packed"),
    "packed": (SMALL["packed"], "fwd", "neither resets nor packed"),
    "float64": (replace(GRU, dtype="float64"), "fwd", "runs beside"),
    "another": (GRU, "fwd", "runs beside bfloat16 only"),
}


@pytest.mark.parametrize("preset, pass_name, reason", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_says_what_it_cannot_do(name, preset, pass_name, reason, monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.providers.cpu_peers.find_spec", lambda package: package)
    if "beside" in reason and preset.dtype == PEERS[name]:
        name, reason = "openvino-bf16", "runs beside bfloat16 only"
    said = PROVIDERS[name].missing(make_workload(preset), pass_name)
    assert said is not None and reason in said


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("package", ["onnx", None])
def test_a_peer_that_is_not_installed_says_how_to(name: str, package, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package or PROVIDERS[name].package, None)
    verdict = Gate(make_workload(LSTM), ["fwd"]).check(PROVIDERS[name], "fwd")
    assert verdict.status == "missing"
    assert verdict.reason.startswith(f"needs onnx and {PROVIDERS[name].package}: pip install ")


def test_without_bfloat16_instructions_it_is_not_called_bfloat16(monkeypatch) -> None:
    class Core:
        def get_property(self, *_: str) -> list[str]:
            return ["FP32"]

    monkeypatch.setattr("benchmarks.providers.cpu_peers.find_spec", lambda package: package)
    monkeypatch.setattr("benchmarks.providers.cpu_peers.core", Core)
    work = make_workload(SMALL["bfloat16"])
    assert "no bfloat16" in PROVIDERS["openvino-bf16"].missing(work, "fwd")


@pytest.mark.parametrize("L, D", [(1, 1), (2, 2)])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_the_graph_is_what_onnx_calls_valid(cell: str, L: int, D: int) -> None:
    onnx = pytest.importorskip("onnx")
    work = make_workload(layer(cell, L, D))
    model = onnx.load_model_from_string(onnx_graph.onnx_graph(work))
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count(cell) == L and (L > 1 or kinds == [cell])
    assert [one.name for one in model.graph.output] == list(work.output_names)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_the_gate_holds_cells_to_torch_s(cell: str) -> None:
    gate = Gate(make_workload(replace(LSTM, cell=cell, L=1, D=1)), ["cell_fwd"])
    assert [exact.shape for exact in gate.exact] == [(3, 7)] * (2 if cell == "LSTM" else 1)
    for name in (BASELINE.name, "auto"):
        verdict = gate.check(PROVIDERS[name], "cell_fwd")
        assert verdict.status == "ok", verdict.reason
    off = Broken(lambda results: tuple(result * 1.001 for result in results))
    assert gate.check(off, "cell_fwd").status == "wrong"


@pytest.mark.parametrize("peer, run_in_s", [(True, timing.RUN_IN_S), (False, 0.0)])
def test_beside_a_peer_every_turn_has_a_longer_run_in(peer, run_in_s, monkeypatch) -> None:
    efforts = []
    monkeypatch.setattr(
        findings, "measure_on", lambda *call: efforts.append(call[2]) or ({}, timing.BUSY)
    )
    right = Broken(lambda results: results)
    right.peer = peer
    absent = Broken(lambda results: results)
    absent.peer, absent.missing = True, lambda *_: "not here"
    found = Findings("cpu", EFFORT, WHERE)
    gate = Gate(make_workload(SMALL["infer"]), ["fwd"])
    found.add([Entrant(one, gate) for one in (BASELINE, right, absent)], "fwd")
    assert efforts == [replace(EFFORT, run_in_s=run_in_s)]


def test_the_run_in_is_neither_timed_nor_watched(monkeypatch) -> None:
    preemptions = 0

    def timer(call: Callable[[], float], number: int) -> float:
        nonlocal preemptions
        preemptions += 2
        return call()

    monkeypatch.setattr(timing.PreemptionWatch, "_preemptions", lambda *_: preemptions)
    # Two calls to begin with; then two rounds with three calls of run-in and one that counts.
    seconds = iter([9.0, 9.0, *2 * [1.0, 1.0, 1.0, 5.0]])
    candidate = Candidate(lambda: next(seconds), torch.no_grad)
    watch = timing.PreemptionWatch()
    found = timing.measure({"one": candidate}, replace(EFFORT, run_in_s=2.5), timer, watch)
    assert (found["one"].median_us, found["one"].rounds) == (5e6, 2)
    assert watch.rate() == pytest.approx(4 / 10 / torch.get_num_threads())
