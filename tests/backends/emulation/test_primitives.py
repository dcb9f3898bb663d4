"""What kernels are made of, against its definition in the PTX and CUDA manuals."""

from __future__ import annotations

import pytest
import torch
from kernel_worlds import World
from torch import Tensor

SEEDS = range(6)
LANE = torch.arange(32)
GROUP, WITHIN = LANE // 4, LANE % 4


def bits(t: Tensor) -> Tensor:
    """16-bit elements, two to a 32-bit register; the first is the lower half."""
    return t.contiguous().view(torch.int32)


# Row and column of each lane's elements (32, n), from the manual's figures "mma .m16n8k16 fragment
# layout for matrix A with .f16/.bf16 type" and the like: i is the element.
def fragment_a(k: int) -> tuple[Tensor, Tensor]:
    i = torch.arange(8 if k == 16 else 4)
    if k == 16:
        row = GROUP[:, None] + torch.where((i < 2) | (i >= 4) & (i < 6), 0, 8)
        column = WITHIN[:, None] * 2 + (i & 1) + torch.where(i < 4, 0, 8)
    else:
        row = GROUP[:, None] + torch.where((i == 0) | (i == 2), 0, 8)
        column = WITHIN[:, None] + torch.where(i < 2, 0, 4)
    return row, column


def fragment_b(k: int) -> tuple[Tensor, Tensor]:
    i = torch.arange(4 if k == 16 else 2)
    row = WITHIN[:, None] * 2 + (i & 1) + torch.where(i < 2, 0, 8)
    if k == 8:
        row = WITHIN[:, None] + i * 4
    return row, GROUP[:, None].expand_as(row)


def fragment_c() -> tuple[Tensor, Tensor]:
    i = torch.arange(4)
    return GROUP[:, None] + torch.where(i < 2, 0, 8), WITHIN[:, None] * 2 + (i & 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_mma(dtype: torch.dtype, world: World) -> None:
    k = 8 if dtype == torch.float32 else 16
    with torch.device("cpu"):
        a, b, c = torch.randn(16, k), torch.randn(k, 8), torch.randn(16, 8)
        a, b = a.to(dtype), b.to(dtype)
        registers = [x[at] for x, at in ((a, fragment_a(k)), (b, fragment_b(k)))]
        expected = a.double() @ b.double() + c.double()
        bound = 2.0**-21 * (a.double().abs() @ b.double().abs() + c.abs())
        if dtype == torch.float32:  # the unit cuts the lower 13 bits off
            a, b = (x.view(torch.int32).bitwise_and(~0x1FFF).view(torch.float32) for x in (a, b))
            expected = a.double() @ b.double() + c.double()
        at = fragment_c()
    d = c[at].to(world.device).contiguous()
    world.run(f"mma {str(dtype)[6:]}", *(bits(r).to(world.device) for r in registers), d)
    got = torch.empty(16, 8, device="cpu", dtype=torch.float64)
    got[at] = d.cpu().double()
    assert ((got - expected).abs() <= bound).all()


def test_exact_products_of_float32(world: World) -> None:
    """Sums of 2048 positive terms, on which one that is cut off at every step falls behind."""
    n = 256
    with torch.device("cpu"):
        a, b = torch.rand(n, 16, 8), torch.rand(n, 8, 8)
        expected = (a.double() @ b.double()).sum(0)
        registers = [
            torch.stack([t[at] for t in x]) for x, at in ((a, fragment_a(8)), (b, fragment_b(8)))
        ]
    d = torch.zeros(32, 4)
    world.run("mma exactly", *(bits(r).to(world.device) for r in registers), d, numbers=[n])
    got = torch.empty(16, 8, device="cpu", dtype=torch.float64)
    with torch.device("cpu"):
        at = fragment_c()
    got[at] = d.cpu().double()
    assert ((got - expected).abs() <= 2.0**-19 * expected).all()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_ldmatrix(n: int, transposed: bool, world: World) -> None:
    matrices = torch.randint(-(2**15), 2**15, (n, 8, 8), dtype=torch.int16)
    to = torch.zeros(32, n, dtype=torch.int32)
    name = f"ldmatrix {n}" + " transposed" * transposed
    world.run(name, matrices, to, shared=128 * n)
    m = matrices.mT if transposed else matrices
    # Lane l holds two neighbours of row l / 4, beginning at column 2·(l % 4).
    expected = torch.stack([bits(m[i].contiguous()).flatten() for i in range(n)], 1)
    assert torch.equal(to, expected)


def test_rounding_to_tf32(world: World) -> None:
    """To nearest, ties away from zero, in 10 bits of mantissa."""
    ulp = 2.0**-10
    x = torch.tensor([1 + ulp / 2, 1 + 1.5 * ulp, 1 + 0.499 * ulp, -1 - ulp / 2, 0.0])
    x = torch.cat((x, torch.tensor([float("inf"), -float("inf")]), torch.randn(25)))
    to = torch.empty_like(x)
    world.run("to_tf32", x, to)
    assert to[:7].tolist() == [1 + ulp, 1 + 2 * ulp, 1, -1 - ulp, 0, float("inf"), -float("inf")]
    mantissa, exponent = torch.frexp(x[7:].double())
    scaled = mantissa.abs() * 2**11
    expected = mantissa.sign() * (scaled + 0.5).floor() / 2**11 * 2.0**exponent
    assert torch.equal(to[7:].double(), expected)


@pytest.mark.parametrize("read", [0, 3, 4])
@pytest.mark.parametrize("size", [4, 8, 16])
def test_copies_fill_with_zeros(size: int, read: int, world: World) -> None:
    data = torch.randint(1, 127, (32, size), dtype=torch.int8)
    to = torch.empty_like(data)
    for seed in SEEDS:
        world.run(f"copy {size}", data, to, numbers=[read], shared=32 * size, seed=seed)
        expected = data.clone()
        expected[:, read:] = 0
        assert torch.equal(to, expected)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_copies_in_groups(steps: int, world: World) -> None:
    data = torch.randn(steps, 96, 4)
    for seed in SEEDS:
        to = torch.empty_like(data)
        world.run("pipeline", data, to, numbers=[steps], block=96, shared=3 * 96 * 16, seed=seed)
        assert torch.equal(to, data.flip(1))


def test_bulk_copies(world: World) -> None:
    data = torch.randn(5, 100)
    for seed in SEEDS:
        to = torch.empty_like(data)
        world.run("bulk", data, to, numbers=[100, 5], block=64, shared=400, seed=seed)
        assert torch.equal(to, 2 * data)


def test_mbarrier_phases(world: World) -> None:
    """A fresh mbarrier has ended an odd phase; the even one ends with the second arrival."""
    to = torch.empty(8, dtype=torch.int32)
    world.run("phases", to, block=1)
    assert to.tolist() == [0, 1, 0, 1, 1, 0, 1, 0]


def test_mbarriers_hand_over(world: World) -> None:
    data = torch.randint(1000, (9, 64), dtype=torch.int32)
    for seed in SEEDS:
        to = torch.empty_like(data)
        world.run("hand over", data, to, numbers=[9], block=128, shared=256, seed=seed)
        assert torch.equal(to, data.flip(1))


@pytest.mark.parametrize("cluster", [(4, 1, 1), (2, 3, 1), (1, 2, 2)])
def test_ranks_in_a_cluster(cluster: tuple[int, int, int], world: World) -> None:
    grid = tuple(2 * n for n in cluster)
    blocks = grid[0] * grid[1] * grid[2]
    to = torch.empty(blocks, 3, dtype=torch.int32)
    world.run("ranks", to, grid=grid, cluster=cluster)
    for block in range(blocks):
        x, y, z = block % grid[0], block // grid[0] % grid[1], block // grid[0] // grid[1]
        rank = x % cluster[0] + cluster[0] * (y % cluster[1] + cluster[1] * (z % cluster[2]))
        assert to[block].tolist() == [block, rank, cluster[0] * cluster[1] * cluster[2]]


def test_memory_of_peers(world: World) -> None:
    data = torch.randint(1000, (6, 64), dtype=torch.int32)
    for seed in SEEDS:
        to = torch.empty_like(data)
        world.run("read peer", data, to, grid=6, block=64, cluster=3, seed=seed)
        assert torch.equal(to.view(2, 3, 64), data.view(2, 3, 64).roll(-1, 1))


@pytest.mark.parametrize("by", ["4 bytes", "8 bytes", "16 bytes", "bulk"])
@pytest.mark.parametrize("size", [2, 4])
def test_stores_to_peers(size: int, by: str, world: World) -> None:
    n, rounds = 36, 5
    data = torch.randn(2 * size, n)
    expected = data.view(2, size, n).double()
    for _ in range(rounds):
        expected = expected.roll(-1, 2).mean(1, keepdim=True).expand(2, size, n)
    for seed in SEEDS:
        to = torch.empty_like(data)
        world.run(
            f"all to all, {by}", data, to, numbers=[rounds], grid=2 * size, block=n, cluster=size,
            shared=(2 * size * n + 2 * n) * 4, seed=seed,
        )  # fmt: skip
        torch.testing.assert_close(to.double().view_as(expected), expected, rtol=0, atol=1e-6)


def test_a_large_cluster(world: World) -> None:
    """More than 8 blocks, which a kernel has to ask for."""
    theirs, to = torch.zeros(15 * 32, dtype=torch.int32), torch.zeros(32, dtype=torch.int32)
    world.run("arrive at peer", theirs, to, grid=16, block=32, cluster=16, seed=1)
    assert to.tolist() == [32 * sum(range(15))] * 32


@pytest.mark.parametrize("width", [32, 8, 1])
@pytest.mark.parametrize("by", [1, 5, 16])
def test_shuffles_and_votes(width: int, by: int, world: World) -> None:
    data = torch.randn(64, device="cpu")
    to, votes = torch.empty(4, 64), torch.empty(3, 64, dtype=torch.int32)
    world.run("shuffle", data.to(world.device), to, votes, numbers=[width, by], block=64)
    for me in range(64):
        lane, warp = me % 32, me // 32 * 32
        first = lane // width * width
        end = first + width
        sources = [  # segments before its own are out of reach for all but xor
            (first + by % width, True),
            (lane - by, lane - by >= first),
            (lane + by, lane + by < end),
            (lane ^ by, lane ^ by < end),
        ]
        for got, (source, allowed) in zip(to[:, me], sources, strict=True):
            assert got.item() == data[warp + (source if allowed else lane)].item()
        values = data[warp : warp + 32]
        assert votes[0, me].item() & 0xFFFFFFFF == sum(
            int(v > 0) << i for i, v in enumerate(values)
        )
        assert (
            votes[1, me].item() == (values > 2).any() and votes[2, me].item() == (values > -2).all()
        )


def test_halves_of_a_warp(world: World) -> None:
    data = torch.arange(64.0)
    to = torch.empty_like(data)
    for seed in SEEDS:
        world.run("halves", data, to, block=64, seed=seed)
        warps = data.view(2, 2, 16)
        assert torch.equal(to.view(2, 2, 16)[:, 0], warps[:, 0].sum(1, True).expand(2, 16))
        quads = warps[:, 1].view(2, 4, 4).sum(2, True).expand(2, 4, 4).reshape(2, 16)
        assert torch.equal(to.view(2, 2, 16)[:, 1], quads)


def test_a_warp_through_shared_memory(world: World) -> None:
    data = torch.arange(32.0)
    for seed in SEEDS:
        to = torch.empty(1)
        world.run("sum", data, to, seed=seed)
        assert to.item() == 496


def test_indices(world: World) -> None:
    grid, block = (2, 3, 2), (4, 2, 3)
    to = torch.empty(12, 24, 6, dtype=torch.int32)
    world.run("indices", to, grid=grid, block=block)
    b, t = torch.arange(12)[:, None], torch.arange(24)[None]
    expected = [b % 2, b // 2 % 3, b // 6, t % 4, t // 4 % 2, t // 8]
    for k, e in enumerate(expected):
        assert torch.equal(to[..., k].long(), e.expand(12, 24))


def test_shared_memory_of_blocks(world: World) -> None:
    """Static and dynamic, of blocks side by side."""
    primes = torch.tensor([2, 3, 5, 7] * 16, dtype=torch.int32)
    for seed in SEEDS:
        data = torch.randint(1000, (5, 64), dtype=torch.int32)
        values = data.clone()
        world.run("reverse", values, grid=5, block=64, shared=256, seed=seed)
        assert torch.equal(values, data.flip(1) + primes)


def test_barriers_of_parts(world: World) -> None:
    for seed in SEEDS:
        to = torch.full((96,), -1, dtype=torch.int32)
        world.run("parts", to, block=96, seed=seed)
        assert to.tolist() == [*range(64, 96), *range(32, 64), *[-1] * 32]


def test_waiting_can_give_up(world: World) -> None:
    flag, in_time = (torch.zeros(1, dtype=torch.int32) for _ in range(2))
    for seed in SEEDS:
        in_time.fill_(7)
        world.run("give up", flag, in_time, block=1, seed=seed)
        assert in_time.item() == 0
