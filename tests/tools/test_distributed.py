"""Layers, cells and the example under torchrun, on two processes; and replicas of DataParallel."""

from __future__ import annotations

import fcntl
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from distributed_ranks import (
    CASES,
    CLIP,
    FEATURES,
    KINDS,
    RANKS,
    RUNS,
    SMALL,
    Model,
    char_lm,
    language_model,
    losses,
    run_options,
    trained,
)
from paths import EXAMPLES, HELPERS, ROOT
from torch import Tensor, nn

import rnn_kernels as rk

EXAMPLE = "torchrun example --ddp / --fsdp"
MODES = sorted({run[0] for run in RUNS})

# Ranks sum float32 in another order, and Adam divides by the size of a gradient, which makes more
# of the rounding of a tiny one: 2e-7 has been seen. Gradients of one share alone, or clipped by
# their own norm, or summed up are off by 7e-4 at least.
ROUNDING = 1e-5


def torchrun(ranks: int, *command: object, cwd: Path, gpus: bool = False) -> tuple[str, str]:
    """What a script writes to stdout and stderr, run by that many processes."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        **({} if gpus else {"CUDA_VISIBLE_DEVICES": ""}),
    }
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    with subprocess.Popen(
        [*launcher, "--nproc-per-node", str(ranks), *map(str, command)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=180)
        except subprocess.TimeoutExpired:
            process.terminate()  # it ends its ranks then; killed, it would leave them behind
            raise
    assert process.returncode == 0, err
    return out, err


def computed(folder: Path, ranks: int, *parts: str, gpus: bool = False) -> list[dict[str, Any]]:
    """What each rank found in these parts of distributed_ranks."""
    script = HELPERS / "distributed_ranks.py"
    _, err = torchrun(ranks, script, folder, *parts, cwd=folder, gpus=gpus)
    # Torch.nn's warning that flatten_parameters() is due; its own layers on GPUs earn it.
    assert gpus or "contiguous" not in err
    return read(folder, ranks)


def read(folder: Path, ranks: int) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{rank}.pt") for rank in range(ranks)]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All that two ranks find: one launch for most of the tests here, in whatever process."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "ranks"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            computed(folder, RANKS, "layers", "example")
            (folder / "done").touch()
    return read(folder, RANKS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "strategy"),
    [pytest.param(*case, marks=pytest.mark.support(FEATURES[case[1]], case[0])) for case in CASES],
)
def test_two_ranks_train_as_one(kind: str, strategy: str, ranks: list[dict[str, Any]]) -> None:
    truth = trained(nn, kind, strategy).state_dict()
    torch.manual_seed(1)
    start = Model(nn, kind).double().state_dict()
    for rank in ranks:
        found, warned = rank["layers"][kind, strategy]
        assert warned == []
        if "bfloat16" not in strategy:
            torch.testing.assert_close(found, dict(truth), rtol=1e-12, atol=1e-14)
            continue
        way = torch.cat([(truth[name] - start[name]).flatten() for name in truth])
        off = torch.cat([(truth[name] - found[name]).flatten() for name in truth])
        # Each product rounds to 2**-9; a sum of many gradients, several steps of it, to some more.
        assert 2**-12 < off.norm() / way.norm() < 2**-6


def marked(mode: str, *rest: str) -> Any:
    """A parameter set of the example, whose last value is the cell."""
    return pytest.param(mode, *rest, marks=pytest.mark.support(EXAMPLE, rest[-1].upper()))


@pytest.fixture
def clipping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clip gradients in this process as the ranks do."""
    monkeypatch.setattr(language_model, "CLIP", CLIP)


@pytest.mark.slow
@pytest.mark.usefixtures("clipping")
@pytest.mark.parametrize(("mode", "implementation", "cell"), [marked(*run) for run in RUNS])
def test_two_ranks_reach_the_losses_of_one(
    mode: str, implementation: str, cell: str, ranks: list[dict[str, Any]]
) -> None:
    training, validation, streams = losses(*run_options(implementation, cell))
    assert training[-1] < training[0] - 0.5
    for rank in ranks:
        found = rank["example"][mode, implementation, cell]
        assert found[0] == pytest.approx(training, rel=ROUNDING)
        assert found[1] == pytest.approx(validation, rel=ROUNDING)
        assert found[2] * RANKS == streams


@pytest.mark.parametrize(("mode", "cell"), [marked(m, c) for m in MODES for c in ("lstm", "gru")])
def test_one_rank_needs_no_torchrun(
    mode: str, cell: str, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr("ranks._on_gpus", lambda: False)
    expected = losses("--cell", cell)
    found = losses("--cell", cell, f"--{mode}")
    assert found[0] == pytest.approx(expected[0], rel=ROUNDING)
    assert found[1] == pytest.approx(expected[1], rel=ROUNDING)
    assert not torch.distributed.is_initialized()
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.slow
def test_leaving_ends_nothing_but_the_process() -> None:
    script = """
import atexit, sys
from ranks import leave
atexit.register(print, "Python ended")
print("out", end="")
print("err", end="", file=sys.stderr)
leave(3)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=EXAMPLES
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "out", "err")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "cell"), [marked(*both) for both in zip(MODES, ("lstm", "gru"), strict=False)]
)
def test_one_rank_speaks_and_saves(mode: str, cell: str, tmp_path: Path) -> None:
    options = ["--cell", cell, f"--{mode}", "--sample", "9", "--prompt", "class ", "--save", "m.pt"]
    program = EXAMPLES / "char_lm.py"
    out, err = torchrun(RANKS, program, *SMALL, *options, cwd=tmp_path)
    assert "Warning" not in err
    first, last, sample = out.split("\n", 2)
    assert (first[:10], last[:10]) == ("step     0", "step     6")
    assert (sample[:6], len(sample)) == ("class ", len("class ") + 9 + len("\n"))
    _, (*_, expected), _ = losses("--cell", cell)
    (read,) = char_lm.run(["--load", str(tmp_path / "m.pt"), "--sample", "0"]).values()
    assert read.validation[0][1] == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.gpu
@pytest.mark.usefixtures("clipping")
@pytest.mark.support(EXAMPLE, "LSTM")
@pytest.mark.support(EXAMPLE, "GRU")
def test_ranks_on_gpus_reach_the_losses_of_one(tmp_path: Path) -> None:
    count = min(RANKS, torch.cuda.device_count())
    for rank in computed(tmp_path, count, "example", gpus=True):
        for mode, implementation, cell in RUNS:
            training, _, streams = losses(*run_options(implementation, cell))
            found = rank["example"][mode, implementation, cell]
            # The input product of one device is not that of the other.
            assert found[0] == pytest.approx(training, rel=1e-4)
            assert found[2] * count == streams


class BatchFirst(nn.Module):
    """A Model that takes and returns (B, T, I), as DataParallel cuts it."""

    def __init__(self, library: ModuleType, kind: str) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.model = Model(library, kind).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.transpose(0, 1)).unflatten(0, (x.shape[1], -1)).transpose(0, 1)


def assert_runs_as_torch(kind: str, run: Callable[[nn.Module, Tensor], Tensor]) -> None:
    """Compare what `run` makes of our module to the outputs and gradients of torch's."""
    x = torch.randn(5, 6, 3, dtype=torch.float64)
    ours, theirs = BatchFirst(rk, kind), BatchFirst(nn, kind)
    with torch.no_grad():
        torch.testing.assert_close(run(ours, x), theirs(x))
    found, expected = run(ours, x), theirs(x)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    for mine, truth in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.cpu(), truth.grad)


@pytest.fixture
def replicate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[nn.Module]]:
    """DataParallel's, which copies parameters within the CPU's memory here."""
    module = importlib.import_module("torch.nn.parallel.replicate")

    def copied(tensors: list[Tensor], devices: list[int], detach: bool = False) -> list:
        return [[t.detach() if detach else t.clone() for t in tensors] for _ in devices]

    monkeypatch.setattr(module, "_broadcast_coalesced_reshape", copied)
    return module.replicate


SUPPORTED = [pytest.param(kind, marks=pytest.mark.support("DataParallel", kind)) for kind in KINDS]


@pytest.mark.parametrize("kind", SUPPORTED)
def test_replicas_run_side_by_side(
    kind: str, replicate: Callable, recwarn: pytest.WarningsRecorder
) -> None:
    def run(module: nn.Module, x: Tensor) -> Tensor:
        shares, gradients = x.chunk(2), torch.is_grad_enabled()
        replicas = replicate(module, [0, 1], detach=not gradients)

        def call(replica: nn.Module, share: Tensor) -> Tensor:
            with torch.set_grad_enabled(gradients):  # each thread has a mode of its own
                return replica(share)

        with ThreadPoolExecutor(2) as threads:
            return torch.cat(list(threads.map(call, replicas, shares)))

    assert_runs_as_torch(kind, run)
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.gpu
@pytest.mark.parametrize("kind", SUPPORTED)
def test_data_parallel_on_gpus(kind: str, recwarn: pytest.WarningsRecorder) -> None:
    assert_runs_as_torch(kind, lambda m, x: nn.DataParallel(m.cuda())(x.cuda()).cpu())
    # On a single GPU it has called the module itself.
    copy = nn.parallel.replicate
    assert_runs_as_torch(kind, lambda m, x: copy(m.cuda(), [0])[0](x.cuda()).cpu())
    assert [str(warning.message) for warning in recwarn] == []
