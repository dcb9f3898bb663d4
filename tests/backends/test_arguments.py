"""How the compiled core reads a call's arguments: tensors and numbers by name."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_kernels.core.compiled import core

EXCHANGE = "__dlpack_c_exchange_api__"
KIND = (Tensor, nn.Parameter, torch.float32)


class Wrapper(Tensor):
    """A tensor with no memory of its own."""

    @staticmethod
    def __new__(cls, *shape: int) -> Wrapper:
        return Tensor._make_wrapper_subclass(cls, shape)

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise AssertionError(f"{function} asks for its values")

    __repr__ = object.__repr__


def gates(**changed: Any) -> dict[str, Any]:
    """The arguments of an LSTM's gates, with all values 0 but the state."""
    shapes = {"gx": 8, "gh": 8, "h": 2, "c": 2}
    arrays = {name: torch.zeros(1, width) for name, width in shapes.items()}
    return arrays | {"state": torch.ones(1, 2), "rows": 1, "H": 2} | changed


def run(arrays: dict[str, Any]) -> None:
    core.gates_forward("lstm", "float32", 1, arrays)


def test_arrays_are_tensors_or_addresses() -> None:
    """c is σ(0)·1 + σ(0)·tanh(0)."""
    by_tensor, by_address = gates(c_all=None), gates()
    run(by_tensor)
    numbers = {k: t.data_ptr() if isinstance(t, Tensor) else t for k, t in by_address.items()}
    run(numbers)
    for arrays in (by_tensor, by_address):
        torch.testing.assert_close(arrays["c"], torch.full((1, 2), 0.5), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("gz", None, TypeError, "this call has no field 'gz'"),
        ("gx", "here", TypeError, "field gx cannot be 'here'"),
        ("gx", -1, TypeError, "field gx cannot be -1"),
        ("rows", 1.5, TypeError, "field rows cannot be 1.5"),
        ("gx", Wrapper(1, 8), RuntimeError, "kernels need tensors with memory"),
        ("gx", torch.eye(8).to_sparse(), RuntimeError, "storage"),
    ],
    ids=["unknown", "text", "negative", "fraction", "wrapper", "sparse"],
)
def test_bad_arguments(name: str, value: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        run(gates(**{name: value}))


def freed() -> Tensor:
    t = torch.ones(2, 3)
    t.untyped_storage().resize_(0)
    return t


ONES = torch.ones(2, 3)
THERE = {
    "none": None,
    "plain": ONES,
    "parameter": nn.Parameter(ONES),
    "part": torch.ones(4, 3)[1:3],
}
ELSEWHERE = {
    "double": ONES.double(),
    "bfloat16": ONES.bfloat16(),
    "integers": ONES.int(),
    "complex": ONES.cfloat(),
    "other shape": torch.ones(3, 2),
    "more dimensions": ONES[None],
    "transposed": torch.ones(3, 2).T,
    "sign to be flipped": torch._neg_view(ONES),
    "meta": ONES.to("meta"),
    "sparse": ONES.to_sparse(),
    "freed": freed(),
    "wrapper": Wrapper(2, 3),
    "no tensor": "ones",
}


def found(
    *tensors: Any, shape: tuple[int, ...] = (2, 3), device: torch.device | None = None
) -> bool:
    return core.in_memory(KIND, "float32", device, tuple(("", t, shape) for t in tensors))


@pytest.mark.parametrize("name", [*THERE, *ELSEWHERE])
def test_what_is_in_memory(name: str) -> None:
    assert found(ONES, (THERE | ELSEWHERE)[name]) == (name in THERE)


ORDERED = {"double", "bfloat16", "integers", "complex", "other shape", "more dimensions", "freed"}


@pytest.mark.parametrize("name", [*THERE, *(name for name in ELSEWHERE if name != "meta")])
def test_what_is_in_order(name: str) -> None:
    """Of any dtype and shape."""
    ordered = name in ORDERED or name in THERE
    assert core.in_order(*KIND[:2], (ONES, (THERE | ELSEWHERE)[name])) == ordered


def test_where_a_stride_does_not_count() -> None:
    one, none = torch.ones(4, 3)[:1, :1], torch.ones(4, 3)[:, :0]
    assert found(one, shape=(1, 1)) and core.in_order(*KIND[:2], (one, none))
    assert not found(none, shape=(4, 0))  # it has no memory


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtypes(dtype: torch.dtype) -> None:
    t, name = torch.ones(2).to(dtype), str(dtype).removeprefix("torch.")
    assert core.in_memory((Tensor, nn.Parameter, dtype), name, None, (("t", t, (2,)),))


def test_the_tensors_of_another_device_are_elsewhere() -> None:
    there = torch.device("cuda", 0)
    assert not found(ONES, device=there)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(Tensor, EXCHANGE), reason="it is this torch")
def test_a_torch_without_exchange() -> None:
    """Before 2.10 tensors are asked attribute by attribute."""
    here = Path(__file__).parent
    files = [__file__, str(here.parent / "execution/test_streaming.py")]
    code = f"""
        import sys, pytest, torch
        del torch.Tensor.{EXCHANGE}
        sys.exit(pytest.main(["-q", "-p", "no:xdist", "-m", "not slow and not emulated", *{files}]))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=here.parents[1])
    assert done.returncode == 0, done.stdout
