"""Files that an older version wrote are read by this one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from layers import flat
from old_models import Doubled
from torch import nn

import rnn_kernels as rk

FILE = Path(__file__).parent / "data" / "layers-0.1.0.pt"
KINDS = {"LSTM": rk.LSTM, "GRU": rk.GRU, "LSTMCell": rk.LSTMCell, "GRUCell": rk.GRUCell}
# Instruction sets of one processor sum in other orders than those of another.
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def read(file: Any) -> Any:
    return torch.load(file, weights_only=False)


@pytest.fixture
def saved() -> dict[str, Any]:
    """Modules with what they once gave for ``x``."""
    return read(FILE)


def input_of(kind: str, saved: dict[str, Any]) -> torch.Tensor:
    return saved["x"][0] if kind.endswith("Cell") else saved["x"]


@pytest.mark.parametrize("kind", KINDS)
def test_modules(kind: str, saved: dict[str, Any]) -> None:
    module = saved["modules"][kind]
    assert type(module) is KINDS[kind]
    found = flat(module(input_of(kind, saved)))
    torch.testing.assert_close(found, flat(saved["outputs"][kind]), **CLOSE)


def test_converted_modules(saved: dict[str, Any]) -> None:
    layer, subclass = saved["converted"]
    assert type(layer) is rk.LSTM
    assert isinstance(subclass, Doubled) and isinstance(subclass, rk.LSTM)
    for module, expected in zip(saved["converted"], saved["of_converted"], strict=True):
        torch.testing.assert_close(flat(module(saved["x"])), flat(expected), **CLOSE)
    theirs = rk.to_torch(saved["converted"])
    assert [type(module) for module in theirs] == [nn.LSTM, Doubled]
    for module, expected in zip(theirs, saved["of_converted"], strict=True):
        torch.testing.assert_close(flat(module(saved["x"])), flat(expected), **CLOSE)


def test_state_dicts(saved: dict[str, Any]) -> None:
    modules = nn.ModuleDict(
        {
            "LSTM": rk.LSTM(3, 4, num_layers=2, bidirectional=True),
            "GRU": rk.GRU(3, 4, bias=False),
            "LSTMCell": rk.LSTMCell(3, 4),
            "GRUCell": rk.GRUCell(3, 4),
        }
    )
    modules.load_state_dict(saved["state"])
    for kind, module in modules.items():
        found = flat(module(input_of(kind, saved)))
        torch.testing.assert_close(found, flat(saved["outputs"][kind]), **CLOSE)


def test_what_was_read_is_written_and_read_again(saved: dict[str, Any]) -> None:
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    again = read(file)
    for name, expected in (("modules", "outputs"), ("converted", "of_converted")):
        pairs = zip(saved[name].modules(), again[name].modules(), strict=True)
        assert all(type(a) is type(b) for a, b in pairs)
        assert saved[expected] and len(again[expected]) == len(saved[expected])
    for kind, module in again["modules"].items():
        found, before = (one(input_of(kind, saved)) for one in (module, saved["modules"][kind]))
        assert all(map(torch.equal, flat(found), flat(before)))


@pytest.mark.parametrize("kind", KINDS)
def test_modules_of_today(kind: str) -> None:
    """Pickled and read again: the same class, the same options, the same results."""
    options = {} if kind.endswith("Cell") else {"num_layers": 2, "bidirectional": True}
    module, file = KINDS[kind](3, 4, bias=False, **options), io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    again = read(file)
    assert type(again) is KINDS[kind] and repr(again) == repr(module)
    x = torch.randn(2, 3) if kind.endswith("Cell") else torch.randn(5, 2, 3)
    assert all(map(torch.equal, flat(again(x)), flat(module(x))))


def test_modules_converted_today() -> None:
    converted, file = rk.convert(nn.ModuleList([nn.GRU(3, 4), Doubled(3, 4)])), io.BytesIO()
    torch.save(converted, file)
    file.seek(0)
    again, x = read(file), torch.randn(5, 2, 3)
    for before, after in zip(converted, again, strict=True):
        assert type(after) is type(before)
        assert all(map(torch.equal, flat(after(x)), flat(before(x))))
