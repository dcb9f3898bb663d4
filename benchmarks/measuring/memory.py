"""The peak memory of a call: what a GPU's allocator counts, or what a process holds on a CPU."""

from __future__ import annotations

import ctypes
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType

import torch

from ..providers.candidate import Candidate
from ..shapes.presets import Preset

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")

# From this size on a second look tells nothing new.
SURE_MB = 32

# Of glibc: which blocks are handed back to the system as soon as they are free.
MMAP_THRESHOLD, GIVEN_BACK = -3, 64 * 1024


def allocated_mb(candidate: Candidate) -> float:
    """MiB that a call needs on a GPU at its worst moment beyond what was there before, results
    included.

    The candidate has run before: workspaces that libraries keep for good count for nobody.
    """
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with candidate.context():
        candidate.call()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


class Probe:
    """A process in which calls are made for no other reason than to see how much they take.

    Where calls are timed that cannot be seen: an allocator that is fast keeps what it was given
    back. None for all where the system does not count (it has to be Linux, with glibc), or where
    it is not wanted.
    """

    def __init__(self, wanted: bool = True) -> None:
        self._wanted = wanted
        self._process: ProcessPoolExecutor | None = None

    def __enter__(self) -> Probe:
        if self._wanted and RESET.exists() and hasattr(ctypes.CDLL(None), "mallopt"):
            self._start()
        return self

    def _start(self) -> None:
        spawn = get_context("spawn")
        self._process = ProcessPoolExecutor(1, spawn, _prepare, (torch.get_num_threads(),))

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.shutdown()
            self._process = None

    def peak_mb(self, preset: Preset, pass_name: str, provider: str) -> float | None:
        """Like `allocated_mb`, of resident pages: exact to about a quarter of a MiB."""
        if self._process is None:
            return None
        try:
            return self._process.submit(_peak_of, preset, pass_name, provider).result()
        except (BrokenProcessPool, MemoryError, OSError, RuntimeError) as error:
            print(f"no peak memory of {provider} on {preset.name} {pass_name}: {error!r}")
            if isinstance(error, BrokenProcessPool):
                self._start()
            return None


def _prepare(threads: int) -> None:
    torch.set_num_threads(threads)
    ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, GIVEN_BACK)


def _peak_of(preset: Preset, pass_name: str, provider: str) -> float:
    from ..providers.table import PROVIDERS
    from ..shapes.workload import make_workload

    built = PROVIDERS[provider].build(make_workload(preset), pass_name, preset.dropout)
    _call(built)
    run = partial(_call, built)
    peak = resident_mb(run)
    # Small blocks may find room that was there.
    return peak if peak > SURE_MB else max(peak, resident_mb(run))


def _call(candidate: Candidate) -> None:
    with candidate.context():
        candidate.call()


def resident_mb(call: partial[None]) -> float:
    """By how much the process grows meanwhile.

    The call has a thread of its own, which starts without the scratch memory that our kernels keep
    for a thread's next call: so that counts.
    """
    ctypes.CDLL(None).malloc_trim(0)
    before = _status_mb("VmRSS")
    RESET.write_text("5")  # the high-water mark starts anew
    with ThreadPoolExecutor(1) as fresh:
        fresh.submit(call).result()
    return max(0.0, _status_mb("VmHWM") - before)


def _status_mb(name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.M)
    assert found is not None, f"{STATUS} has no {name}"
    return int(found[1]) / 1024
