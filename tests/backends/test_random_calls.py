"""Random calls: every backend with kernels against the reference, forward and backward."""

from __future__ import annotations

import emulated
import pytest
import torch
from agreement import CLOSE, assert_close
from backend_calls import backward, forward
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import KERNELS, TRITON
from torch import Tensor

from rnn_kernels.backends.dispatch import BACKENDS
from rnn_kernels.backends.reference import REFERENCE
from rnn_kernels.core.cells import CELLS

ON_GPU = torch.cuda.is_available()
RANDOM = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("kernels", [name for name in KERNELS if name is not TRITON], indirect=True)
@settings(RANDOM, max_examples=15 if ON_GPU else 40)  # on a GPU new arguments compile kernels
@given(data=st.data())
def test_agree_with_the_reference(kernels: str, data: st.DataObject) -> None:
    agree(kernels, data)


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["triton"], indirect=True)
@settings(RANDOM, max_examples=15 if ON_GPU else 12)  # interpreted, a call takes half a second
@given(data=st.data())
def test_triton_agrees_with_the_reference(kernels: str, data: st.DataObject) -> None:
    agree(kernels, data)


def agree(kernels: str, data: st.DataObject) -> None:
    """A call that is drawn has the results of the reference, forward and backward."""
    draw, backend = data.draw, BACKENDS[kernels]
    kind = CELLS[draw(st.sampled_from(sorted(CELLS)))]
    # Steps that are emulated or interpreted take tens of milliseconds.
    longest = 12 if kernels == "cpu" or ON_GPU else 4
    T, B, D = draw(st.integers(1, longest)), draw(st.integers(0, 20)), draw(st.integers(1, 2))
    H = draw(st.one_of(st.integers(1, 40), st.sampled_from([64, 65, 127, 128])))
    torch.set_num_threads(draw(st.integers(1, 4)))
    seed = draw(st.integers(0, 99))
    torch.manual_seed(seed)
    if kernels == "emulated":
        emulated.machine().seed(seed)
    batch_sizes = None
    if B and draw(st.booleans()):
        lengths = draw(st.lists(st.integers(0, T), min_size=B, max_size=B))
        lengths[0] = T
        batch_sizes = torch.tensor([sum(n > t for n in lengths) for t in range(T)], device="cpu")
    lead = (T, B) if batch_sizes is None else (int(batch_sizes.sum()),)
    resets = torch.rand(lead) < 0.2 if draw(st.booleans()) else None

    dtype = draw(st.sampled_from(sorted(CLOSE, key=str)))

    def values(*sizes: int) -> Tensor:
        return torch.randn(*sizes, dtype=torch.float64).to(dtype)

    call = (
        kind.name,
        values(*lead, D, kind.gates * H),
        values(D, kind.gates * H, H) / H**0.5,
        values(D, kind.gates * H) if draw(st.booleans()) else None,
        None,
        values(D, B, H),
        values(D, B, H) if kind.has_c else None,
        batch_sizes,
        resets,
    )
    ours = forward(backend, *call, True, True)
    *theirs, saved = forward(REFERENCE, *call, True, True)
    theirs.append(saved.to(backend.saved_dtype(dtype)))
    assert_close(ours, theirs, dtype)

    y, h_n, c_n, c, saved = theirs
    grads = [
        values(*t.shape).to(t) if t is not None and draw(st.booleans()) else None
        for t in (y, h_n, c_n, c)
    ]
    w_hh, h0, c0 = call[2], call[5], call[6]
    rest = (w_hh, None, h0, c0, y, c, saved, batch_sizes, resets, True, True)
    assert_close(
        backward(backend, kind.name, *grads, *rest),
        backward(REFERENCE, kind.name, *grads, *rest),
        dtype,
    )
