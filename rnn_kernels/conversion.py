"""Swapping torch.nn's recurrent modules for ours inside a model, and back.

Both sides keep the same attributes, so that a module changes sides by changing its class: it stays
the very object that hooks, optimizers, lists and wrappers know.
"""

from __future__ import annotations

import copyreg
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from .modules.cells import GRUCell, LSTMCell
from .modules.layers import GRU, LSTM
from .modules.tools import Joined, Toolable, full_name, original, parametrized

_CLASSES: tuple[type[Toolable], ...] = (LSTM, GRU, LSTMCell, GRUCell)
_OURS: dict[type[nn.Module], type[nn.Module]] = {ours.stands_in_for: ours for ours in _CLASSES}
# What torch.nn's forward calls besides its kernel.
_INNER = {
    "check_input",
    "check_hidden_size",
    "check_forward_args",
    "get_expected_hidden_size",
    "permute_hidden",
}
_JOINED: dict[type[nn.Module], type[nn.Module]] = {}  # one class for each, made when needed
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


def _blank(kind: type[nn.Module]) -> nn.Module:
    joined = _joined(kind)
    return joined.__new__(joined)


def _again(make: Callable[..., nn.Module], args: tuple[Any, ...]) -> nn.Module:
    """What a class with a way of its own to be pickled makes, converted as it was."""
    module = make(*args)
    if not _is_ours(module):
        module.__class__ = _joined(type(module))
    return module


def _joined(kind: type[nn.Module]) -> type[nn.Module]:
    """A class that is ``kind``, torch.nn's layer or a subclass, and runs on ours.

    What ``kind`` defines comes first; its ``super()``, and whatever it does not define, is ours.
    ``kind`` is the first base as well, because Python lays instances out as the first base's are.
    """
    if kind in _JOINED:
        return _JOINED[kind]
    base = next(torch for torch in _OURS if issubclass(kind, torch))
    ours = _OURS[base]

    def reduced(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
        # This class has no name to be found by; the one it stands for has.
        made: Any = kind.__reduce_ex__(self, protocol)
        make, args, *state = made
        if make is copyreg.__newobj__:  # type: ignore[attr-defined]
            return _blank, (kind,), *state
        return _again, (kind if make is joined else make, args), *state

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "stands_for": kind,
             "__reduce_ex__": reduced}  # fmt: skip
    bases = (ours, base, Joined) if kind is base else (kind, ours, base, Joined)
    joined = _JOINED[kind] = type(kind.__name__, bases, names)
    return joined


def _obstacle(module: nn.Module) -> str | None:
    """Why a recurrent module of torch's has to stay as it is."""
    kind = type(module)
    if kind.__module__.startswith(("torch.ao.", "torch.nn.quantiz")):
        return "it is quantized"
    if not isinstance(module, _RECURRENT):
        return "TorchScript has compiled it: convert before torch.jit.script"
    if not isinstance(module, tuple(_OURS)):
        return "there are kernels for the LSTM and the GRU alone"
    if "forward" in vars(module):
        return "its forward was replaced on the instance"
    theirs = next((c for c in kind.__mro__ if c not in _OURS and _INNER & vars(c).keys()), None)
    if theirs is not None and theirs not in _RECURRENT:
        return f"{theirs.__name__} overrides what torch.nn's forward calls, and ours does not"
    if any(c.__name__ == "FSDPModule" for c in kind.__mro__):
        return "fully_shard has sharded it: convert before"
    return None


def _is_recurrent(module: nn.Module) -> bool:
    """Whether a module is a recurrent layer, in whichever form."""
    names = {"RNN", "RNNCell", *(kind.__name__ for kind in _OURS)}
    foreign = type(module).__module__.startswith("torch.ao.") and type(module).__name__ in names
    return (
        isinstance(module, _RECURRENT) or foreign or getattr(module, "original_name", "") in names
    )


def _is_ours(module: nn.Module) -> bool:
    return isinstance(module, _CLASSES)


def _converted(kind: type[nn.Module], is_parametrized: bool) -> type[nn.Module]:
    if is_parametrized:
        return parametrized(kind, _converted(kind.__bases__[0], False))
    return _OURS.get(kind) or _joined(kind)


def _told(name: str, kind: type, outcome: str) -> str:
    return f"{name or '(the model itself)'}: {full_name(kind)} {outcome}"


def convert(model: nn.Module, report: Callable[[str], object] | None = None) -> nn.Module:
    """Makes every nn.LSTM, nn.GRU, nn.LSTMCell and nn.GRUCell in ``model`` one of ours.

    Works in place and returns the model. Modules stay the very same objects, and so do parameters,
    hooks and training mode: optimizers, shared layers and wrappers keep working.

    A subclass of these four becomes a class that is both: what it defines itself is kept, and what
    it inherits, or reaches through ``super()``, is ours. Only where it calls torch's kernels by
    itself does nothing change. Parametrized layers keep their parametrizations.

    Args:
        model: the model, or one layer.
        report: called with a line for every recurrent layer found: what became of it, or why it
            was left. ``report=print`` prints them.

    Warns:
        UserWarning: layers were left as they are, and there was no ``report`` to say why. Those are
            vanilla RNNs, layers quantized, scripted or sharded already, and such whose ``forward``
            was replaced on the instance.
    """
    left = []
    for name, module in model.named_modules():
        kind = type(module)
        if not _is_recurrent(module) or _is_ours(module):
            continue
        why = _obstacle(module) or _refusal(module)
        if why is None:
            line = _told(name, kind, f"now runs on rnn_kernels.{_ours_of(module).__name__}")
        else:
            line = _told(name, kind, f"is left: {why}")
            left.append(line)
        if report is not None:
            report(line)
    if left and report is None:
        warnings.warn("convert: " + "; ".join(left), stacklevel=2)
    return model


def _refusal(module: nn.Module) -> str | None:
    """Gives a module its new class; the reason where Python will not."""
    try:
        module.__class__ = _converted(type(module), parametrize.is_parametrized(module))
    except TypeError as error:
        return f"its class cannot be changed: {error}"
    return None


def _ours_of(module: nn.Module) -> type[nn.Module]:
    return next(ours for ours in _CLASSES if isinstance(module, ours))


def to_torch(model: nn.Module) -> nn.Module:
    """The way back from :func:`convert`: makes our layers in ``model`` torch.nn's again.

    Warns:
        UserWarning: a subclass of one of ours has nothing in torch.nn to become, and was left.
    """
    for name, module in model.named_modules():
        if not _is_ours(module):
            continue
        kind = original(type(module), parametrize.is_parametrized(module))
        if kind is None:
            line = _told(name, type(module), "is left: it is a subclass of a layer of ours")
            warnings.warn(f"to_torch: {line}", stacklevel=2)
        else:
            module.__class__ = kind
    return model


@contextmanager
def posing_as_torch(model: nn.Module) -> Iterator[nn.Module]:
    """Inside, our layers in ``model`` are instances of torch.nn's classes as well.

    For libraries that ask ``isinstance(m, torch.nn.LSTM)`` while they run. The layers stay ours in
    all they do, except that torch.compile breaks its graph at them, as at torch.nn's. Exact types
    (``type(m) is torch.nn.LSTM``) need :func:`to_torch`.
    """
    posing = []
    for module in model.modules():
        kind = type(module)
        wrapped = parametrize.is_parametrized(module)
        theirs = original(kind, wrapped) if _is_ours(module) else None
        if theirs is not None and not isinstance(module, tuple(_OURS)):
            module.__class__ = (
                parametrized(kind, _joined(theirs.__bases__[0])) if wrapped else _joined(theirs)
            )
            posing.append((module, kind, type(module)))
    try:
        yield model
    finally:
        for module, kind, posed in posing:
            if type(module) is posed:
                module.__class__ = kind
