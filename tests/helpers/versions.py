"""Which versions of torch and Triton these are, for tests that need newer ones."""

from __future__ import annotations

from importlib import import_module

import pytest


def version(package: str) -> tuple[int, ...]:
    """Its first two numbers; none where it is not installed."""
    try:
        return tuple(map(int, import_module(package).__version__.split(".")[:2]))
    except ImportError:
        return ()


TORCH, TRITON = version("torch"), version("triton")
# Of the compiler: 2.6 knows no PackedSequence; versions in between were not tried.
RECENT_COMPILER = TORCH >= (2, 9)
needs_recent_compiler = pytest.mark.skipif(
    not RECENT_COMPILER, reason="torch's compiler was not ready for it"
)
# Asked of the package: facts of a GPU are none of the collection's business.
OLD_TRITON = TRITON < (3, 5)
needs_whole_sequences = pytest.mark.skipif(OLD_TRITON, reason="it needs Triton 3.5")
