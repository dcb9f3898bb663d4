"""Timing: the candidates of one preset and pass take turns in one process."""

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from ..providers.candidate import Candidate

# (call, number) -> seconds that `number` calls took.
Timer = Callable[[Callable[[], object], int], float]

# A turn's timed calls last at least this long, so that the clock costs nothing that shows.
TURN_S = 5e-3

# A call that takes longer than this is its own run-in, and one to begin with is enough.
LONG_S = 1.0

# A library's threads spin for some milliseconds after its call, on cores that the next one wants.
# In turns with two peers torch.nn came out twice as slow as by itself; with 20 ms of run-in
# OpenVINO still by half; with 50 ms all as fast. (torch.nn and ours share OpenMP's threads.)
RUN_IN_S = 0.05

# Preemptions per second and thread from which a measurement is called busy. Measured: 17 on an idle
# machine, 90 to 130 beside one or more programs that want the same cores.
BUSY = 50.0


@dataclass(frozen=True)
class Effort:
    """How long to measure one preset and pass."""

    budget_s: float  # of work, all candidates together
    min_rounds: int  # even when the budget is spent
    patience_s: float  # for min_rounds and a quiet machine; then two rounds must do
    run_in_s: float = 0.0  # at least, untimed, at the beginning of a turn; see RUN_IN_S


# By device. A GPU of one's own is steady: half a second a case tells as much.
FULL = {
    "cpu": Effort(budget_s=4.0, min_rounds=5, patience_s=15.0),
    "cuda": Effort(budget_s=0.5, min_rounds=5, patience_s=2.0),
}
QUICK = {
    "cpu": Effort(budget_s=0.3, min_rounds=3, patience_s=1.0),
    "cuda": Effort(budget_s=0.1, min_rounds=3, patience_s=0.3),
}


@dataclass(frozen=True)
class Stats:
    """Microseconds per call, over the rounds."""

    median_us: float
    p20_us: float
    p80_us: float
    rounds: int


class PreemptionWatch:
    """Counts how often other programs pushed this one off a core while it was timed.

    An OpenMP team that loses one thread waits for it at every step, so one busy neighbour makes a
    recurrence ten times slower, and evenly so: the spread does not show it.
    """

    def __init__(self) -> None:
        self._seconds, self._count = 0.0, 0

    @staticmethod
    def _preemptions() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw

    def timed(self, timer: Timer, call: Callable[[], object], number: int) -> float:
        """What the timer says, watched."""
        before = self._preemptions()
        seconds = timer(call, number)
        self._count += self._preemptions() - before
        self._seconds += seconds
        return seconds

    def rate(self) -> float:
        """Preemptions per second and thread."""
        return self._count / max(self._seconds, 1e-9) / torch.get_num_threads()


def cpu_seconds(call: Callable[[], object], number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        call()
    return time.perf_counter() - start


def cuda_seconds(call: Callable[[], object], number: int) -> float:
    """By the device's own clock, from an empty queue: a host that is too slow shows."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(number):
        call()
    end.record()
    end.synchronize()
    return 1e-3 * start.elapsed_time(end)


def host_seconds(call: Callable[[], object], number: int) -> float:
    """Until the host has issued each call, to an empty queue; the GPU may be at it for longer."""
    seconds = 0.0
    for _ in range(number):
        torch.cuda.synchronize()
        seconds += cpu_seconds(call, 1)
    return seconds


def timer_for(device: str, pass_name: str) -> Timer:
    """What times a pass on a device; on a CPU the host's time is all there is."""
    if device == "cpu":
        return cpu_seconds
    return host_seconds if pass_name.startswith("host_") else cuda_seconds


def measure(
    candidates: Mapping[str, Candidate],
    effort: Effort,
    timer: Timer = cpu_seconds,
    watch: PreemptionWatch | None = None,
) -> dict[str, Stats]:
    """Every round gives each candidate one turn: what slows the machine down meets them all.

    The first half of a turn, or more of it, is not timed, unless a call is long. Without it,
    whoever comes after another library pays for the caches that it left behind: the same code,
    entered twice, came out up to 30 % apart.
    """
    watch = watch or PreemptionWatch()
    numbers, long = {}, {}
    for name, candidate in candidates.items():
        with candidate.context():
            seconds = timer(candidate.call, 1)  # thread pools, packed weights, primitive caches
            if seconds <= LONG_S:
                seconds = timer(candidate.call, 1)
            numbers[name] = max(1, round(TURN_S / max(seconds, 1e-7)))
            long[name] = seconds > LONG_S

    samples: dict[str, list[float]] = {name: [] for name in candidates}
    spent, rounds = 0.0, 0
    while candidates and (
        rounds < 2
        or spent < effort.budget_s
        or (rounds < effort.min_rounds and spent < effort.patience_s)
    ):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            with candidate.context():
                run_in = 0.0 if long[name] else timer(candidate.call, numbers[name])
                while run_in < effort.run_in_s and not long[name]:
                    run_in += timer(candidate.call, numbers[name])
                seconds = watch.timed(timer, candidate.call, numbers[name])
            samples[name].append(1e6 * seconds / numbers[name])
            # A clock of the host's says little of what a GPU does meanwhile.
            spent += max(run_in + seconds, time.perf_counter() - start)
        rounds += 1
    return {name: summary(values) for name, values in samples.items()}


def measure_in_quiet(
    candidates: Mapping[str, Candidate], effort: Effort
) -> tuple[dict[str, Stats], float]:
    """Measures again while the machine is busy. The last measurement, and its preemption rate."""
    start = time.perf_counter()
    while True:
        watch = PreemptionWatch()
        stats = measure(candidates, effort, cpu_seconds, watch)
        rate = watch.rate()
        if rate <= BUSY or time.perf_counter() - start > effort.patience_s:
            return stats, rate


def measure_on(
    device: str, candidates: Mapping[str, Candidate], effort: Effort, pass_name: str
) -> tuple[dict[str, Stats], float]:
    """Statistics and preemption rate; a GPU is measured once, and has none."""
    if device == "cuda":
        return measure(candidates, effort, timer_for(device, pass_name)), 0.0
    return measure_in_quiet(candidates, effort)


def summary(microseconds: list[float]) -> Stats:
    p20, _, _, p80 = statistics.quantiles(microseconds, n=5, method="inclusive")
    return Stats(statistics.median(microseconds), p20, p80, len(microseconds))
