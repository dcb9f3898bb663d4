"""Single steps whose caller carries the state: one compiled call, and the same numbers as ever."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrize

import rnn_kernels as rk
from rnn_kernels.backends import BACKENDS
from rnn_kernels.execution import streaming

CELLS = ("LSTM", "GRU")
ROWS = BACKENDS["cpu"].step_rows
DTYPES = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 0.02, torch.float16: 0.003}


def pair(kind: str, *sizes: int, dtype: torch.dtype = torch.float64, **options: Any) -> tuple:
    """Torch's module in float64 and ours in ``dtype``, of the same (rounded) weights."""
    ours = getattr(rk, kind)(*sizes, **options).to(dtype)
    theirs = getattr(nn, kind)(*sizes, **options).double()
    theirs.load_state_dict(ours.state_dict())
    return theirs, ours


def states(kind: str, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    h = torch.randn(shape).to(dtype)
    return (h, torch.randn(shape).to(dtype)) if kind.startswith("LSTM") else h


def parts(state: Any) -> list[Tensor]:
    return list(state) if isinstance(state, tuple) else [state]


def as_double(state: Any) -> Any:
    return tuple(s.double() for s in state) if isinstance(state, tuple) else state.double()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch sizes of the steps that were taken in one compiled call without autograd."""
    seen, plain, layer = [], streaming.cell_step, streaming.layer_step

    def watch(run: Any) -> Any:
        def watched(cell: str, module: nn.Module, x: Tensor, *state: Tensor | None) -> Any:
            found = run(cell, module, x, *state)
            if found is not None:
                seen.append(x.shape[0])
            return found

        return watched

    monkeypatch.setattr(streaming, "cell_step", watch(plain))
    monkeypatch.setattr(streaming, "layer_step", watch(layer))
    return seen


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("B", "I", "H"), [(1, 1, 1), (1, 5, 33), (2, 40, 17), (3, 31, 64), (4, 7, 16), (7, 3, 50)]
)
@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell"])
def test_cells(kind: str, B: int, I: int, H: int, dtype: torch.dtype, steps: list[int]) -> None:
    theirs, ours = pair(kind, I, H, dtype=dtype)
    state = states(kind, (B, H), dtype)
    with torch.no_grad():
        for _ in range(20):  # each step from the same state, or 16 bits would drift apart
            x = torch.randn(B, I).to(dtype)
            expected = theirs(x.double(), as_double(state))
            state = ours(x, state)
            torch.testing.assert_close(
                as_double(state), expected, atol=DTYPES[dtype], rtol=DTYPES[dtype]
            )
    assert steps == [B] * 20


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("B", [1, 5])
@pytest.mark.parametrize("kind", CELLS)
def test_layers(kind: str, B: int, batch_first: bool, bias: bool, steps: list[int]) -> None:
    theirs, ours = pair(kind, 6, 19, batch_first=batch_first, bias=bias)
    state = states(kind, (1, B, 19), torch.float64)
    with torch.no_grad():
        for _ in range(5):
            x = torch.randn(*((B, 1) if batch_first else (1, B)), 6).double()
            expected, expected_state = theirs(x, state)
            y, state = ours(x, state)
            torch.testing.assert_close((y, state), (expected, expected_state))
    assert len(steps) == 5


@pytest.mark.parametrize("kind", CELLS)
def test_results_share_no_memory(kind: str, steps: list[int]) -> None:
    layer = getattr(rk, kind)(3, 4)
    with torch.no_grad():
        y, state = layer(torch.randn(1, 2, 3), states(kind, (1, 2, 4), torch.float32))
        kept = y.clone()
        for s in state if isinstance(state, tuple) else (state,):
            s.zero_()
    assert steps and torch.equal(y, kept) and y.abs().sum() > 0


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "LSTM", "GRU"])
def test_only_the_results_are_allocated(kind: str) -> None:
    shape = (2, 4) if kind.endswith("Cell") else (1, 2, 4)
    module, x = getattr(rk, kind)(4, 4), torch.randn(shape)
    state = states(kind, shape, torch.float32)
    with torch.no_grad():
        module(x, state)
        with torch.profiler.profile() as profile:
            module(x, state)
    names = [event.name for event in profile.events() if event.name.startswith("aten::")]
    results = (2 if kind.startswith("LSTM") else 1) + (not kind.endswith("Cell"))
    assert names.count("aten::new_empty") == results
    # Torch itself fills what is new where deterministic algorithms are asked for.
    assert set(names) <= {"aten::new_empty", "aten::empty", "aten::fill_"}


def test_more_rows_than_pay_go_another_way(steps: list[int]) -> None:
    theirs, ours = pair("GRUCell", 3, 5)
    with torch.no_grad():
        for B in (ROWS, ROWS + 1):
            x, h = torch.randn(B, 3).double(), torch.randn(B, 5).double()
            torch.testing.assert_close(ours(x, h), theirs(x, h))
    assert steps == [ROWS]


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell"])
def test_whoever_watches_gets_the_general_way(kind: str, steps: list[int]) -> None:
    theirs, ours = pair(kind, 3, 5)
    x, state = torch.randn(2, 3).double(), states(kind, (2, 5), torch.float64)
    expected = theirs(x, state)
    torch.testing.assert_close(ours(x, state), expected)  # gradients are wanted

    class Mine(Tensor):
        pass

    single = tuple(s.float() for s in state) if isinstance(state, tuple) else state.float()
    with torch.no_grad():
        torch.testing.assert_close(ours(x.as_subclass(Mine), state), expected)
        with torch.autocast("cpu"):
            half = getattr(rk, kind)(3, 5)(x.float(), single)
            assert (half[0] if isinstance(half, tuple) else half).dtype == torch.bfloat16
        with rk.backend("reference"):
            torch.testing.assert_close(ours(x, state), expected)
        together = torch.vmap(lambda x: ours(x, state))(torch.stack((x, 2 * x)))
        for k, scaled in enumerate((x, 2 * x)):
            one, each = parts(theirs(scaled, state)), parts(together)
            torch.testing.assert_close([t[k] for t in each], one)
        with forward_ad.dual_level():
            moved = parts(ours(forward_ad.make_dual(x, x), state))
            tangents = [forward_ad.unpack_dual(t).tangent for t in moved]
        nudge = 1e-6
        for found, up, down in zip(
            tangents,
            parts(theirs(x * (1 + nudge), state)),
            parts(theirs(x * (1 - nudge), state)),
            strict=True,
        ):
            torch.testing.assert_close(found, (up - down) / (2 * nudge), rtol=1e-6, atol=1e-8)
        parametrize.register_parametrization(ours, "weight_ih", nn.Identity())
        torch.testing.assert_close(ours(x, state), expected)
    assert steps == []


@pytest.mark.parametrize(
    ("x", "h", "error"),
    [
        ((2, 4), (2, 5), RuntimeError),  # features
        ((3, 3), (2, 5), RuntimeError),  # rows
        ((2, 3), (2, 6), RuntimeError),  # units
        ((1, 2, 3), (2, 5), ValueError),  # dimensions
    ],
)
@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell"])
def test_bad_sizes_raise_what_torch_raises(
    kind: str, x: tuple[int, ...], h: tuple[int, ...], error: type[Exception], steps: list[int]
) -> None:
    theirs, ours = pair(kind, 3, 5)
    args = torch.randn(x).double(), states(kind, h, torch.float64)
    with torch.no_grad():
        with pytest.raises(error) as expected:
            theirs(*args)
        with pytest.raises(error) as found:
            ours(*args)
    assert str(found.value) == str(expected.value) and steps == []


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell"])
def test_gradients_of_a_step(kind: str) -> None:
    """With gradients a step is one call forward, too."""
    theirs, ours = pair(kind, 3, 5)
    x, state = torch.randn(2, 3).double(), states(kind, (2, 5), torch.float64)
    given_states = parts(state)
    found = []
    for module in (theirs, ours):
        leaves = [t.clone().requires_grad_() for t in (x, *given_states)]
        given = tuple(leaves[1:]) if len(given_states) == 2 else leaves[1]
        for _ in range(3):
            given = module(leaves[0], given)
        total = sum(s.sin().sum() for s in parts(given))
        grads = torch.autograd.grad(total, [*leaves, *module.parameters()], create_graph=True)
        again = torch.autograd.grad(sum(g.square().sum() for g in grads), leaves)
        found.append([*grads, *again])
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("kind", ["LSTM", "LSTMCell"])
def test_a_missing_cell_state_is_an_error(kind: str) -> None:
    """Not a read of nowhere."""
    shape = (2, 4) if kind.endswith("Cell") else (1, 2, 4)
    with torch.no_grad(), pytest.raises((AttributeError, TypeError, RuntimeError)):
        getattr(rk, kind)(4, 4)(torch.randn(shape), (torch.zeros(shape), None))


ON_GPUS = ["emulated", "triton", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("kernels", ON_GPUS, indirect=True)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", *CELLS])
def test_on_a_gpu_two_products_and_a_launch(
    kind: str, bias: bool, dtype: torch.dtype, kernels: str, steps: list[int]
) -> None:
    theirs, ours = pair(kind, 5, 19, dtype=dtype, bias=bias)
    shape, lead = ((3, 19), (3,)) if kind.endswith("Cell") else ((1, 3, 19), (1, 3))
    x, state = torch.randn(*lead, 5).to(dtype), states(kind, shape, dtype)
    with torch.no_grad():
        expected = theirs(x.double(), as_double(state))
        with torch.profiler.profile() as profile:
            got = ours(x, state)
    parts_of = got if isinstance(got, tuple) else (got,)
    torch.testing.assert_close(
        [as_double(part) for part in parts_of],
        list(expected) if isinstance(expected, tuple) else [expected],
        atol=DTYPES[dtype],
        rtol=DTYPES[dtype],
    )
    names = [event.name for event in profile.events()]
    assert len(steps) == 1 and names.count("aten::linear") == 2
    assert not {"aten::stack", "aten::cat", "aten::clone"} & set(names)


@pytest.mark.parametrize("kernels", ON_GPUS, indirect=True)
@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", *CELLS])
def test_on_a_gpu_the_same_bits_as_without_a_short_cut(
    kind: str, kernels: str, steps: list[int]
) -> None:
    """With gradients a step goes the general way."""
    ours = getattr(rk, kind)(6, 40)
    shape, lead = ((3, 40), (3,)) if kind.endswith("Cell") else ((1, 3, 40), (1, 3))
    x, state = torch.randn(*lead, 6), states(kind, shape, torch.float32)
    general = ours(x, state)
    assert not steps
    with torch.no_grad():
        torch.testing.assert_close(ours(x, state), general, rtol=0, atol=0)
    assert len(steps) == 1


@pytest.mark.parametrize("kernels", ON_GPUS, indirect=True)
def test_on_a_gpu_any_number_of_rows(kernels: str, steps: list[int]) -> None:
    theirs, ours = pair("GRUCell", 3, 5)
    with torch.no_grad():
        for B in (1, ROWS + 1):
            x, h = torch.randn(B, 3).double(), torch.randn(B, 5).double()
            torch.testing.assert_close(ours(x, h), theirs(x, h))
    assert steps == [1, ROWS + 1]
