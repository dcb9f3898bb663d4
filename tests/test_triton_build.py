"""The Triton kernels as they are compiled for a GPU. Needs none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_cuda_build import cuobjdump

SCRIPT = Path(__file__).with_name("triton_compile.py")


def compile_kernels(*arguments: object, cache: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment | {"TRITON_CACHE_DIR": str(cache)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("architecture", [80, 90])
def test_every_kernel_compiles_and_keeps_to_registers(architecture: int, tmp_path: Path) -> None:
    folder = tmp_path / "cubins"
    folder.mkdir()
    compile_kernels(architecture, folder, cache=tmp_path / "cache")
    cubins = sorted(folder.glob("*.cubin"))
    assert len(cubins) > 60
    if cuobjdump() is None:
        pytest.skip("cuobjdump is not installed: registers were not checked")
    for cubin in cubins:
        report = subprocess.run(
            [cuobjdump(), "-res-usage", cubin], capture_output=True, text=True, check=True
        ).stdout
        used = re.search(r"Function (gates_\w+):\s+REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", report)
        assert used and used[3] == used[4] == "0", report


def test_new_sizes_need_no_new_kernels(tmp_path: Path) -> None:
    """Each line counts the kernels after calls of six more sizes T and B."""
    lines = compile_kernels(90, cache=tmp_path).splitlines()
    assert len(lines) == 4
    for line in lines:
        counts = line.split()
        assert len(counts) == 6 and len(set(counts)) == 1, line
