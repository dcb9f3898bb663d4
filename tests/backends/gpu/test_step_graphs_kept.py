"""Which calls share a graph, which have none, and how many graphs there are."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from backend_calls import forward
from played_graphs import Played, forward_args, playing, recorded, same, step_by_step
from running import running
from torch.nn.utils.rnn import pack_padded_sequence

import rnn_kernels as rk
from rnn_kernels.backends.dispatch import BACKENDS
from rnn_kernels.backends.gpu import step_graphs

T, B, H = 4, 3, 6


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Played]]:
    with playing() as made, running("triton", ""):
        monkeypatch.setattr(BACKENDS["triton"], "plan", lambda *args: "this test wants steps")
        yield made


def settings() -> dict[str, Callable[[], object]]:
    matmul = torch.backends.cuda.matmul
    found = {
        "allow_tf32": lambda: setattr(matmul, "allow_tf32", True),
        "precision": lambda: torch.set_float32_matmul_precision("high"),
        "deterministic": lambda: torch.use_deterministic_algorithms(False),
    }
    for name in ("fp16_reduced_precision_reduction", "bf16_reduced_precision_reduction"):
        found[name] = lambda name=name: setattr(matmul, f"allow_{name}", False)
    if getattr(matmul, "allow_fp16_accumulation", None) is not None:
        found["accumulation"] = lambda: setattr(matmul, "allow_fp16_accumulation", True)
    return found


@pytest.fixture
def settings_restored() -> Iterator[None]:
    matmul, library = torch.backends.cuda.matmul, torch.backends.cuda.preferred_blas_library()
    reduced = [f"allow_{name}_reduced_precision_reduction" for name in ("fp16", "bf16")]
    names = ["allow_tf32", *reduced]
    if getattr(matmul, "allow_fp16_accumulation", None) is not None:
        names.append("allow_fp16_accumulation")
    before = [getattr(matmul, name) for name in names]
    yield
    for name, value in zip(names, before, strict=True):
        setattr(matmul, name, value)
    torch.backends.cuda.preferred_blas_library(library)


@pytest.mark.slow
@pytest.mark.parametrize("name", settings())
def test_a_setting_of_torch_needs_a_graph_of_its_own(
    name: str, triton: list[Played], settings_restored: None
) -> None:
    layer, x = rk.GRU(4, H), torch.randn(T, B, 4)
    for _ in range(3):
        layer(x)
    assert len(triton) == 1
    settings()[name]()
    for n in (1, 2, 2):
        layer(x)
        assert len(triton) == n


@pytest.mark.slow
def test_all_else_that_needs_a_graph_of_its_own(
    triton: list[Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    base: dict[str, Any] = {
        "cell": "lstm", "D": 1, "dtype": torch.float64, "sizes": (T, B, H), "resets": False,
        "save": True, "own": False,
    }  # fmt: skip
    others = [
        {"cell": "gru"}, {"D": 2}, {"dtype": torch.float32}, {"sizes": (T, B + 1, H)},
        {"sizes": (T + 1, B, H)}, {"sizes": (T, B, H + 2)}, {"resets": True}, {"save": False},
        {"own": True},
    ]  # fmt: skip

    def graphs(options: dict) -> int:
        before = len(triton)
        for _ in range(3):
            call = forward_args(**(base | options))
            step_graphs.allowing(forward, BACKENDS["triton"], *call)
        return len(triton) - before

    assert [graphs(options) for options in ({}, *others, {})] == [1] * (1 + len(others)) + [0]
    monkeypatch.setattr(step_graphs.GRAPHS["cpu"], "address", 64)
    assert graphs({}) == 1, "another stream"
    monkeypatch.setattr(torch.backends.cuda, "preferred_blas_library", lambda: "another")
    assert graphs({}) == 1


@pytest.fixture
def calls(triton: list[Played]) -> Callable[..., int]:
    """How many graphs three calls of a layer make."""

    def count(x: Any, layer: torch.nn.Module | None = None, **options: Any) -> int:
        before = len(triton)
        layer = layer or rk.GRU(4, H).double()
        for _ in range(3):
            layer(x, **options)
        return len(triton) - before

    return count


@pytest.mark.slow
def test_what_is_not_recorded(
    calls: Callable[..., int], monkeypatch: pytest.MonkeyPatch, triton: list[Played]
) -> None:
    x = torch.randn(T, B, 4).double()
    layer = rk.GRU(4, H).double()
    assert calls(pack_padded_sequence(x, [4, 3, 1]), layer) == 0
    assert calls(x[:1], layer) == 0
    assert calls(x[:, :0], layer) == 0
    odd = torch.randn(B * H + 1).double()[1:].view(1, B, H)
    assert calls(x, layer, hx=odd) == 0, "an address that kernels would treat differently"
    monkeypatch.setattr(step_graphs, "MIN_STEPS", T + 1)
    assert calls(x, layer) == 0
    monkeypatch.setattr(step_graphs, "MIN_STEPS", 2)
    monkeypatch.setattr(step_graphs.GRAPHS["cpu"], "address", None)
    assert calls(x, layer) == 0, "a capture is under way"
    monkeypatch.setattr(step_graphs.GRAPHS["cpu"], "address", 0)
    with torch.autocast("cpu", torch.bfloat16):
        assert calls(x.float(), rk.GRU(4, H)) == 0, "through the dispatcher"
    args = forward_args("gru", 1, torch.float64, (T, B, H), False, True, False)[:-1]
    for _ in range(3):
        torch.ops.rnn_kernels.recurrence(*args, "triton")
    assert not triton, "as a compiler would call it"
    assert calls(x, layer) == 1


@pytest.mark.slow
def test_a_capture_that_fails_is_told_once(
    triton: list[Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = rk.GRU(4, H).double(), torch.randn(T, B, 4).double()
    expected = step_by_step(layer, x)
    with torch.no_grad():
        layer(x)
        monkeypatch.setattr(step_graphs.GRAPHS["cpu"], "failure", "operation not permitted")
        with pytest.warns(
            UserWarning, match="no longer recorded in CUDA graphs, because of: operation"
        ):
            assert same(layer(x), expected)
        for _ in range(9):  # torch may not be what it was
            assert same(layer(x), expected)
    assert not triton and "cpu" not in step_graphs.GRAPHS


def test_off_for_who_wants_it(calls: Callable[..., int]) -> None:
    x = torch.randn(T, B, 4).double()
    rk.record_steps(False)
    try:
        assert calls(x) == 0
    finally:
        rk.record_steps(True)
    assert calls(x) == 1


@pytest.mark.slow
def test_one_thread_at_a_time(triton: list[Played], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds a graph's arrays in use runs step by step; who clears leaves it alone."""
    layer, xs = rk.GRU(4, H).double(), torch.randn(2, T, B, 4).double()
    expected, others = [step_by_step(layer, x)[0] for x in xs], []

    def meanwhile(graph: Played) -> None:
        if others and others[-1] is None:  # the other thread is in a graph, which must not be
            return
        others.append(None)

        def other() -> None:
            rk.clear_graphs()
            with rk.backend("triton"):
                others[-1] = layer(xs[1])[0]

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    layer(xs[0])
    layer(xs[0])
    monkeypatch.setattr(step_graphs.GRAPHS["cpu"], "meanwhile", meanwhile)
    for n in (1, 2):
        assert torch.equal(layer(xs[0])[0], expected[0])
        assert len(others) == n and torch.equal(others[-1], expected[1])
    assert len(triton) == 1


def lengths(layer: torch.nn.Module, *many: int) -> None:
    with torch.no_grad():
        for n in many:
            layer(torch.randn(n, B, 4).double())


@pytest.mark.slow
def test_graphs_are_few(triton: list[Played], monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is for who comes first, and after that for who comes often."""
    monkeypatch.setattr(step_graphs, "MAX_GRAPHS", 2)
    monkeypatch.setattr(step_graphs, "PERSISTENT_CALLS", 4)
    layer = rk.GRU(4, H).double()
    lengths(layer, 4, 4, 5, 5, 6, 6, 6)
    assert len(triton) == 2
    lengths(layer, 4, 6)  # for the fourth time; 5 was called longer ago than 4
    assert len(triton) == 3 and recorded() == 2
    lengths(layer, 4, 6, 4, 6)
    assert len(triton) == 3
    lengths(layer, 5, 5, 5)
    assert len(triton) == 3
    lengths(layer, 5)
    assert len(triton) == 4 and recorded() == 2


@pytest.mark.slow
def test_graphs_are_small(triton: list[Played], monkeypatch: pytest.MonkeyPatch) -> None:
    layer = rk.GRU(4, H).double()
    lengths(layer, 4, 4)
    (one,) = (e.recorded.nbytes for e in step_graphs._entries.values())
    arrays = 3 * H * H + 4 * B * (3 * H + H) + B * (3 * H + H + H) + 3 * H  # w, gx y, gh h h_n, b
    assert one == 8 * arrays
    monkeypatch.setattr(step_graphs, "MAX_BYTES", 3 * one)
    lengths(layer, *(n for n in range(5, 12) for _ in range(2)))
    assert sum(e.recorded.nbytes for e in step_graphs._entries.values() if e.recorded) <= 3 * one
    assert 1 < recorded() < 4
    monkeypatch.setattr(step_graphs, "MAX_BYTES", one - 1)
    rk.clear_graphs()
    lengths(layer, *[4] * 9)
    assert recorded() == 0


@pytest.mark.slow
def test_keys_are_forgotten(triton: list[Played], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_graphs, "MAX_KEYS", 3)
    layer = rk.GRU(4, H).double()
    lengths(layer, *range(4, 20), *range(4, 20))
    assert len(step_graphs._entries) == 3 and not triton


def test_clearing_frees_at_once(triton: list[Played]) -> None:
    lengths(rk.GRU(4, H).double(), 4, 4, 4)
    gone = weakref.ref(triton.pop())
    gc.disable()
    try:
        rk.clear_graphs()
        assert gone() is None and not step_graphs._entries
    finally:
        gc.enable()


def test_only_where_the_host_is_slower() -> None:
    """Huge batches and large products keep a GPU busy; few steps do not repay the copies."""
    worthwhile = step_graphs.worthwhile
    assert worthwhile("lstm", torch.float64, 100, (8, 256, 1))
    assert worthwhile("gru", torch.float32, 200, (32, 256, 2))
    assert worthwhile("lstm", torch.float16, 50, (32, 1024, 1))
    assert not worthwhile("lstm", torch.float32, 50, (32, 1024, 1))
    assert not worthwhile("lstm", torch.float16, 20, (4096, 512, 1))
    assert not worthwhile("lstm", torch.float64, step_graphs.MIN_STEPS - 1, (8, 256, 1))
    assert not worthwhile("lstm", torch.float64, step_graphs.MAX_STEPS + 1, (1, 16, 1))
    assert not worthwhile("gru", torch.float16, 4000, (64, 256, 2)), "a gigabyte"


def test_explain_says_so(triton: list[Played], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = rk.GRU(4, H), torch.randn(T, B, 4)
    again = "because this test wants steps; replayed from a graph from the second call on"
    (found,) = rk.explain(layer, x)
    assert found.forward.why == found.backward.why and found.forward.why.endswith(again)
    for input in (pack_padded_sequence(x, [4, 3, 1]), x[:1]):
        assert "replayed" not in str(rk.explain(layer, input)[0])
    monkeypatch.setattr(step_graphs, "MIN_STEPS", T + 1)
    assert "replayed" not in str(rk.explain(layer, x)[0])
