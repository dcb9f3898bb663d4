"""What kernels may do, and what they may not though it works most of the time."""

from __future__ import annotations

import platform
import re
import subprocess
import sys

import emulated
import pytest
import torch
from kernel_worlds import World
from paths import HELPERS

SEEDS = range(10)
ALL = range(32)

# Options of the launch, and what is in array 0 afterwards.
RIGHT = {
    "poll": ({"block": 3}, [1999] * 3),
    "no change": ({}, [0, 1]),
    "timeouts": ({"block": 1}, [1]),
    "clock loop": ({"block": 1}, [1]),
    "two flags": ({"block": 64}, [1]),
    "spin lock": ({"grid": 4, "cooperative": True}, [20]),
    "own grid barrier": ({"grid": 4, "cooperative": True}, [128] * 128),
    "relaxed start": ({"grid": 2, "cluster": 2}, [8, 7]),
    "quiet end": ({"grid": 2, "cluster": 2}, [8, 7]),
    "fenced arrival": ({"grid": 2, "cluster": 2}, [*ALL, *ALL]),
    "arrive and exit": ({"block": 96}, [5] * 32),
    "partial warp": ({"block": 36}, [*reversed(range(36))]),
    "early exit": ({"block": 64}, [0 if i % 2 else 62 - i for i in range(64)]),
    "block copies": ({"numbers": [1]}, [*range(8), *[0] * 8, *range(8)]),
    "wide shuffles": (
        {},
        [*(31 - i for i in ALL), *(i ^ 1 for i in ALL), *(max(i - 1, 0) for i in ALL)],
    ),
}

WRONG = {
    "exited lane": ({}, "mma tf32 needs all 32 lanes of a warp"),
    "bulk exit": ({"shared": 128}, "exits before its bulk stores have read shared memory"),
    "atomic proxy": ({"shared": 128}, "no proxy fence between them"),
    "wrong fence": ({"shared": 128}, "no proxy fence between them"),
    "bulk into shared": ({"shared": 256}, "a bulk store into shared memory"),
    "invalidated under waiters": (
        {"block": 2},
        "that threads wait at was invalidated|invalidated while in use|no mbarrier was initialised"
        "|plain write of an mbarrier|race on",
    ),
    "invalidated early": ({}, "invalidated|no mbarrier was initialised|race on"),
    "copy past the end": ({"block": 1, "numbers": [32]}, "read of 128 bytes at byte 32 of array 0"),
    "racing copies": ({"numbers": [16]}, "race on"),
    "copy reads more": ({"shared": 128}, "reads more than it writes"),
    "matrix in global memory": ({}, "ldmatrix of other than shared memory"),
    "left grid": ({"grid": 3, "cooperative": True}, "deadlock"),
    "half warps": ({"block": 64}, "deadlock"),
    "no count": ({}, "a barrier of 0 threads"),
    "two counts": ({"block": 96}, "where others came to one of"),
    "branches": ({}, "at two __syncthreads"),
    "failed exchange": ({"block": 64}, "race on"),
    "unknown peer": ({"grid": 2, "cluster": 2}, "which may not have started"),
    "unawaited store": (
        {"grid": 2, "cluster": 2},
        "may still be used by a copy|under way in the shared memory of .* which has exited",
    ),
    "sender exit": (
        {"grid": 2, "cluster": 2, "shared": 256},
        "may still be used by a copy|under way in the shared memory of .* which has exited",
    ),
    "early leave": ({"grid": 2, "cluster": 2}, "may still be used by thread|which has exited"),
    "uninitialised sum": ({}, "which nobody has written"),
    "odd segments": ({}, "segments of 12 lanes"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name: str, world: World) -> None:
    options, expected = RIGHT[name]
    for seed in SEEDS:
        out = torch.zeros(len(expected), dtype=torch.int32)
        one, two = torch.arange(128, dtype=torch.int32), torch.zeros(2, dtype=torch.int32)
        if name != "block copies":
            one.zero_()
        world.run(name, out, one, two, **{"seed": seed, "block": 32, **options})
        assert out.tolist() == expected


def wrong(name: str, seed: int) -> None:
    options, _ = WRONG.get(name, ({}, ""))
    arrays = [torch.zeros(n, dtype=torch.int32) for n in (64, 64, 2)]
    if name == "copy past the end":
        arrays[0] = arrays[0][:32].clone()
    World("emulated").run(name, *arrays, **{"seed": seed, "block": 32, **options})


@pytest.mark.emulated
@pytest.mark.skipif(emulated.SANITIZED, reason="the emulation's own checks find these")
@pytest.mark.parametrize("name", WRONG)
def test_wrong(name: str) -> None:
    for seed in SEEDS:
        with pytest.raises(RuntimeError, match=WRONG[name][1]):
            wrong(name, seed)


@pytest.mark.emulated
@pytest.mark.skipif(emulated.SANITIZED, reason="the emulation's own checks find these")
def test_a_wait_that_nobody_looks_at_fails_in_some_schedules() -> None:
    outcomes = set()
    for seed in range(40):
        try:
            wrong("one try", seed)
            outcomes.add("passed")
        except RuntimeError as error:
            outcomes.add(str(error).split(" on ")[0])
    assert outcomes == {"passed", "race"}


@pytest.mark.emulated
@pytest.mark.skipif(emulated.SANITIZED, reason="the emulation's own checks find this")
def test_a_loop_that_lets_nobody_else_go_on() -> None:
    with pytest.raises(RuntimeError, match="no end: a loop in which nobody else can go on"):
        wrong("deaf loop", 1)


CRASH = """
import sys, torch
from kernel_worlds import World
World("emulated").run(sys.argv[1], torch.zeros(64, dtype=torch.int32), block=4, seed=5)
"""


@pytest.mark.emulated
@pytest.mark.skipif(emulated.SANITIZED, reason="AddressSanitizer has a report of its own")
@pytest.mark.parametrize(("name", "thread"), [("division", 3), ("large frame", r"\d")])
def test_a_crash_says_which_thread(name: str, thread: object) -> None:
    if name == "division" and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("this processor divides by zero")
    emulated.kernels()
    command = [sys.executable, "-c", CRASH, name]
    done = subprocess.run(command, cwd=HELPERS, capture_output=True, text=True)
    assert done.returncode < 0
    message = rf"signal \d+ in a kernel: thread {thread} of block \(0,0,0\) in schedule 5"
    assert re.search(message, done.stderr), done.stderr
