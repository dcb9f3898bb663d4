"""The gate: a provider is timed on a shape only after its numbers there were found right."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..providers.candidate import Candidate, Result
from ..providers.provider import Provider
from ..providers.table import BASELINE
from ..shapes.presets import computed
from ..shapes.workload import Workload

# The one tolerance rule: error <= LIMIT · torch.nn's error + ULPS ulp of the tensor's scale.
# As in tests/tolerance.py: the ulps are for vendors' products, whose sums of K terms round up to
# 7.8 ulp further from the truth in one library's order than in another's.
LIMIT = 2.0
ULPS = 8.0


@dataclass(frozen=True)
class Verdict:
    """error_ratio: the worst tensor's error / (torch.nn's error + ULPS/LIMIT ulp); LIMIT passes."""

    status: str  # ok, wrong, missing or oom
    error_ratio: float | None = None
    reason: str = ""


class Gate:
    """Holds the float64 reference and torch.nn's errors, computed once per workload."""

    def __init__(self, work: Workload, passes: Sequence[str]) -> None:
        self.work = work
        plain = [computed(name) for name in passes]
        longest = "fwd_bwd" if "fwd_bwd" in plain else plain[0]
        self.exact = run(BASELINE.build(work.to(torch.float64), longest))
        self.allowance = {name: self._allowance(name) for name in passes}

    def _allowance(self, pass_name: str) -> list[float]:
        """Per result: the error at which the ratio is 1. A graph is held to the plain forward's."""
        results = run(BASELINE.build(self.work, computed(pass_name)))
        eps = torch.finfo(self.work.preset.torch_dtype).eps
        return [
            max_error(result, exact) + ULPS / LIMIT * eps * exact.abs().max().item()
            for result, exact in zip(results, self.exact, strict=False)
        ]

    def check(self, provider: Provider, pass_name: str) -> Verdict:
        """Runs the provider once, dropout off, and compares every result by name."""
        missing = provider.missing(self.work, pass_name)
        if missing:
            return Verdict("missing", reason=missing)
        try:
            results = run(provider.build(self.work, pass_name))
        except Exception as error:  # one provider's crash must not cost the others their rows
            status = "oom" if is_out_of_memory(error) else "wrong"
            return Verdict(status, reason=f"{type(error).__name__}: {first_line(error)}")
        return self.compare(results, pass_name)

    def compare(self, results: Result, pass_name: str) -> Verdict:
        names = self.work.result_names(pass_name)
        if len(results) != len(names):
            return Verdict("wrong", reason=f"{len(results)} results, expected {len(names)}")
        worst, worst_name = 0.0, ""
        rows = zip(names, results, self.exact, self.allowance[pass_name], strict=False)
        for name, result, exact, allowance in rows:
            if result is None:
                return Verdict("wrong", reason=f"{name} is missing")
            if (result.shape, result.dtype) != (exact.shape, self.work.preset.torch_dtype):
                return Verdict("wrong", reason=f"{name} is {result.dtype} {tuple(result.shape)}")
            error = max_error(result, exact)
            if not error < float("inf"):
                return Verdict("wrong", float("inf"), f"{name} is not finite")
            ratio = error / max(allowance, sys.float_info.min)  # all zero: 0 passes, more fails
            if ratio > worst:
                worst, worst_name = ratio, name
        if worst > LIMIT:
            return Verdict("wrong", worst, f"{worst_name} is {worst:.3g}x as far off as torch.nn")
        return Verdict("ok", worst)


def run(candidate: Candidate) -> Result:
    """One call, its results cut from the autograd graph."""
    with candidate.context():
        results = candidate.results(candidate.call())
    return tuple(result if result is None else result.detach() for result in results)


def max_error(result: Tensor, exact: Tensor) -> float:
    return (result.double() - exact).abs().max().item()


def is_out_of_memory(error: Exception) -> bool:
    """The CPU allocator has no exception type of its own."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        "can't allocate memory" in str(error)
    )


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
