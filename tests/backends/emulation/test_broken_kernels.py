"""Kernels with one mistake each: the emulation has to catch it, and to let them pass without it."""

from __future__ import annotations

import re

import emulated
import pytest
import torch
from kernel_worlds import World
from torch import Tensor

EMULATED = World("emulated")
SEEDS = range(12)
NOBODY = "which nobody has written"

# What each is found by, whatever the schedule.
BROKEN = {
    "barrier": f"race on|{NOBODY}",
    "warp barrier": f"race on|{NOBODY}",
    "buffer": "race on",
    "tile": "out of bounds: read of 4 bytes at byte 200 of array 0, which has 200",
    "shared tile": "out of bounds: write of 4 bytes at byte 256 of the dynamic shared memory",
    "unwritten": NOBODY,
    "phase": f"race on|{NOBODY}|deadlock",
    "arrival": "deadlock",
    "divergence": "deadlock",
    "copy wait": "not ordered after the write by a copy by thread",
    "copy barrier": "not ordered after the write by a copy by thread",
    "proxy": "no proxy fence between them",
    "bytes": "lacks 0 of 1 arrivals and 16 bytes",
    "alignment": "misaligned address: 16 bytes at byte",
    "mask": "deadlock",
    "peer start": "may not have started|race on|" + NOBODY,
    "peer exit": "which has exited|exits while its shared memory may still be used by thread",
    "flag": "race on byte",
}
EXCHANGE = {
    1: "not ordered after the (read|write)",
    2: f"race on|{NOBODY}|deadlock",
    3: "deadlock|race on|more than the mbarrier expects",
    4: "which has exited|may still be used by",
    5: "race on|no mbarrier was initialised|may not have started",
}
pytestmark = [
    pytest.mark.emulated,
    pytest.mark.skipif(emulated.SANITIZED, reason="the emulation's own checks find these"),
]


def run(name: str, broken: int, seed: int) -> Tensor:
    torch.manual_seed(0)
    size = 50 if name == "tile" else 256
    arrays = [torch.randn(size), torch.zeros(size), torch.zeros(4).int(), torch.zeros(256)]
    options = {"block": 13} if name == "tile" else {"block": 64, "shared": 256}
    if name.startswith("copy"):
        options["shared"] = 1024
    if name.startswith("peer") or name == "exchange":
        options |= {"grid": 2, "cluster": 2}
    if name == "flag":
        options |= {"grid": 2, "cooperative": True}
    if name == "residency":
        options["grid"] = 4
    EMULATED.run(f"broken {name}", *arrays, numbers=[broken], seed=seed, **options)
    return arrays[1]


@pytest.mark.parametrize("name", [*BROKEN, "exchange", "residency", "fragment"])
def test_pass_when_right(name: str) -> None:
    expected = run(name, 0, 0)
    assert expected.any()
    for seed in SEEDS:
        assert torch.equal(run(name, 0, seed), expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", BROKEN)
def test_are_caught(name: str, seed: int) -> None:
    with pytest.raises(RuntimeError, match=BROKEN[name]):
        run(name, 1, seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mistake", EXCHANGE)
def test_exchanges_are_caught(mistake: int, seed: int) -> None:
    with pytest.raises(RuntimeError, match=EXCHANGE[mistake]):
        run("exchange", mistake, seed)


def test_waiting_for_blocks_that_may_not_run() -> None:
    """Only some schedules have fewer blocks at once than the grid has."""
    outcomes = []
    for seed in SEEDS:
        try:
            run("residency", 1, seed)
            outcomes.append("passed")
        except RuntimeError as error:
            outcomes.append(str(error).split(":")[0])
    assert set(outcomes) == {"passed", "deadlock"}


def test_a_wrong_fragment_changes_the_result() -> None:
    assert not torch.equal(run("fragment", 1, 0), run("fragment", 0, 0))


def test_messages_say_who_and_where() -> None:
    with pytest.raises(RuntimeError) as raised:
        run("barrier", 1, 0)
    assert "thread (0,0,0) of block (0,0,0) at broken.cu:" in str(raised.value)
    with pytest.raises(RuntimeError) as raised:
        run("arrival", 1, 3)
    assert "threads 0-63 of block (0,0,0) at " in str(raised.value)
    assert re.search(
        r"waiting for phase 0 of the mbarrier at byte \d+ of the static shared memory of block "
        r"\(0,0,0\), .*which lacks 1 of 64 arrivals and 0 bytes",
        str(raised.value),
    )


def test_launches_that_cuda_refuses() -> None:
    x = torch.zeros(64, dtype=torch.int32)
    for options, message in [
        ({"block": 1025}, "invalid configuration argument"),
        ({"grid": 3, "cluster": 2}, "invalid configuration argument"),
        ({"grid": 17, "cluster": 17}, "invalid configuration argument"),
        ({"shared": 228 << 10}, "invalid argument"),
        ({"grid": 133, "cooperative": True}, "too many blocks in cooperative launch"),
    ]:
        with pytest.raises(RuntimeError, match=f"indices: {message}"):
            EMULATED.run("indices", x, **options)


def test_a_barrier_of_the_grid_needs_a_cooperative_launch() -> None:
    x = torch.zeros(2, 32, dtype=torch.int32)
    with pytest.raises(RuntimeError, match="barrier of the grid in a launch that is not"):
        EMULATED.run("rounds", x[0], x[1], numbers=[1])
