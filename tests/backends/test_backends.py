"""The dispatcher: a request is honoured or refused with the reason, and only auto chooses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from types import SimpleNamespace

import emulated
import pytest
import torch

import rnn_kernels as rk
from rnn_kernels.backends import BACKENDS, choose, dispatch
from rnn_kernels.backends.gpu.cuda import CUDA
from rnn_kernels.core.calls import Kind
from rnn_kernels.core.compiled import core


def test_unknown_name() -> None:
    with (
        pytest.raises(ValueError, match="unknown backend 'gpu', expected one of"),
        rk.backend("gpu"),
    ):
        pass


def test_a_backend_that_is_not_there_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with (
        pytest.raises(RuntimeError, match="backend 'cuda' is not available: torch finds no CUDA"),
        rk.backend("cuda"),
    ):
        pass


@pytest.mark.emulated
def test_a_gpu_that_the_build_has_no_code_for_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    assert CUDA(emulated.backend().kernels).unavailable() is None
    cuda = CUDA(SimpleNamespace(has_code_for=lambda device: False))
    monkeypatch.setattr(cuda, "built", lambda: "CUDA 13.0, sm_80 90")
    assert cuda.unavailable() == "this build (CUDA 13.0, sm_80 90) has no code for Old GPU (sm_70)"


def test_a_driver_that_does_not_answer_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: int) -> bool:
        raise RuntimeError("cudaSetDevice: CUDA driver version is insufficient")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    cuda = CUDA(SimpleNamespace(has_code_for=refuse))
    assert cuda.unavailable() == "cudaSetDevice: CUDA driver version is insufficient"


NO_GPU = """
import torch, rnn_kernels as rk
from rnn_kernels.core.calls import Kind
torch.cuda.is_available = lambda: False
print(rk.backends.BACKENDS["triton"].unavailable())
print(rk.backends.choose("gru", torch.float32, "cpu", False))
print(rk.backends.refusals("triton", Kind("gru", torch.float32, "cpu", False))[0])
"""
NO_TRITON = "import sys; sys.modules['triton'] = None\n" + NO_GPU


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "why"),
    [
        (NO_GPU, "torch finds no GPU that Triton could use"),
        (NO_TRITON, 'Triton is not installed .*: pip install "rnn_kernels'),
    ],
)
def test_triton_that_is_off_says_why(script: str, why: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"},
    )
    unavailable, chosen, refusal = done.stdout.splitlines()
    assert re.match(why, unavailable) and chosen == "cpu"
    assert refusal == "it computes on GPUs, the tensors are on cpu"


@pytest.mark.parametrize(
    ("name", "call", "why"),
    [
        ("cuda", (torch.float32, "cpu", False), "it computes on CUDA devices, the tensors are on"),
        ("cuda", (torch.int8, "cuda", False), "it has no kernels for torch.int8"),
        ("cuda", (torch.float32, "cuda", True), "it has no kernels for projections"),
        ("triton", (torch.float32, "mps", False), "it computes on GPUs, the tensors are on mps"),
        ("triton", (torch.int8, "cuda", False), "it has no kernels for torch.int8"),
        ("triton", (torch.float32, "cuda", True), "it has no kernels for projections"),
        ("cpu", (torch.float32, "cuda", False), "it computes on the CPU, the tensors are on cuda"),
    ],
)
def test_refusals(name: str, call: tuple, why: str) -> None:
    there, backend = "cpu" if name == "cpu" else "cuda", BACKENDS[name]
    off = [backend.unavailable()] if backend.unavailable() else []
    (reason, *rest) = backend.refusals(Kind("lstm", *call))
    assert reason.startswith(why) and rest == off
    assert backend.refusals(Kind("lstm", torch.float16, there, False)) == off


def test_every_reason_is_told() -> None:
    reasons = BACKENDS["cpu"].refusals(Kind("peephole", torch.int8, "cuda", True))
    assert reasons == [
        "it computes on the CPU, the tensors are on cuda",
        "it has no kernels for the cell peephole",
        "it has no kernels for torch.int8",
        "it has no kernels for projections (proj_size > 0)",
    ]
    with pytest.raises(RuntimeError, match="cannot run this lstm: it has .*; it has .* proj"):
        dispatch.honour("cpu", Kind("lstm", torch.int8, "cpu", True))


def test_auto_prefers_compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU: CUDA, then Triton, then the reference."""
    for name in ("cuda", "triton"):
        monkeypatch.setattr(BACKENDS[name], "unavailable", lambda: None)
    dispatch.forget()
    try:
        assert choose("gru", torch.float16, "cuda", False) == "cuda"
        assert choose("lstm", torch.float16, "cuda", True) == "reference"
        monkeypatch.setattr(BACKENDS["cuda"], "unavailable", lambda: "gone")
        dispatch.forget()
        assert choose("gru", torch.float16, "cuda", False) == "triton"
    finally:
        dispatch.forget()


def test_requests_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    for name, method in (("cpu", "layer"), ("reference", "forward")):
        run = getattr(BACKENDS[name], method)
        monkeypatch.setattr(
            BACKENDS[name],
            method,
            lambda *a, run=run, name=name, **o: used.append(name) or run(*a, **o),
        )
    layer, x = rk.LSTM(3, 4), torch.randn(2, 1, 3)
    layer(x)
    with rk.backend("reference"):
        layer(x)
        with rk.backend("auto"):
            layer(x)
        layer(x)
    layer(x)
    assert used == ["cpu", "reference", "cpu", "reference", "cpu"]


def test_a_refusal_says_why_and_auto_does_better() -> None:
    layer, x = rk.LSTM(3, 4, proj_size=2), torch.randn(2, 1, 3)
    assert layer(x)[0].shape == (2, 1, 2)
    message = "backend 'cpu' cannot run this lstm: it has no kernels for projections"
    with rk.backend("cpu"), pytest.raises(RuntimeError, match=message):
        layer(x)


def test_the_request_ends_with_its_block_and_thread() -> None:
    with pytest.raises(KeyError), rk.backend("reference"):
        raise KeyError
    assert choose("gru", torch.float32, "cpu", False) == "cpu"
    seen = []
    with rk.backend("reference"):
        thread = threading.Thread(
            target=lambda: seen.append(choose("gru", torch.float32, "cpu", False))
        )
        thread.start()
        thread.join()
    assert seen == ["cpu"]


def test_info_names_every_backend() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rnn_kernels", "info"], capture_output=True, text=True, check=True
    )
    assert f"torch        {torch.__version__}" in done.stdout
    for name, module in BACKENDS.items():
        why = module.unavailable()
        line = next(t for t in done.stdout.splitlines() if t.startswith(f"  {name} "))
        assert line.split(maxsplit=1)[1] == ("on" if why is None else f"off: {why}")
    assert core.isa() in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["nonsense"]])
def test_bad_command_line(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rnn_kernels", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 2 and "usage: python -m rnn_kernels" in done.stderr
