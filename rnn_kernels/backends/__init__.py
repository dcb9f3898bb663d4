"""The backends, and which of them runs a call."""

from .dispatch import BACKENDS, backend, choose, refusals, requested

__all__ = ["BACKENDS", "backend", "choose", "refusals", "requested"]
