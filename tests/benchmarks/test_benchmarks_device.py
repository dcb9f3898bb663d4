"""The benchmarks on one device or another: what can be told of it without a GPU."""

import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from benchmark_cases import LSTM, SMALL, tf32_restored

from benchmarks import run, sweep
from benchmarks.host import device
from benchmarks.host.environment import commit, driver, environment
from benchmarks.measuring.gate import Gate
from benchmarks.measuring.timing import (
    FULL,
    QUICK,
    cpu_seconds,
    cuda_seconds,
    host_seconds,
    timer_for,
)
from benchmarks.providers.table import BASELINE, PROVIDERS, offered, usual
from benchmarks.run import jobs_of, parse
from benchmarks.shapes.presets import PASSES, PRESETS
from benchmarks.shapes.workload import make_workload
from rnn_kernels import backends


@pytest.fixture(autouse=True)
def waiting_as_ever(monkeypatch) -> None:
    """Which files that count want."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)


@pytest.mark.parametrize("found, expected", [(True, "cuda"), (False, "cpu")])
def test_the_default_device_is_the_gpu_if_there_is_one(monkeypatch, found, expected) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    assert parse([]).device == device.default_device() == expected
    assert parse(["--device", "cpu"]).device == "cpu"


@pytest.mark.parametrize("module", [run, sweep], ids=["run", "sweep"])
def test_a_gpu_that_is_not_there_costs_one_line_and_exit_code_2(module, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        module.main(["--device", "cuda", "--quick"])
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1
    assert "finds no CUDA device" in said.err and "--device cpu" in said.err


def test_on_a_gpu_products_may_use_tf32_if_cudnn_may() -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    with tf32_restored():
        matmul.allow_tf32 = not cudnn.allow_tf32
        device.set_up("cpu")
        assert matmul.allow_tf32 != cudnn.allow_tf32
        device.set_up("cuda")
        assert matmul.allow_tf32 == cudnn.allow_tf32


def test_each_device_has_its_providers() -> None:
    peers = ["onnxruntime", "openvino", "openvino-bf16"]
    assert usual("cpu") == ["torch.nn", "auto", "reference", *peers]
    assert set(offered("cpu")) == {*usual("cpu"), "cpu", "recompute"}
    peers = ["flashrnn", "flashrnn-alternating", "torchrl-triton", "haste"]
    assert usual("cuda") == ["torch.nn", "auto", "cuda", "triton", *peers]
    assert set(offered("cuda")) == {*usual("cuda"), "reference", "recompute"}
    assert set(FULL) == set(QUICK) == set(device.DEVICES)


def test_each_device_and_pass_has_its_clock() -> None:
    assert {timer_for("cpu", name) for name in PASSES} == {cpu_seconds}
    on_gpu = {name: timer_for("cuda", name) for name in PASSES}
    assert on_gpu.pop("host_fwd") == host_seconds
    assert set(on_gpu.values()) == {cuda_seconds} and len(on_gpu) == 3


def test_a_backend_is_chosen_for_the_workload_s_device_and_dtype(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(
        backends, "choose", lambda *call, projected: asked.append(call) or "reference"
    )
    work = make_workload(replace(SMALL["gru"], dtype="bfloat16"), "meta")
    assert PROVIDERS["auto"].backend_used(work) == "reference"
    assert asked == [("gru", torch.bfloat16, "meta")]


@pytest.mark.parametrize(
    "plan, name",
    [
        ("too large", "cuda steps"),
        (SimpleNamespace(grid=False, cluster=1), "cuda alone"),
        (SimpleNamespace(grid=False, cluster=8), "cuda cluster 8"),
        (SimpleNamespace(grid=True, cluster=32), "cuda grid 32"),
        (SimpleNamespace(programs=1), "cuda alone"),
        (SimpleNamespace(programs=4), "cuda programs 4"),
    ],
)
def test_the_plan_is_named_beside_the_backend(plan, name, monkeypatch) -> None:
    asked = []
    backend = SimpleNamespace(plan=lambda *call: asked.append(call) or plan)
    monkeypatch.setitem(backends.BACKENDS, "cuda", backend)
    monkeypatch.setattr(backends, "choose", lambda *call, projected: "cuda")
    work = make_workload(LSTM)
    assert PROVIDERS["auto"].backend_used(work) == name
    ((cell, like, *rest),) = asked
    assert (cell, like.dtype, rest) == ("lstm", torch.float32, [(3, 7, 2), False, False])
    assert PROVIDERS["auto"].backend_used(make_workload(SMALL["infer"])) == "cuda step"


def test_plans_have_what_their_names_are_made_of() -> None:
    from rnn_kernels.backends.gpu import cuda_plan, triton_plan

    assert {"grid", "cluster"} <= set(cuda_plan.Plan._fields)
    assert "programs" in triton_plan.Plan._fields and "programs" not in cuda_plan.Plan._fields


@pytest.mark.parametrize("preset", [SMALL["packed"], SMALL["resets"]], ids=["packed", "resets"])
def test_a_workload_moves_as_a_whole_but_for_its_batch_sizes(preset) -> None:
    here, there = make_workload(preset), make_workload(preset, "meta")
    assert there.device.type == "meta" and there.dtype == torch.float32
    tensors = [*there.weights.values(), *there.states, *there.output_grads, there.x.data]
    if preset.packed:
        assert torch.equal(there.x.batch_sizes, here.x.batch_sizes)
        tensors += [there.x.sorted_indices, there.x.unsorted_indices]
    else:
        tensors.append(there.resets)
        assert there.resets.dtype == torch.bool
    assert all(tensor.device.type == "meta" for tensor in tensors)
    assert (
        here.to(torch.float64).dtype == torch.float64 and here.to(device="meta").dtype == here.dtype
    )


def test_short_presets_have_the_host_s_time_and_a_graph_on_a_gpu() -> None:
    assert LSTM.passes_on("cpu") == ("fwd", "fwd_bwd")
    assert LSTM.passes_on("cuda") == ("fwd", "fwd_bwd", "host_fwd", "graph_fwd")
    assert SMALL["infer"].passes_on("cuda") == ("fwd", "host_fwd", "graph_fwd")
    assert SMALL["packed"].passes_on("cuda") == ("fwd", "fwd_bwd", "host_fwd")
    assert replace(LSTM, T=129).passes_on("cuda") == ("fwd", "fwd_bwd")


def test_a_gpu_runs_all_presets_and_their_graphs_last(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    jobs = jobs_of(parse(["--device", "cuda"]))
    passes = [name for _, names in jobs for name in names]
    assert passes == sorted(passes, key=lambda name: name == "graph_fwd")
    done = {preset.name: set() for preset, _ in jobs}
    for preset, names in jobs:
        done[preset.name].update(names)
    assert done == {name: set(preset.passes_on("cuda")) for name, preset in PRESETS.items()}


@pytest.mark.parametrize("timed", ["graph_fwd", "host_fwd"])
@pytest.mark.parametrize("others", [("fwd", "fwd_bwd"), ()])
def test_the_gate_holds_a_graph_to_the_plain_forward(timed: str, others: tuple[str, ...]) -> None:
    work = make_workload(LSTM)
    gate = Gate(work, (*others, timed))
    y, h_n, c_n = BASELINE.build(work, "fwd").call()
    assert gate.compare((y, h_n, c_n), timed).status == "ok"
    assert gate.compare((y * 1.001, h_n, c_n), timed).status == "wrong"


def test_the_host_s_clock_starts_each_call_from_an_empty_queue(monkeypatch) -> None:
    happened = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: happened.append("wait"))
    assert host_seconds(lambda: happened.append("call"), 2) > 0
    assert happened == ["wait", "call", "wait", "call"]


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
@pytest.mark.parametrize("pass_name", ["host_fwd", "host_fwd_bwd", "host_cell_fwd"])
def test_the_host_s_pass_computes_what_its_name_says(pass_name: str, cell: str) -> None:
    work = make_workload(replace(LSTM, cell=cell, L=1, D=1))
    gate = Gate(work, [pass_name])
    for name in (BASELINE.name, "auto"):
        verdict = gate.check(PROVIDERS[name], pass_name)
        assert verdict.status == "ok", verdict.reason
    plain = pass_name.removeprefix("host_")
    assert gate.compare(BASELINE.build(work, plain).call(), pass_name).status == "ok"


def test_without_its_programs_the_environment_is_just_less_full(monkeypatch, tmp_path) -> None:
    assert environment("cpu").driver == ""
    assert commit(tmp_path) == ""  # git refuses: no repository

    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", absent)
    assert commit() == "" and driver() == "unknown"


def test_an_installed_package_belongs_to_no_commit(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("benchmarks.host.environment.ROOT", tmp_path)
    where = environment("cpu")
    assert (where.commit, where.sources) == ("", "") and where.device


def test_the_driver_is_the_first_line_of_nvidia_smi(monkeypatch) -> None:
    def fake(command, **_):
        assert command[0] == "nvidia-smi"
        return subprocess.CompletedProcess(command, 0, stdout="580.1\n580.1\n")

    monkeypatch.setattr(subprocess, "run", fake)
    assert driver() == "580.1"
