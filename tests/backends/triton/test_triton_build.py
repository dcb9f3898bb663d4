"""The Triton kernels as they are compiled for a GPU. Needs none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from machine_code import cuobjdump
from paths import HELPERS
from versions import needs_whole_sequences

from rnn_kernels.core.cells import CELLS

pytestmark = pytest.mark.slow
SCRIPT = HELPERS / "triton_compile.py"
SHARED = {"80": 163 << 10, "90": 227 << 10, "gfx942": 64 << 10}
# Of all precisions and both passes, so many at least fall to either cell.
TILES = {"80": 13, "90": 23, "gfx942": 6}
# Bytes of a thread in whole sequences, stored and loaded once a step: half a microsecond at most,
# and no more than smaller chunks would cost, each of which is a trip to memory.
SPILLED = 448


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of what Triton has compiled, one for all processes of a run."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "triton"


def compile_kernels(*arguments: object, cache: Path) -> list[list[str]]:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment | {"TRITON_CACHE_DIR": str(cache)},
    )
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("architecture", ["80", "90"])
def test_kernels_of_single_steps_keep_to_registers(architecture: str, cache: Path) -> None:
    kernels = compile_kernels(architecture, "gates", cache=cache)
    assert len(kernels) > (30 if architecture == "80" else 60)
    if cuobjdump() is None:
        pytest.skip("cuobjdump is not installed: registers were not checked")
    for name, registers, stack, *_ in kernels:
        # A division of float64 may be a call, with a frame of one word: 8 bytes are no spill.
        assert name.startswith("gates_") and 0 < int(registers) < 256 and int(stack) <= 8, name


@needs_whole_sequences
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("architecture", SHARED)
def test_kernels_of_whole_sequences_fit(architecture: str, cell: str, cache: Path) -> None:
    """Every tile that the planner can name: into shared memory as it says, and into registers.

    And the words that programs have for each other come after what they are about. A tile has one
    cell here and not the other: all of both take minutes, and are for those who change kernels.
    """
    kernels = compile_kernels(architecture, cell, "half", cache=cache)
    assert len(kernels) >= TILES[architecture]
    for name, registers, stack, shared, reserved, in_order in kernels:
        assert name.startswith("recurrence_"), name
        assert in_order == "True", name
        assert int(shared) <= int(reserved) <= SHARED[architecture], (name, shared, reserved)
        assert int(stack) <= SPILLED, (name, registers, stack)
        assert int(registers) > 0 or (architecture != "gfx942" and cuobjdump() is None)


def test_new_sizes_need_no_new_kernels(cache: Path) -> None:
    """Each line counts the kernels after calls of three sizes T and B."""
    lines = compile_kernels(90, "sizes", cache=cache)
    assert len(lines) == 6 * len(CELLS)
    for counts in lines:
        assert len(counts) == 3 and len(set(counts)) == 1, counts
