"""The planner of whole-sequence kernels as data: every plan fits, and is the one that is meant."""

from __future__ import annotations

import itertools

import emulated
import pytest
import torch
from persistent_calls import H100

from rnn_kernels.backends.gpu.speeds import per_step_ns, product_kind

A100 = (80, 163 << 10, (108, 0, 0, 0, 0), 108)
SMALL = (120, 99 << 10, (48, 24, 12, 6, 0), 48)  # no clusters of 16
WARPS, FRAGMENT, THREADS = 8, 2048, 256
pytestmark = pytest.mark.emulated


def plan(
    gates: int,
    element: int,
    backward: bool,
    B: int,
    H: int,
    D: int = 1,
    facts: tuple = H100,
    exact: bool = False,
) -> dict:
    dtype = {2: torch.float16, 4: torch.float32, 8: torch.float64}[element]
    alone_ns = per_step_ns(gates, element, (B, H, D), product_kind(dtype, exact))
    how = (gates, element, exact, backward, (B, H, D))
    return emulated.backend().kernels.plan(*how, *facts, alone_ns)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("facts", [H100, A100, SMALL], ids=["H100", "A100", "small"])
@pytest.mark.parametrize("backward", [False, True])
def test_every_plan_fits(backward: bool, facts: tuple, exact: bool) -> None:
    capability, shared_memory, clusters, grid = facts
    fitting = {False: 0, True: 0}
    sizes = (
        (1, 3, 8, 64, 100, 1000),
        (1, 8, 20, 64, 100, 128, 150, 200, 256, 300, 500, 768, 900, 1001, 1024, 1536, 2048),
    )
    elements = (4,) if exact else (2, 4)
    for gates, element, B, H, D in itertools.product((3, 4), elements, *sizes, (1, 2)):
        p = plan(gates, element, backward, B, H, D, facts, exact)
        if not p["fits"]:
            assert p["why"]
            continue
        fitting[p["grid"]] += 1
        # Blocks that run at once, with registers and shared memory for one of them each.
        if p["grid"]:
            assert p["groups"] * D * p["cluster"] <= grid and p["waves"] == 1
        else:
            at_once = clusters[p["cluster"].bit_length() - 1]
            assert at_once and (p["cluster"] == 1 or capability >= 90)
            assert p["waves"] == -(-p["groups"] * D // at_once)
        assert p["exact"] == exact and p["shared"] <= shared_memory
        assert p["held"] <= p["fragments"] and p["held"] * 16 <= 144
        in_shared = (p["fragments"] - p["held"]) * WARPS * FRAGMENT
        assert in_shared < p["shared"]
        # All rows, units and weights belong to someone.
        assert p["groups"] * p["rows"] >= B > (p["groups"] - 1) * p["rows"]
        assert p["cluster"] * p["units"] >= H > (p["cluster"] - 1) * p["units"]
        assert p["units"] % (16 // element if p["grid"] else 8) == 0
        pairs = -(-p["rows"] // 2)
        assert 2 * pairs * p["units"] <= p["elements"] * THREADS <= 4 * THREADS
        mine, all_units = gates * p["units"], p["cluster"] * p["units"]
        if p["grid"]:
            m, k = (p["units"], gates * H) if backward else (mine, H)
            assert p["strips"] * 16 >= m and p["chunks"] * 128 >= k * element
            assert H <= p["mail_units"] < H + 16 // element and p["mail_units"] * element % 16 == 0
            assert p["slots"] <= WARPS and p["fragments"] % p["strips"] == 0
        else:
            m, k = (all_units, mine) if backward else (mine, all_units)
            assert p["strips"] * 32 >= m and p["chunks"] * 64 >= k * element
        assert p["fragments"] * WARPS >= p["strips"] * p["chunks"]
        # What a peer's barrier counts in a phase, in bytes, is at most 2^20 - 1.
        coming = 8 * pairs * p["units"] * p["cluster"] * p["slots"] if backward else (
            p["rows"] * all_units * element
        )  # fmt: skip
        assert p["grid"] or coming < 1 << 20
        assert p["step_ns"] > 0
    assert fitting[False] > 40 and fitting[True] > 20


@pytest.mark.parametrize(("gates", "H"), [(4, 160), (3, 190)])
def test_one_block_holds_what_it_should(gates: int, H: int) -> None:
    alone = (90, 227 << 10, (132, 0, 0, 0, 0), 0)
    for backward, rows in itertools.product((False, True), (1, 8)):
        assert plan(gates, 2, backward, rows, H, facts=alone)["fits"]


@pytest.mark.parametrize(("gates", "element", "H"), [(4, 2, 768), (3, 2, 768), (4, 4, 512)])
def test_a_cluster_holds_what_it_should(gates: int, element: int, H: int) -> None:
    for backward in (False, True):
        p = plan(gates, element, backward, 16, H, facts=(*H100[:3], 0))
        assert p["fits"] and p["cluster"] == 16


@pytest.mark.parametrize("facts", [H100, A100], ids=["H100", "A100"])
def test_a_grid_holds_what_it_should(facts: tuple) -> None:
    def fits(gates: int, element: int, H: int, D: int = 1, exact: bool = False) -> bool:
        plans = [plan(gates, element, back, 16, H, D, facts, exact) for back in (False, True)]
        return all(p["fits"] and p["grid"] for p in plans)

    large = facts is H100
    assert fits(4, 2, 1536) and fits(4, 2, 2048) == large
    assert fits(3, 2, 1536) and fits(3, 2, 2048) == large
    assert fits(4, 2, 1024, 2) == large
    assert fits(4, 4, 1024) == large and fits(4, 4, 1024, exact=True) == large
    if large:
        assert plan(4, 4, False, 16, 1500)["units"] == 12


def test_a_grid_needs_all_of_the_device() -> None:
    """It is no choice where its blocks may not wait for each other."""
    *rest, grid = H100
    assert grid == 132 and plan(4, 2, False, 16, 1024)["grid"]
    none = plan(4, 2, False, 16, 1024, facts=(*rest, 0))
    assert not none["fits"] and none["why"] == "the weights do not fit on the chip"
    forced = emulated.backend().kernels.cut(
        4, 2, False, False, (48, 1024, 1), *H100, (True, 64, 16)
    )
    assert not forced["fits"] and "would not all run at once" in forced["why"]


def test_rows_spread_over_all_that_runs_at_once() -> None:
    for B in (8, 64, 128):
        p = plan(4, 2, False, B, 64)
        assert (p["cluster"], p["groups"], p["rows"]) == (1, B, 1)
    p = plan(4, 2, False, 16, 512, 1)
    assert (p["cluster"], p["groups"], p["rows"]) == (16, 8, 2)
    assert plan(4, 2, False, 16, 512, 2)["waves"] == 1  # both directions side by side


def test_falls_back_to_what_is_resident() -> None:
    few = (90, 227 << 10, (132, 66, 33, 16, 0), 0)
    assert plan(4, 2, False, 4, 512)["cluster"] == 16
    assert plan(4, 2, False, 4, 512, facts=few)["cluster"] == 8
    none = plan(4, 2, False, 4, 512, facts=(90, 227 << 10, (132, 0, 0, 0, 0), 0))
    assert not none["fits"] and none["why"] == "the weights do not fit on the chip"
    assert plan(4, 2, False, 4, 64, facts=(90, 227 << 10, (132, 0, 0, 0, 0), 0))["fits"]


def test_says_why_not() -> None:
    for arguments, why in [
        ((4, 8, False, 4, 64), "float64"),
        ((4, 2, False, 0, 64), "no rows"),
        ((4, 2, False, 4, 64, 1, (75, 64 << 10, (40, 0, 0, 0, 0), 40)), "compute capability 8.0"),
        ((4, 2, True, 4, 2800), "do not fit on the chip"),
        ((4, 2, False, 8192, 512), "one product per step is predicted to be faster"),
    ]:
        p = plan(*arguments)
        assert not p["fits"] and why in p["why"]


def test_the_device_says_what_runs_at_once() -> None:
    assert emulated.backend().kernels.facts(0) == H100
