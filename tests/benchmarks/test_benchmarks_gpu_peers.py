"""The peers on a GPU: what they refuse, and how they are fed, held to stand-ins on a CPU."""

import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from benchmark_cases import GPU, GRU, LSTM, SMALL, tf32_restored
from gpu_peer_standins import MODULES

from benchmarks.host import device
from benchmarks.measuring.gate import Gate, Verdict
from benchmarks.providers.candidate import Candidate
from benchmarks.providers.gpu_peers import GPU_PEERS
from benchmarks.shapes.presets import Preset
from benchmarks.shapes.workload import Workload, make_workload

PEERS: dict[str, Any] = {peer.name: peer for peer in GPU_PEERS}
CASES = [(name, cell) for name, peer in PEERS.items() for cell in peer.dtypes]


WRONG: dict[tuple[str, str], dict[str, Any]] = {  # what the library's is not
    ("flashrnn", "LSTM"): {"lstm_order": "igfo"},
    ("flashrnn-alternating", "LSTM"): {"lstm_order": "igfo"},
    ("flashrnn-alternating", "GRU"): {"gru_recurrent": (2, 0, 1)},
    ("torchrl-triton", "LSTM"): {"lstm_order": "igfo"},
    ("torchrl-triton", "GRU"): {"gru_order": "zrn"},
    ("haste", "LSTM"): {"lstm_order": "ifgo"},
    ("haste", "GRU"): {"gru_order": "rzn"},
}


@pytest.fixture
def installed(monkeypatch) -> Callable[..., ModuleType]:
    """Puts a stand-in where the library would be."""

    def install(name: str, **orders: Any) -> ModuleType:
        made = MODULES[name](**orders)
        if name == "torchrl-triton":
            path = "torchrl.modules.tensordict_module"
            package = ModuleType(path)
            package._rnn_triton = made
            for depth in (1, 2):
                parent = path.rsplit(".", depth)[0]
                monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
            monkeypatch.setitem(sys.modules, path, package)
        else:
            monkeypatch.setitem(sys.modules, made.__name__, made)
        monkeypatch.setattr("benchmarks.providers.gpu_peer.find_spec", lambda package: package)
        monkeypatch.setattr("torch.utils.cpp_extension.CUDA_HOME", "/usr/local/cuda")
        return made

    return install


def preset_for(name: str, cell: str, L: int = 1) -> Preset:
    """Odd sizes, but fused kernels have tiles."""
    return replace(LSTM, cell=cell, L=L, D=1, H=16 if name == "flashrnn" else 7)


def checked(name: str, work: Workload, pass_name: str) -> Verdict:
    return Gate(work, [pass_name]).check(PEERS[name], pass_name)


@pytest.mark.parametrize("pass_name", ["fwd", "fwd_bwd", "host_fwd"])
@pytest.mark.parametrize("L", [1, 2, 3])
@pytest.mark.parametrize("name, cell", CASES)
def test_a_peer_is_fed_as_it_wants(name, cell, L, pass_name, installed) -> None:
    installed(name)
    verdict = checked(name, make_workload(preset_for(name, cell, L)), pass_name)
    assert verdict.status == "ok", verdict.reason


@pytest.mark.parametrize("pass_name", ["fwd", "fwd_bwd"])
@pytest.mark.parametrize("name, cell", CASES)
def test_gates_in_another_order_are_wrong(name, cell, pass_name, installed) -> None:
    installed(name, **WRONG[name, cell])
    assert checked(name, make_workload(preset_for(name, cell)), pass_name).status == "wrong"


@pytest.mark.parametrize("pass_name", ["fwd", "fwd_bwd"])
@pytest.mark.parametrize("L", [1, 2])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
@pytest.mark.parametrize("first", [False, True])
def test_resets_zero_the_state(cell, L, pass_name, first, installed) -> None:
    installed("torchrl-triton")
    preset = replace(preset_for("torchrl-triton", cell, L), resets=0.3)
    work = make_workload(preset)
    work.resets[0] = first  # of which TorchRL knows nothing
    work.resets[2, 1] = True
    verdict = checked("torchrl-triton", work, pass_name)
    assert verdict.status == "ok", verdict.reason


@pytest.mark.parametrize("allowed, precision", [(True, "tf32"), (False, "ieee")])
def test_torchrl_rounds_as_torch_may(allowed, precision, installed) -> None:
    made = installed("torchrl-triton")
    work = make_workload(preset_for("torchrl-triton", "GRU"))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=allowed):
        PEERS["torchrl-triton"].build(work, "fwd").call()
    assert made.precisions == [precision]


@pytest.mark.parametrize("name, cell", [case for case in CASES if not PEERS[case[0]].waits])
def test_a_graph_s_results_are_joined_too(name, cell, installed, monkeypatch) -> None:
    installed(name)
    monkeypatch.setattr(
        "benchmarks.providers.gpu_peer.captured",
        lambda forward: Candidate(forward.call, torch.no_grad),
    )
    verdict = checked(name, make_workload(preset_for(name, cell, L=2)), "graph_fwd")
    assert verdict.status == "ok", verdict.reason


@pytest.mark.parametrize("name, cell", CASES)
def test_dropout_lies_between_the_layers(name, cell, installed) -> None:
    installed(name)
    work = make_workload(preset_for(name, cell, L=2))
    plain, dropped = (PEERS[name].build(work, "fwd_bwd", dropout) for dropout in (0.0, 0.9))
    (kept, _), (thinned, _) = plain.call(), dropped.call()
    kinds = len(work.states)
    assert torch.equal(kept[1], thinned[1])  # h_n of the first layer
    assert not torch.allclose(kept[1 + kinds], thinned[1 + kinds])


@pytest.mark.parametrize("name, cell", CASES)
def test_a_call_reads_its_input_anew_and_keeps_the_weights(name, cell, installed) -> None:
    installed(name)
    work = make_workload(preset_for(name, cell))
    candidate = PEERS[name].build(work, "fwd")
    weights = {key: value.clone() for key, value in work.weights.items()}
    first = candidate.results(candidate.call())[0]
    assert torch.equal(first, candidate.results(candidate.call())[0])
    work.x.mul_(-1)
    assert not torch.allclose(first, candidate.results(candidate.call())[0])
    assert all(torch.equal(value, work.weights[key]) for key, value in weights.items())


ONE_WAY = replace(LSTM, D=1, H=32)
WIDE = {"LSTM": ONE_WAY, "GRU": replace(ONE_WAY, cell="GRU")}
REFUSALS = {
    "cell": (PEERS, ONE_WAY, "cell_fwd", "no cells"),
    "host-cell": (PEERS, ONE_WAY, "host_cell_fwd", "no cells"),
    "packed": (PEERS, replace(ONE_WAY, packed=True), "fwd", "no packed input"),
    "two-ways": (PEERS, replace(ONE_WAY, D=2), "fwd", "one direction"),
    "float64": (PEERS, replace(ONE_WAY, dtype="float64"), "fwd", "LSTM computes in float32"),
    "resets": (
        ("flashrnn", "flashrnn-alternating", "haste"),
        replace(ONE_WAY, resets=0.3),
        "fwd",
        "no resets",
    ),
    "bfloat16": (
        ("torchrl-triton", "haste"),
        replace(ONE_WAY, dtype="bfloat16"),
        "fwd_bwd",
        "computes in float32 only",
    ),
    "bfloat16-gru": (
        ("haste",),
        replace(WIDE["GRU"], dtype="bfloat16"),
        "fwd",
        "GRU computes in float32 or float16 only",
    ),
    "graph": (("flashrnn-alternating", "haste"), ONE_WAY, "graph_fwd", "waits for the device"),
    "fused-gru": (("flashrnn",), WIDE["GRU"], "fwd", "has no GRU"),
    "tile": (("flashrnn",), replace(ONE_WAY, H=24), "fwd", "multiple of 16"),
    "wide-tile": (("flashrnn",), replace(ONE_WAY, H=48, dtype="float16"), "fwd", "multiple of 32"),
}


@pytest.mark.parametrize(
    "name, refusal", [(name, key) for key, refusal in REFUSALS.items() for name in refusal[0]]
)
def test_a_peer_says_what_it_cannot_do(name: str, refusal: str, monkeypatch) -> None:
    _, preset, pass_name, reason = REFUSALS[refusal]
    monkeypatch.setattr("benchmarks.providers.gpu_peer.find_spec", lambda package: package)
    monkeypatch.setattr("torch.utils.cpp_extension.CUDA_HOME", "/usr/local/cuda")
    said = PEERS[name].missing(make_workload(preset), pass_name)
    assert said is not None and reason in said


@pytest.mark.parametrize("changes", [{}, {"dtype": "float16"}, {"dtype": "float16", "B": 16}])
@pytest.mark.parametrize("pass_name", ["fwd", "fwd_bwd", "host_fwd", "graph_fwd"])
def test_fused_kernels_run_what_fills_their_tiles(changes, pass_name, monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.providers.gpu_peer.find_spec", lambda package: package)
    monkeypatch.setattr("torch.utils.cpp_extension.CUDA_HOME", "/usr/local/cuda")
    H = 16 if changes.get("B") == 16 else 32
    work = make_workload(replace(ONE_WAY, H=H, **changes))
    assert PEERS["flashrnn"].missing(work, pass_name) is None


@pytest.mark.parametrize("name", ["flashrnn", "flashrnn-alternating"])
def test_without_a_compiler_there_are_no_kernels(name: str, monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.providers.gpu_peer.find_spec", lambda package: package)
    monkeypatch.setattr("torch.utils.cpp_extension.CUDA_HOME", None)
    assert "nvcc" in PEERS[name].missing(make_workload(ONE_WAY), "fwd")


INSTALL = {
    "flashrnn": "needs flashrnn: pip install 'rnn_kernels[gpu-peers]'",
    "flashrnn-alternating": "needs flashrnn: pip install 'rnn_kernels[gpu-peers]'",
    "torchrl-triton": "needs torchrl and triton: pip install 'rnn_kernels[gpu-peers]'",
    "haste": "needs haste_pytorch: pip install haste-pytorch, which has to compile",
}


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_that_is_not_installed_says_how_to(name: str, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, PEERS[name].packages[0], None)
    verdict = checked(name, make_workload(SMALL["lstm"]), "fwd")
    assert (verdict.status, verdict.reason) == ("missing", INSTALL[name])


def test_a_row_says_what_ran(monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.providers.gpu_peer.version_of", lambda package: "1.2")
    work = make_workload(GRU)
    assert [peer.backend_used(work) for peer in GPU_PEERS] == [
        "flashrnn 1.2 cuda_fused",
        "flashrnn 1.2 cuda",
        "torchrl 1.2 triton",
        "haste-pytorch 1.2",
    ]
    assert all(peer.peer and peer.devices == ("cuda",) for peer in GPU_PEERS)
    assert not any(peer.on_request for peer in GPU_PEERS)


ON_A_GPU = [
    ("flashrnn", "LSTM", "bfloat16", 0.0),
    ("flashrnn-alternating", "LSTM", "float16", 0.0),
    ("flashrnn-alternating", "GRU", "bfloat16", 0.0),
    ("torchrl-triton", "LSTM", "float32", 0.3),
    ("torchrl-triton", "GRU", "float32", 0.3),
    ("haste", "LSTM", "float32", 0.0),
    ("haste", "GRU", "float16", 0.0),
]


class TestOnAGPU:
    pytestmark = list(GPU)

    @pytest.mark.parametrize("pass_name", ["fwd", "fwd_bwd", "graph_fwd"])
    @pytest.mark.parametrize("name, cell, dtype, resets", ON_A_GPU)
    def test_a_peer_agrees_with_torch(self, name, cell, dtype, resets, pass_name) -> None:
        preset = replace(WIDE[cell], dtype=dtype, resets=resets, L=1, H=64, B=16, T=5)
        work = make_workload(preset, "cuda")
        reason = PEERS[name].missing(work, pass_name)
        if reason:
            pytest.skip(reason)
        with tf32_restored():
            device.set_up("cuda")
            verdict = checked(name, work, pass_name)
        assert verdict.status == "ok", verdict.reason
