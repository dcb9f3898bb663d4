"""Compiled CUDA kernels as machine code."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path


def cuobjdump() -> str | None:
    """From the toolkit, or the one that Triton brings along."""
    triton = importlib.util.find_spec("triton")
    own = Path(triton.origin).parent / "backends" / "nvidia" / "bin" if triton else Path()
    return shutil.which("cuobjdump") or shutil.which("cuobjdump", path=str(own))


def machine_code(cubin: Path) -> str:
    """The instructions of all its kernels."""
    command = [cuobjdump(), "-sass", cubin]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
