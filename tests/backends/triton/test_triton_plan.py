"""The planner of Triton's whole sequences as data: every plan fits, and is the one meant."""

from __future__ import annotations

import itertools

import pytest
import torch
from running import running
from versions import OLD_TRITON, needs_whole_sequences

import rnn_kernels as rk
from rnn_kernels.backends import BACKENDS
from rnn_kernels.backends.gpu import triton_plan
from rnn_kernels.backends.gpu.triton_plan import Facts, Plan

H100 = Facts("cuda", 90, 132, True, 227 << 10)
A100 = Facts("cuda", 80, 108, True, 163 << 10)
L4 = Facts("cuda", 89, 58, True, 99 << 10)
MI300 = Facts("hip", 0, 304, True, 64 << 10)
GPUS = {"H100": H100, "A100": A100, "L4": L4, "MI300": MI300}


def plan(B: int, H: int, D: int = 1, facts: Facts = H100, **options: object) -> Plan | str:
    call = {"cell": "lstm", "element": 2, "exact": False, "backward": False} | options
    return triton_plan.plan(**call, sizes=(B, H, D), facts=facts)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("gpu", GPUS)
def test_every_plan_fits_and_few_kernels_do(gpu: str, backward: bool) -> None:
    facts, kernels = GPUS[gpu], set()
    sizes = itertools.product((1, 3, 16, 17, 64, 500, 4096), (1, 2))
    widths = (1, 16, 20, 64, 65, 100, 128, 129, 200, 256, 300, 512, 700, 768, 1000, 1024, 2048)
    for (B, D), H, element, exact in itertools.product(sizes, widths, (2, 4), (False, True)):
        for cell in ("lstm", "gru"):
            p = plan(B, H, D, facts, cell=cell, element=element, exact=exact, backward=backward)
            if isinstance(p, str):
                assert H > 20, (B, H, D, p)
                continue
            assert p.shared <= facts.shared
            assert p.units * p.programs >= H > p.units * (p.programs - 1)
            assert p.chunks == 0 or p.block * p.chunks >= H
            assert p.rows * p.groups >= B and p.slots <= p.groups <= p.slots * p.waves
            if p.programs > 1:
                assert p.programs * p.slots * D <= facts.processors
            kernels.add((element, p.precision, p.rows, p.units, p.block, p.chunks, p.warps))
    assert 4 < len(kernels) <= 30


def test_who_shares() -> None:
    assert plan(128, 64).programs == plan(128, 128).programs == 1
    assert plan(16, 64, element=4).programs == 1
    agent = plan(128, 256, cell="gru")
    assert (agent.programs, agent.groups, agent.waves, agent.chunks * agent.block) == (8, 8, 1, 256)
    assert plan(128, 256, cell="gru", element=4, backward=True).programs == 8
    assert plan(16, 1024).chunks == 0  # more weights than there is shared memory
    assert plan(300, 256).rows == 64


def test_what_float32_is() -> None:
    assert plan(16, 64, element=4).precision == "tf32"
    assert plan(16, 64, element=4, exact=True).precision == "tf32x3"
    assert plan(16, 32, element=4, facts=MI300).precision == "ieee"
    assert plan(16, 64, exact=True).precision == "ieee"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"element": 8}, "float64"),
        ({"facts": H100._replace(capability=75)}, "sm_80"),
        ({"facts": Facts("old", 0, 0, False, 0)}, "Triton 3.5"),
        ({"facts": Facts("interpreted", 0, 0, False, 0)}, "interpreter"),
        ({"facts": H100._replace(meet=False), "H": 256}, "might not run at the same time"),
        ({"H": 5000}, "more programs would have to wait"),
        ({"H": 20000}, "H is over 16384"),
        ({"B": 4096, "H": 512}, "predicted to be faster"),
    ],
)
def test_what_goes_per_step(change: dict, why: str) -> None:
    assert why in plan(**{"B": 16, "H": 64} | change)


def test_more_lanes_than_processors() -> None:
    assert plan(16, 64, facts=H100._replace(processors=1, meet=False)).programs == 1


def test_programs_alone_need_not_run_at_the_same_time() -> None:
    assert plan(16, 64, facts=H100._replace(meet=False)).programs == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels are compiled here")
def test_facts_of_this_machine() -> None:
    triton = BACKENDS["triton"]
    assert triton.facts(None).target == ("old" if OLD_TRITON else "interpreted")
    like = torch.zeros(1, dtype=torch.float16)
    assert isinstance(triton.plan("gru", like, (3, 8, 1), False, False), str)


@needs_whole_sequences
def test_explain_says_how() -> None:
    with running("triton", "explain"):
        x = torch.randn(2, 3, 3).half()
        (small,) = rk.explain(rk.GRU(3, 40).half(), x)
        (large,) = rk.explain(rk.GRU(3, 200).half(), x)
        (double,) = rk.explain(rk.GRU(3, 8).double(), x.double())
    assert "one launch: one program has all units of 16 rows, 64 units each" in str(small)
    assert "7 programs share all units of 16 rows" in str(large)
    assert "per step, a product and a gate kernel, because a library's products" in str(double)
