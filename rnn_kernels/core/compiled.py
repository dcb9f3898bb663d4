"""The compiled core, which everything but the CPU backend does without if need be."""

from __future__ import annotations

try:
    from .. import _core as core

    missing = ""
except ImportError as error:  # a source tree that was never built
    core, missing = None, str(error)
