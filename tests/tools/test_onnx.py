"""ONNX files: one node a layer, read by ONNX Runtime."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from layers import CELLS, DYNAMIC, LAYERS, First, I, Lengths, flat, layer, quick, sample, sizes
from torch import Tensor, nn

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def onnx_run(path: Path, *args: Tensor) -> tuple[list[str], list[Tensor]]:
    """Kinds of nodes of a file, and what ONNX Runtime makes of it."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    results = session.run(None, {n: a.numpy() for n, a in zip(names, args, strict=True)})
    nodes = [node.op_type for node in onnx.load(path).graph.node]
    return nodes, [torch.from_numpy(r) for r in results]


def to_onnx(model: nn.Module, args: tuple, path: Path, shapes: tuple) -> None:
    pytest.importorskip("onnxscript", reason='pip install "rnn_kernels[onnx]"')
    if not hasattr(torch.onnx, "ops"):
        pytest.skip("torch 2.8 lets a model name its nodes")
    torch.onnx.export(model, args, str(path), dynamo=True, verbose=False, dynamic_shapes=shapes)


@pytest.mark.slow
@pytest.mark.support("torch.onnx.export(dynamo=True): one node a layer, any T and B")
@pytest.mark.parametrize(
    "options", [{}, {"bidirectional": True, "num_layers": 2, "batch_first": True}, {"bias": False}]
)
@pytest.mark.parametrize("kind", LAYERS)
def test_onnx(kind: str, options: dict, tmp_path: Path) -> None:
    model = layer(kind, **options).eval()
    to_onnx(model, (sample(kind),), tmp_path / "m.onnx", (sizes(kind),))
    x = sample(kind, 9, 4)
    nodes, found = onnx_run(tmp_path / "m.onnx", x)
    assert nodes.count(kind) == options.get("num_layers", 1)
    torch.testing.assert_close(found, [t.detach() for t in flat(model(x))], rtol=1e-4, atol=1e-5)


@pytest.mark.support("torch.onnx.export(dynamo=True)")
@pytest.mark.parametrize("kind", quick("GRUCell", of=CELLS))
def test_onnx_of_cells(kind: str, tmp_path: Path) -> None:
    model = layer(kind).eval()
    to_onnx(model, (sample(kind),), tmp_path / "m.onnx", (sizes(kind),))
    x = sample(kind, 1, 8)
    _, found = onnx_run(tmp_path / "m.onnx", x)
    torch.testing.assert_close(found, [t.detach() for t in flat(model(x))], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.support("torch.onnx.export(dynamo=True) with lengths=")
@pytest.mark.parametrize("kind", LAYERS)
def test_onnx_with_lengths(kind: str, tmp_path: Path) -> None:
    model = Lengths(layer(kind, bidirectional=True).eval())
    first = torch.randn(5, 3, I), torch.tensor([5, 1, 2])
    shapes = ({0: DYNAMIC, 1: DYNAMIC}, {0: DYNAMIC})
    to_onnx(model, first, tmp_path / "m.onnx", shapes)
    args = torch.randn(8, 4, I), torch.tensor([2, 8, 3, 1])
    nodes, found = onnx_run(tmp_path / "m.onnx", *args)
    assert nodes.count(kind) == 1
    torch.testing.assert_close(found, [t.detach() for t in model(*args)], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Exporting a model to ONNX with a batch_size other than 1")
@pytest.mark.support("torch.onnx.export(dynamo=False)")
@pytest.mark.parametrize("kind", LAYERS)
def test_onnx_by_the_older_exporter(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    model, path = First(layer(kind, bidirectional=True)).eval(), tmp_path / "m.onnx"
    torch.onnx.export(
        model, (sample(kind),), str(path), dynamo=False, input_names=["x"],
        dynamic_axes={"x": [0, 1]},
    )  # fmt: skip
    x = sample(kind, 9, 4)
    nodes, (found,) = onnx_run(path, x)
    assert nodes.count(kind) == 1
    torch.testing.assert_close(found, model(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["resets", "return_cells", "proj_size"])
def test_what_onnx_has_no_node_for(extra: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = layer("LSTM", **({"proj_size": 2} if extra == "proj_size" else {}))

        def forward(self, x: Tensor) -> list[Tensor]:
            extras = {"resets": x[..., 0] > 0, "return_cells": True}
            return flat(self.inner(x, **{extra: extras[extra]} if extra in extras else {}))

    shapes = (sizes("LSTM"),)
    said = pytest.warns(UserWarning, match=f"ONNX has no node for a layer with {extra}")
    with said, pytest.raises(torch.onnx.OnnxExporterError):
        to_onnx(Model(), (sample("LSTM"),), tmp_path / "m.onnx", shapes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAYERS)
def test_other_threads_go_on_while_one_exports(kind: str, tmp_path: Path) -> None:
    """ONNX's flag is the process's, and a layer that serves is none to be written down."""
    model, x = layer(kind).eval(), sample(kind)
    expected, over, wrong, calls = model(x)[0].detach(), threading.Event(), [], []

    def serve() -> None:
        with torch.no_grad():
            while not over.is_set():
                calls.append(torch.onnx.is_in_onnx_export())
                if not torch.allclose(model(x)[0], expected):
                    wrong.append(1)
                model(x, resets=x[..., 0] > 0)

    server = threading.Thread(target=serve)
    server.start()
    try:
        to_onnx(layer(kind).eval(), (x,), tmp_path / "m.onnx", (sizes(kind),))
    finally:
        over.set()
        server.join()
    assert any(calls) and not wrong
