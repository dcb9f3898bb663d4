"""Memory that threads share on purpose, against its definition in the PTX and CUDA manuals."""

from __future__ import annotations

import pytest
import torch
from kernel_worlds import World

SEEDS = range(6)


@pytest.mark.parametrize(("name", "dtype"), [("int", torch.int32), ("long", torch.int64)])
def test_atomics(name: str, dtype: torch.dtype, world: World) -> None:
    start = torch.tensor([5, 0, 5, 5, 127, 0, 0, 0], dtype=dtype)
    for seed in SEEDS:
        at = start.clone()
        world.run(f"atomics {name}", at, grid=3, block=40, seed=seed)
        total = 3 * sum(range(1, 41))
        expected = [5 + total, -total if name == "int" else 0, 40, 1, 64, 63, 7, total]
        assert at.tolist() == expected


@pytest.mark.parametrize("how", ["released", "fenced", "tagged"])
def test_flags_between_blocks(how: str, world: World) -> None:
    for seed in SEEDS:
        values = torch.arange(1, 8, dtype=torch.int32)
        flags = torch.zeros(7, dtype=torch.int64)
        world.run(f"relay {how}", values, flags, grid=7, block=1, cooperative=True, seed=seed)
        assert values.tolist() == [1, 3, 6, 10, 15, 21, 28]


def test_words_that_are_their_own_flags(world: World) -> None:
    for seed in SEEDS:
        words = torch.zeros(5, 40, 2, 4, dtype=torch.int32)
        world.run("relay words", words, grid=5, block=40, cooperative=True, seed=seed)
        assert (words == torch.arange(1, 6, dtype=torch.int32).view(5, 1, 1, 1)).all()


def test_counting_arrivals(world: World) -> None:
    for seed in SEEDS:
        values, to = torch.zeros(120, dtype=torch.int32), torch.zeros(40, dtype=torch.int32)
        counter = torch.zeros(1, dtype=torch.int32)
        world.run("count", values, counter, to, grid=3, block=40, cooperative=True, seed=seed)
        assert to.tolist() == [sum(range(120))] * 40


def test_barriers_of_the_grid(world: World) -> None:
    start = torch.randint(1000, (120,), dtype=torch.int32)
    for seed in SEEDS:
        a, b = start.clone(), torch.zeros_like(start)
        world.run("rounds", a, b, numbers=[5], grid=3, block=40, cooperative=True, seed=seed)
        assert torch.equal(b, start.roll(-5) + 5)
