"""The Triton backend: what it finds on this machine."""

from __future__ import annotations

from importlib import metadata


def unavailable() -> str | None:
    """Why this backend cannot run on this machine, or None."""
    try:
        metadata.version("triton")
    except metadata.PackageNotFoundError:
        return 'Triton is not installed: pip install "rnn_kernels[triton]"'
    return "this version has no recurrence kernels for Triton yet"
