"""What leaves the process: torch.export, AOTInductor, ONNX, TorchScript."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from layers import (
    ALL,
    CELLS,
    DYNAMIC,
    LAYERS,
    I,
    Lengths,
    Resets,
    flat,
    layer,
    quick,
    sample,
    sizes,
)
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from versions import needs_recent_compiler

import rnn_kernels as rk

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def stacked(kind: str) -> nn.Module:
    return layer(
        kind, **({"num_layers": 2, "bidirectional": True} if kind in LAYERS else {})
    ).eval()


@pytest.mark.support("torch.export with any T and B; save, load, run")
@pytest.mark.parametrize("kind", quick("LSTM", "GRUCell", of=ALL))
def test_export(kind: str) -> None:
    model, file = stacked(kind), io.BytesIO()
    program = torch.export.export(model, (sample(kind),), dynamic_shapes=(sizes(kind),))
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file)
    for T, B in ((5, 3), (9, 4), (2, 7)):
        x = sample(kind, T, B)
        torch.testing.assert_close(flat(loaded.module()(x)), flat(model(x)))
    if kind in LAYERS:  # one operator a layer, whatever T was
        nodes = [n for n in loaded.graph.nodes if "rnn_kernels.recurrence" in str(n.target)]
        assert len(nodes) == 2


@needs_recent_compiler
@pytest.mark.support("torch.export of a PackedSequence")
@pytest.mark.parametrize("kind", LAYERS)
def test_export_of_packed_rows(kind: str) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = stacked(kind)

        def forward(self, x: PackedSequence) -> Tensor:
            return self.inner(x)[0].data

    model = Model()
    x = pack_padded_sequence(torch.randn(5, 3, I), [5, 2, 2])
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.slow
@pytest.mark.support("torch.export with lengths=")
@pytest.mark.parametrize("kind", LAYERS)
def test_export_with_lengths(kind: str) -> None:
    model, first = Lengths(stacked(kind)), (torch.randn(5, 3, I), torch.tensor([5, 0, 2]))
    shapes = ({0: DYNAMIC, 1: DYNAMIC}, {0: DYNAMIC})
    program = torch.export.export(model, first, dynamic_shapes=shapes)
    args = torch.randn(8, 4, I), torch.tensor([0, 8, 3, 1])
    torch.testing.assert_close(program.module()(*args), model(*args))


@pytest.mark.slow
@needs_recent_compiler
@pytest.mark.support("AOTInductor, in a process that has imported rnn_kernels")
@pytest.mark.parametrize("kind", ["LSTM", "GRUCell"])
def test_aot_inductor(kind: str, tmp_path: Path) -> None:
    model = layer(kind)
    with torch.no_grad():
        program = torch.export.export(model, (sample(kind),), dynamic_shapes=(sizes(kind),))
        path = torch._inductor.aoti_compile_and_package(
            program, package_path=str(tmp_path / "model.pt2")
        )
        compiled = torch._inductor.aoti_load_package(path)
        x = sample(kind, 9, 4)
        torch.testing.assert_close(flat(compiled(x)), flat(model(x)))


@pytest.mark.support("torch.jit.trace, which takes torch.nn's operators")
@pytest.mark.parametrize("kind", ALL)
def test_trace(kind: str) -> None:
    model = stacked(kind)
    traced = torch.jit.trace(model, (sample(kind),))
    names = {node.kind() for node in traced.inlined_graph.nodes()}
    assert f"aten::{'lstm' if kind == 'LSTM' else 'gru'}" in names or kind in CELLS
    assert not any(name.startswith("rnn_kernels") for name in names)
    x = sample(kind, 9, 4)
    torch.testing.assert_close(flat(traced(x)), flat(model(x)))


@pytest.mark.slow
def test_a_trace_warns_of_our_checks_as_little_as_of_torchs() -> None:
    code = "import torch, rnn_kernels as rk; torch.jit.trace(rk.LSTM(3, 4), (torch.ones(5, 2, 3),))"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True
    )
    assert "TracerWarning" not in done.stderr


@pytest.mark.parametrize("kind", LAYERS)
def test_trace_with_resets_keeps_our_operator(kind: str) -> None:
    model = Resets(layer(kind))
    traced = torch.jit.trace(model, (sample(kind), torch.rand(5, 3) < 0.5))
    args = sample(kind, 9, 4), torch.rand(9, 4) < 0.5
    torch.testing.assert_close(traced(*args), model(*args))


@pytest.mark.support("torch.jit.script, which takes torch.nn's layer")
@pytest.mark.parametrize("kind", ALL)
def test_script(kind: str) -> None:
    model, x = nn.Sequential(layer(kind)), sample(kind)
    expected = flat(model(x))
    with pytest.warns(UserWarning, match=f"compiles torch.nn's {kind} in place of rnn_kernels'"):
        scripted = torch.jit.script(model)
    torch.testing.assert_close(flat(scripted(x)), expected)
    assert type(model[0]) is getattr(nn, kind)
    assert type(rk.convert(model)[0]) is getattr(rk, kind)


def test_a_subclass_of_ours_cannot_be_scripted() -> None:
    class Mine(rk.GRU):
        pass

    with pytest.raises(NotImplementedError, match="cannot compile .*Mine: trace or export"):
        torch.jit.script(nn.Sequential(Mine(I, 2)))


@pytest.mark.parametrize("kind", LAYERS)
def test_a_trace_of_packed_rows_takes_any_batch(kind: str) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = layer(kind)

        def forward(self, data: Tensor, batch_sizes: Tensor) -> list[Tensor]:
            return flat(self.inner(PackedSequence(data, batch_sizes)))

    model = Model()
    rows = [pack_padded_sequence(torch.randn(5, B, I), [5, 4, 2, 1][:B]) for B in (3, 4, 2)]
    traced = torch.jit.trace(model, tuple(rows[0][:2]))
    for x in rows:
        torch.testing.assert_close(traced(*x[:2]), model(*x[:2]))


@pytest.mark.parametrize("kind", LAYERS)
def test_what_a_trace_cannot_hold(kind: str) -> None:
    with pytest.raises(NotImplementedError, match="a trace would hold these very lengths"):
        torch.jit.trace(Lengths(layer(kind)), (sample(kind), torch.tensor([5, 2, 3])))
    order = torch.tensor([0, 1, 2])
    rows = pack_padded_sequence(torch.randn(5, 2, I), [5, 4])
    rows = rows._replace(sorted_indices=order, unsorted_indices=order)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = layer(kind)

        def forward(self, data: Tensor) -> list[Tensor]:
            return flat(self.inner(rows._replace(data=data)))

    with pytest.raises(RuntimeError, match="has no sequences of no steps"):
        torch.jit.trace(Model(), (rows.data,))
