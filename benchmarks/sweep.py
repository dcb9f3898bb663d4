"""Sweeps over sizes, for the design of the kernels: `python -m benchmarks.sweep`.

Measures time per step and the host's time per call of one layer, in torch.nn and in ours, and what
a call of the smallest layer and cell costs the host. Nothing is checked against float64 here: a
claim needs benchmarks.run. A whole sweep replaces the device's file under
benchmarks/results/sweeps.
"""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from tqdm import tqdm

from .candidate import Candidate
from .device import set_up
from .environment import Environment, environment
from .gate import first_line
from .parser import Parser
from .presets import Preset
from .providers import BASELINE, PROVIDERS
from .region import region
from .results import official_path, write
from .table import aligned
from .timing import TIMERS, Effort, host_seconds, measure
from .workload import Workload, make_workload

CELLS = ("LSTM", "GRU")
PROVIDER_NAMES = (BASELINE.name, "auto")

# Two hundred cases have to fit in a minute and a half.
EFFORT = Effort(budget_s=0.1, min_rounds=3, patience_s=0.2)

# Turns start from an empty queue and have one long call or many of the smallest: with more, the
# host would wait for room in the queue.
HOST_TURNS, HOST_CALLS = 5, 200


@dataclass(frozen=True)
class Grid:
    """Every combination is measured, with I = H, one layer, one direction."""

    dtypes: tuple[str, ...]
    H: tuple[int, ...]
    B: tuple[int, ...]
    T: int


GRIDS = {
    "cuda": Grid(
        dtypes=("float32", "float16", "bfloat16"),
        H=(64, 128, 192, 256, 512, 768, 1024, 2048),
        B=(16, 64),
        T=256,
    ),
    "cpu": Grid(dtypes=("float32",), H=(64, 128, 192, 256), B=(16,), T=256),
}
QUICK_GRID = Grid(dtypes=("float32",), H=(64, 256), B=(16,), T=64)


@dataclass(frozen=True)
class Fact:
    """A line of the file, its fields in the file's order. No times unless status is ok."""

    module: str  # LSTM, GRU, LSTMCell or GRUCell
    dtype: str
    H: int  # the input size too
    B: int
    T: int
    pass_: str
    region: str  # what torch lets cuDNN choose; empty on a CPU and for cells
    provider: str
    backend_used: str
    us_per_call: float | None
    us_per_step: float | None
    host_us: float | None  # until the call returns; none on a CPU, where that is its time
    status: str  # ok, or the error
    device: str
    driver: str
    torch: str
    cudnn: str
    cuda: str
    triton: str
    commit: str
    sources: str
    utc: str


def shape(cell: str, dtype: str, H: int, B: int, T: int) -> Preset:
    name = f"{cell} {dtype} H {H} B {B} T {T}"
    return Preset(name, cell, I=H, H=H, L=1, D=1, B=B, T=T, dtype=dtype, mode="train", source="")


def tried(work: Workload, module: str, pass_name: str) -> dict[str, Candidate | str]:
    """Per provider a candidate that has run once, or the error."""
    found: dict[str, Candidate | str] = {}
    for name in PROVIDER_NAMES:
        provider = PROVIDERS[name]
        # The reference is torch's own operations: no news, and minutes of them.
        if provider.missing(work, pass_name) or provider.backend_used(work) == "reference":
            continue
        try:
            in_cell = module.endswith("Cell")
            found[name] = provider.build(work, "cell_fwd" if in_cell else pass_name)
            with found[name].context():
                TIMERS[work.device.type](found[name].call, 1)
        except Exception as error:  # one provider's crash must not cost the others their times
            found[name] = f"{type(error).__name__}: {first_line(error)}"
    return found


def facts_of(
    work: Workload, module: str, pass_name: str, where: Environment, host_calls: int
) -> list[Fact]:
    """One case: torch.nn and ours take turns."""
    preset, on_gpu = work.preset, work.device.type == "cuda"
    found = tried(work, module, pass_name)
    candidates = {name: one for name, one in found.items() if isinstance(one, Candidate)}
    stats = measure(candidates, EFFORT, TIMERS[work.device.type])
    facts = []
    for name, one in found.items():
        us = stats[name].median_us if name in stats else None
        fact = Fact(
            module=module,
            dtype=preset.dtype,
            H=preset.H,
            B=preset.B,
            T=preset.T,
            pass_=pass_name,
            region=region(preset, pass_name) if on_gpu and module == preset.cell else "",
            provider=name,
            backend_used=PROVIDERS[name].backend_used(work),
            us_per_call=us and round(us, 2),
            us_per_step=us and round(us / preset.T, 3),
            host_us=host_us(one, host_calls) if on_gpu and name in stats else None,
            status="ok" if name in stats else one,
            **asdict(where),
        )
        facts.append(fact)
    return facts


def host_us(candidate: Candidate, number: int) -> float:
    """Median time until a call returns, over turns of `number` calls without a pause."""
    with candidate.context():
        turns = [host_seconds(candidate.call, number) for _ in range(HOST_TURNS)]
    return round(1e6 * statistics.median(turns) / number, 2)


def sweep(device: str, grid: Grid, where: Environment) -> list[Fact]:
    """First the grid, then what the smallest calls cost the host."""
    facts: list[Fact] = []
    sizes = [(cell, H, B) for cell in CELLS for H in grid.H for B in grid.B]
    with tqdm(total=len(sizes) * len(grid.dtypes) * 2 + len(CELLS) * 3) as progress:

        def add(work: Workload, module: str, pass_name: str, host_calls: int) -> None:
            progress.set_description(f"{work.preset.name} {pass_name}")
            facts.extend(facts_of(work, module, pass_name, where, host_calls))
            progress.update()

        for cell, H, B in sizes:
            drawn = make_workload(shape(cell, "float32", H, B, grid.T), device)
            for dtype in grid.dtypes:
                preset = shape(cell, dtype, H, B, grid.T)
                work = replace(drawn, preset=preset).to(preset.torch_dtype)
                for pass_name in preset.passes:
                    add(work, cell, pass_name, 1)
        for cell in CELLS:
            work = make_workload(shape(cell, "float32", H=64, B=1, T=1), device)
            for pass_name in work.preset.passes:
                add(work, cell, pass_name, HOST_CALLS)
            add(work, f"{cell}Cell", "fwd", HOST_CALLS)
    return facts


def summary(facts: Sequence[Fact]) -> str:
    """Per step over H, a line per case and provider; then the smallest calls, host's time beside.

    The part after `@` names the region where torch.nn's is not the standard one.
    """
    sizes = sorted({fact.H for fact in facts if fact.T > 1})
    lines: dict[tuple[str, ...], dict[int, str]] = {}
    for fact in facts:
        if fact.T > 1:
            key = (f"{fact.module} {fact.dtype} B {fact.B}", fact.pass_, fact.provider)
            named = fact.provider == BASELINE.name and fact.region not in ("", "standard")
            cell = "-" if fact.us_per_step is None else f"{fact.us_per_step:.2f}"
            lines.setdefault(key, {})[fact.H] = cell + f"@{fact.region}" * named
    steps = [["us per step", "pass", "provider", *(f"H {H}" for H in sizes)]]
    steps += [[*key, *(cells.get(H, "") for H in sizes)] for key, cells in lines.items()]
    smallest = [["T 1, B 1, H 64", "pass", "provider", "us per call", "host us"]]
    smallest += [
        [fact.module, fact.pass_, fact.provider, f"{fact.us_per_call}", f"{fact.host_us or '-'}"]
        for fact in facts
        if fact.T == 1
    ]
    failed = dict.fromkeys(f"{f.provider}: {f.status}" for f in facts if f.status != "ok")
    return "\n".join([aligned(steps), "", aligned(smallest), *failed])


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("benchmarks.sweep", __doc__.partition("\n\n")[2], "a few sizes, no file")
    args = parser.parse_args(argv)
    set_up(args.device)
    where = environment(args.device)
    facts = sweep(args.device, QUICK_GRID if args.quick else GRIDS[args.device], where)
    print(summary(facts))
    if args.quick:
        print("no file written: not a whole sweep")
    else:
        path = official_path(where.device, "sweeps")
        write(facts, path, whole=True)
        print(f"written: {path}")
    return int(any(fact.status != "ok" for fact in facts))


if __name__ == "__main__":
    sys.exit(main())
