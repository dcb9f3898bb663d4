"""Small presets, rows and a provider to break, for the tests of the benchmarks."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from benchmarks.host.environment import environment
from benchmarks.measuring import results
from benchmarks.measuring.gate import Verdict
from benchmarks.measuring.memory import RESET
from benchmarks.measuring.timing import Stats
from benchmarks.providers.candidate import Candidate, Result
from benchmarks.providers.table import TorchNN
from benchmarks.shapes.presets import Preset
from benchmarks.shapes.workload import Workload

LSTM = Preset(
    "small", "LSTM", I=5, H=7, L=2, D=2, B=3, T=4, dtype="float32", mode="train", source=""
)
GRU = replace(LSTM, cell="GRU")
SMALL = {
    "lstm": LSTM,
    "gru": GRU,
    "bfloat16": replace(LSTM, dtype="bfloat16"),
    "infer": replace(LSTM, mode="infer", T=1, B=1),
    "resets": replace(LSTM, resets=0.3),
    "gru-resets": replace(GRU, resets=0.3),
    "packed": replace(LSTM, packed=True),
    "dropout": replace(LSTM, dropout=0.5),
}
WHERE = environment("cpu")
COUNTS = RESET.exists() and hasattr(ctypes.CDLL(None), "mallopt")  # memory, on a CPU
GPU = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
)


@contextmanager
def tf32_restored() -> Iterator[None]:
    """A run sets it for the whole process; other tests want it as it was."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    yield
    matmul.allow_tf32 = before


class Broken(TorchNN):
    """torch.nn whose results pass through `change`."""

    name = "broken"

    def __init__(self, change: Callable[[Result], Result]) -> None:
        self.change = change

    def build(self, work: Workload, pass_name: str, dropout: float = 0.0) -> Candidate:
        right = super().build(work, pass_name, dropout)
        return Candidate(lambda: self.change(right.call()), right.context)


def row(provider: str, median_us: float | None, preset: Preset = LSTM, **changes) -> results.Row:
    stats = median_us and Stats(median_us, median_us, median_us, 9)
    verdict = Verdict("ok", 0.5) if stats else Verdict("wrong", float("inf"))
    made = results.make_row(preset, provider, provider, "fwd", verdict, stats, None, WHERE)
    return replace(made, **changes)
