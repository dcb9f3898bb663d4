"""The dispatcher: a request is honoured or refused with the reason, and only auto chooses."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import torch

import rnn_kernels as rk
from rnn_kernels import backends, cpu, reference


def test_unknown_name() -> None:
    with (
        pytest.raises(ValueError, match="unknown backend 'gpu', expected one of"),
        rk.backend("gpu"),
    ):
        pass


@pytest.mark.parametrize("name", ["cuda", "triton"])
def test_a_backend_that_is_not_there_says_why(name: str) -> None:
    why = backends.BACKENDS[name].unavailable()
    assert why
    with (
        pytest.raises(RuntimeError, match=f"backend '{name}' is not available: "),
        rk.backend(name),
    ):
        pass


def test_requests_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    for module in (cpu, reference):
        run = module.forward
        monkeypatch.setattr(
            module, "forward", lambda *a, run=run, module=module: used.append(module) or run(*a)
        )
    layer, x = rk.LSTM(3, 4), torch.randn(2, 1, 3)
    layer(x)
    with rk.backend("reference"):
        layer(x)
        with rk.backend("auto"):
            layer(x)
        layer(x)
    layer(x)
    assert used == [cpu, reference, cpu, reference, cpu]


def test_a_refusal_says_why_and_auto_does_better() -> None:
    layer, x = rk.LSTM(3, 4, proj_size=2), torch.randn(2, 1, 3)
    assert layer(x)[0].shape == (2, 1, 2)
    message = "backend 'cpu' cannot run this lstm: it has no kernels for projections"
    with rk.backend("cpu"), pytest.raises(RuntimeError, match=message):
        layer(x)


def test_the_request_ends_with_its_block_and_thread() -> None:
    with pytest.raises(KeyError), rk.backend("reference"):
        raise KeyError
    assert backends.choose("gru", torch.float32, "cpu", False) == "cpu"
    seen = []
    with rk.backend("reference"):
        thread = threading.Thread(
            target=lambda: seen.append(backends.choose("gru", torch.float32, "cpu", False))
        )
        thread.start()
        thread.join()
    assert seen == ["cpu"]


def test_info_names_every_backend() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rnn_kernels", "info"], capture_output=True, text=True, check=True
    )
    assert f"torch        {torch.__version__}" in done.stdout
    for name, module in backends.BACKENDS.items():
        why = module.unavailable()
        line = next(t for t in done.stdout.splitlines() if t.startswith(f"  {name} "))
        assert line.split(maxsplit=1)[1] == ("on" if why is None else f"off: {why}")
    assert cpu._core.isa() in done.stdout


@pytest.mark.parametrize("arguments", [[], ["nonsense"]])
def test_bad_command_line(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rnn_kernels", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 2 and "usage: python -m rnn_kernels" in done.stderr
