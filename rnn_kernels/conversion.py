"""Swapping torch.nn's recurrent modules for ours inside a model, and back."""

from __future__ import annotations

import copy

from torch import nn

from .cell_modules import GRUCell, LSTMCell
from .modules import GRU, LSTM

_OURS: dict[type[nn.Module], type[nn.Module]] = {
    nn.LSTM: LSTM,
    nn.GRU: GRU,
    nn.LSTMCell: LSTMCell,
    nn.GRUCell: GRUCell,
}
_TORCH = {ours: torch for torch, ours in _OURS.items()}


def _swapped(model: nn.Module, table: dict, done: dict[nn.Module, nn.Module]) -> nn.Module:
    if model in done:
        return done[model]
    kind = table.get(type(model))
    if kind is None:
        new = model
    else:
        # Both sides keep the same attributes, so the new module takes over the very parameters,
        # hooks and flags of the old one.
        new = kind.__new__(kind)
        new.__dict__ = {
            name: copy.copy(value) if isinstance(value, (dict, list)) else value
            for name, value in model.__dict__.items()
        }
        new._compiled_call_impl = None  # that of the old module runs the old module
    done[model] = new
    for name, child in list(new._modules.items()):
        if child is not None:
            new._modules[name] = _swapped(child, table, done)
    return new


def convert(model: nn.Module) -> nn.Module:
    """Replaces every nn.LSTM, nn.GRU, nn.LSTMCell and nn.GRUCell in ``model`` by ours.

    Works in place and returns the model; if ``model`` itself is such a layer, returns its
    replacement. Parameters, hooks and training mode stay the very same objects, so optimizers
    and shared weights keep working. Subclasses are left alone, since they may have changed what
    the layer does; so are layers whose parameters are parametrized.
    """
    return _swapped(model, _OURS, {})


def to_torch(model: nn.Module) -> nn.Module:
    """The way back from :func:`convert`: replaces our layers in ``model`` by torch.nn's."""
    return _swapped(model, _TORCH, {})
