"""The CUDA backend on the CPU: csrc/cuda compiled as ordinary C++ against tests/emulation."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import ModuleType

import pybind11

from rnn_kernels import cuda

ROOT = Path(__file__).parents[1]
SHIMS = ROOT / "tests" / "emulation"
BUILDS = ROOT / "build" / "emulated"
COMPILER = os.environ.get("CXX", "g++")
FLAGS = ["-std=c++20", "-O1", "-fPIC", "-ffp-contract=fast", "-Wno-attributes"]


@cache
def module() -> ModuleType:
    """The emulated ``_cuda``, built unless a build of these very sources is there."""
    library = _built()
    spec = importlib.util.spec_from_file_location("_cuda", library)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def _built() -> Path:
    sources = sorted(p for f in (ROOT / "csrc", SHIMS) for p in f.rglob("*") if p.is_file())
    text = b"".join(p.read_bytes() for p in [*sources, Path(__file__)])
    folder = BUILDS / hashlib.sha256(text).hexdigest()[:16]
    library = folder / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    includes = [SHIMS, pybind11.get_include(), sysconfig.get_path("include")]
    command = [COMPILER, *FLAGS, *(f"-I{path}" for path in includes), "-c", "-x", "c++"]
    units = [p for p in sources if p.parent.name == "cuda" and p.suffix in (".cu", ".cpp")]
    objects = [folder / f"{unit.name}.o" for unit in units]
    running = [
        subprocess.Popen([*command, '-DRNN_CUDA_ARCHITECTURES="emulated"', unit, "-o", out])
        for unit, out in zip(units, objects, strict=True)
    ]
    if any([process.wait() for process in running]):
        raise RuntimeError(f"{COMPILER} could not compile csrc/cuda for the CPU, see above")
    unfinished = library.with_suffix(".part")
    subprocess.run([COMPILER, "-shared", *objects, "-o", unfinished], check=True)
    return unfinished.rename(library)


@cache
def backend() -> ModuleType:
    """rnn_kernels.cuda once more, on the emulated kernels and on tensors of the CPU."""
    spec = importlib.util.spec_from_file_location("rnn_kernels.emulated", cuda.__file__)
    copy = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    copy._cuda, copy._DEVICE_TYPE = module(), "cpu"
    copy._stream = lambda device: (0, 0)
    copy.unavailable = lambda: None
    return copy
