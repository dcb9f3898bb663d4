"""Torch's own inputs and error inputs for LSTM, GRU and their cells, which ship in its wheel."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rnn_kernels as rk

common_modules = pytest.importorskip("torch.testing._internal.common_modules")
NAMES = ["LSTM", "GRU", "LSTMCell", "GRUCell"]
INFOS = {
    i.module_cls.__name__: i
    for i in common_modules.module_db
    if i.module_cls in [getattr(nn, name) for name in NAMES]
}


def made(value: object) -> tuple[tuple, dict]:
    return value.args, value.kwargs


def test_torch_has_inputs_for_all_of_them() -> None:
    assert sorted(INFOS) == sorted(NAMES)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_inputs(name: str, training: bool) -> None:
    info = INFOS[name]
    inputs = info.module_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=True, training=training
    )
    assert inputs
    for case in inputs:
        args, kwargs = made(case.constructor_input)
        torch.manual_seed(1)
        theirs = getattr(nn, name)(*args, **kwargs).double().train(training)
        torch.manual_seed(1)
        ours = getattr(rk, name)(*args, **kwargs).double().train(training)
        args, kwargs = made(case.forward_input)
        torch.testing.assert_close(ours(*args, **kwargs), theirs(*args, **kwargs))


@pytest.mark.parametrize("name", NAMES)
def test_error_inputs(name: str) -> None:
    info = INFOS[name]
    if info.module_error_inputs_func is None:
        pytest.skip(f"torch has no error inputs for {name}")
    cases = info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=False, training=False
    )
    assert cases
    for case in cases:
        args, kwargs = made(case.module_error_input.constructor_input)
        if case.error_on is common_modules.ModuleErrorEnum.CONSTRUCTION_ERROR:
            with pytest.raises(case.error_type, match=case.error_regex):
                getattr(rk, name)(*args, **kwargs)
            continue
        module = getattr(rk, name)(*args, **kwargs)
        args, kwargs = made(case.module_error_input.forward_input)
        with pytest.raises(case.error_type, match=case.error_regex):
            module(*args, **kwargs)
