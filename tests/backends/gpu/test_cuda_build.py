"""The CUDA kernels as nvcc compiles them: no warning, no spill, what they are made of. No GPU."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import emulated
import pytest
from built import build, load
from machine_code import cuobjdump, machine_code
from paths import ROOT, TEST_KERNELS

from rnn_kernels.backends import BACKENDS
from rnn_kernels.core.cells import CELLS

SOURCES = ROOT / "csrc" / "cuda"
TEST_UNITS = sorted(TEST_KERNELS.glob("*.cu"))
NVCC = shutil.which("nvcc")
CUDA = BACKENDS["cuda"]
needs_nvcc = pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")
pytestmark = pytest.mark.slow


def compiled(unit: Path, folder: Path) -> Path:
    """The cubin for sm_90a; nothing to warn of."""
    cubin = folder / f"{unit.stem}.cubin"
    target = "-gencode=arch=compute_90a,code=sm_90a"
    flags = ["-std=c++20", target, "-Werror=all-warnings", "-Xcompiler=-Wall,-Wextra"]
    folders = [f"-I{SOURCES}", f"-I{SOURCES / 'recurrence'}"]
    command = [NVCC, *flags, *folders, "-cubin", "-o", cubin, unit]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return cubin


def accesses(cubin: Path) -> dict[str, Counter[str]]:
    """Global and local memory instructions of each kernel."""
    found: dict[str, Counter[str]] = {}
    for line in machine_code(cubin).splitlines():
        if match := re.search(r"Function : (\S+)", line):
            kernel = found.setdefault(match[1], Counter())
        elif match := re.search(r"\b((?:LDG|STG|LDL|STL)[.A-Z0-9]*)", line):
            kernel[match[1]] += 1
    return found


# What the extension has code for, and how many files of kernels: of each cell its gates, and its
# sequences on one block and on a grid; and one about the device. Clusters came with sm_90, and what
# one asks a device about them.
SHIPPED = {"80": 3 * len(CELLS) + 1, "90": 4 * len(CELLS) + 2}
# In the names of kernels, how many gates a cell has.
GATES = {kind.name.title().replace("_", ""): kind.gates for kind in CELLS.values()}


@needs_nvcc
@pytest.mark.skipif(cuobjdump() is None, reason="cuobjdump is not installed")
@pytest.mark.parametrize("architecture", SHIPPED)
def test_what_is_shipped_keeps_to_registers(architecture: str, tmp_path: Path) -> None:
    """Read off the extension, for compiling takes minutes; `make test` has it fail on warnings."""
    assert CUDA.kernels is not None, "nvcc is there, but the package was built without CUDA"
    extract = [cuobjdump(), "-xelf", f"sm_{architecture}.cubin", CUDA.kernels.__file__]
    subprocess.run(extract, cwd=tmp_path, check=True, capture_output=True)
    cubins = list(tmp_path.iterdir())
    assert len(cubins) == SHIPPED[architecture]
    clusters = 0
    for cubin in cubins:
        usage = [cuobjdump(), "-res-usage", cubin]
        report = subprocess.run(usage, check=True, capture_output=True, text=True).stdout
        used = re.findall(r"STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", report)
        assert used and set(used) == {("0", "0")}, report
        clusters += check_machine_code(cubin, len(used))
    assert clusters == (len(CELLS) if architecture == "90" else 0)


def check_machine_code(cubin: Path, number: int) -> bool:
    """Of so many kernels: no local memory, the instructions they are made for, wide accesses.

    True if they are for clusters, as the flag `together` in their names says.
    """
    kernels = accesses(cubin)
    clusters = any(re.search(r"recurrence_\w+Lb1E", name) for name in kernels)
    assert len(kernels) == number
    for name, instructions in kernels.items():
        assert not any(i.startswith(("LDL", "STL")) for i in instructions), (name, instructions)
    if any("recurrence_" in name for name in kernels):
        matrices_and_exchange(cubin, number, clusters)
    gates = [name for name in kernels if "gates_" in name]
    wide = {n: i for n, i in kernels.items() if re.search(r"gates_\w+Li[248]E", n)}
    assert len(wide) == (number // 2 if gates else 0)
    for name, instructions in wide.items():
        # Reset flags are single bytes.
        narrow = [i for i in instructions if "128" not in i and ".U8" not in i]
        assert instructions and not narrow, (name, instructions)
    return clusters


def matrices_and_exchange(cubin: Path, number: int, clusters: bool) -> None:
    """Each kernel multiplies with the matrix unit of its dtype; in clusters it sends, and waits."""
    functions = machine_code(cubin).split("Function : ")[1:]
    # 4 kinds of factors, forward and backward, few and many elements.
    assert len(functions) == number == 16
    for code in functions:
        name = code.split()[0]
        unit = ("HMMA.1688.F32.TF32" if re.search("RoundedIfE|5Exact", name) else
                "HMMA.16816.F32.BF16" if "bfloat16" in name else "HMMA.16816.F32")  # fmt: skip
        assert re.search(rf"\b{re.escape(unit)} ", code), name
        if "recurrence_forward" in name:
            # What a step loads is for the next one: touched at once, it would be waited for.
            loads = loads_of_a_step(code)
            (gates,) = (number for cell, number in GATES.items() if cell in name)
            elements = int(re.search(r"ELi(\d)E", name)[1])
            # Blocks of a grid also read what others have for them, part of it ahead as well.
            own = {load: use for load, use in loads.items() if "STRONG" not in load}
            untouched = [load for load, use in own.items() if not use]
            assert len(untouched) >= gates * elements, (name, loads)
            assert "_grid" in name or len(untouched) == len(loads), (name, loads)
        sent = re.search(r"\bSTAS(\.\d+)?", code)
        if clusters:
            # 16 bytes of hidden states, sums of two rows.
            assert sent and sent[1] == (".128" if "forward" in name else ".64"), name
            assert "SYNCS.PHASECHK.TRANS64.TRYWAIT" in code, name
        else:
            assert not sent and "SYNCS" not in code, name
        mail = {f"{way}.E.128.STRONG.GPU" for way in ("LDG", "STG")}
        assert {m for m in mail if m in code} == (mail if "_grid" in name else set()), name


def loads_of_a_step(code: str) -> dict[str, str]:
    """Loads from global memory in the loop over steps, and what takes each before the loop closes.

    The loop is the longest that begins before the first product and ends after it.
    """
    lines = [(int(m[1], 16), m[2]) for m in re.finditer(r"/\*([0-9a-f]{4,})\*/\s+([^;]+);", code)]
    product = next(at for at, line in lines if "HMMA" in line)
    jumps = ((at, re.search(r"BRA.*0x([0-9a-f]+)", line)) for at, line in lines)
    loops = [(at, int(to[1], 16)) for at, to in jumps if to and int(to[1], 16) <= product < at]
    end, start = max(loops, key=lambda loop: loop[0] - loop[1])
    body = [line for at, line in lines if start <= at <= end]
    found = {}
    for k, line in enumerate(body):
        if load := re.search(r"LDG\S* (R\d+)", line):
            uses = (other for other in body[k + 1 :] if re.search(rf"\b{load[1]}\b", other))
            found[line] = next(uses, "")
    return found


@needs_nvcc
def test_the_extension_imports_without_a_driver() -> None:
    """And says what it was built for."""
    assert CUDA.kernels is not None, "nvcc is there, but the package was built without CUDA"
    assert re.fullmatch(r"CUDA \d+\.\d+, sm_80 90", CUDA.built())


# What csrc/cuda/ptx is made of, by the file of tests/kernels that uses it.
INSTRUCTIONS = {
    "atomics": "LD.E.STRONG.GPU ST.E.STRONG.GPU LD.E.64.STRONG.GPU ST.E.64.STRONG.GPU "
    "LDG.E.128.STRONG.GPU STG.E.128.STRONG.GPU",
    "blocks": "BAR.SYNC BAR.ARV SR_GLOBALTIMERLO",
    "clusters": "STAS STAS.64 STAS.128 UBLKCP.S.S UCGABAR_ARV UCGABAR_WAIT",
    "copies": "LDGSTS.E LDGSTS.E.64 LDGSTS.E.BYPASS.128 UBLKCP.S.G UBLKCP.G.S FENCE.VIEW.ASYNC",
    "matrices": "HMMA.16816.F32 HMMA.16816.F32.BF16 HMMA.1688.F32.TF32 LDSM.16.MT88.4",
    "mbarriers": "SYNCS.EXCH.64 SYNCS.ARRIVE.TRANS64 SYNCS.PHASECHK.TRANS64.TRYWAIT",
}


@needs_nvcc
@pytest.mark.parametrize("unit", TEST_UNITS, ids=lambda unit: unit.stem)
def test_primitives_become_the_instructions_they_name(unit: Path, tmp_path: Path) -> None:
    cubin = compiled(unit, tmp_path)
    if cuobjdump() is None:
        pytest.skip("cuobjdump is not installed: the instructions were not checked")
    code = machine_code(cubin)
    for instruction in INSTRUCTIONS.get(unit.stem, "").split():
        assert re.search(rf"\b{re.escape(instruction)}\b", code), instruction


@needs_nvcc
def test_kernels_for_tests_are_built_for_gpus_too() -> None:
    names = load(build("kernels", "kernels"), "_kernels").names()
    assert names == emulated.kernels().names() and "mma float16" in names
