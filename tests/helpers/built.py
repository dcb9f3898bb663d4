"""Compiled modules for tests, built when they are first asked for and when their sources change."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import ModuleType

import pybind11
from paths import ROOT


@cache
def build(project: str, name: str, *options: str) -> Path:
    """The folder build/``name``, with what the CMake project tests/``project`` makes."""
    folder = ROOT / "build" / f"{name}-{sys.implementation.cache_tag}"
    folder.mkdir(parents=True, exist_ok=True)
    configure = [
        _tool("cmake"), "-G", "Ninja", "-S", ROOT / "tests" / project, "-B", folder,
        f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        *options,
    ]  # fmt: skip
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        for command in (configure, [_tool("cmake"), "--build", folder]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"could not build tests/{project}:\n{done.stdout}{done.stderr}")
    return folder


def load(folder: Path, name: str) -> ModuleType:
    """The extension module of that name in that folder."""
    path = folder / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    # A name of its own, or pybind11 takes one folder's module for another's.
    spec = importlib.util.spec_from_file_location(f"{folder.name}.{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _tool(name: str) -> str:
    beside_python = os.path.dirname(sys.executable)
    found = shutil.which(name, path=os.pathsep.join((beside_python, os.environ["PATH"])))
    if found is None:
        raise RuntimeError(f"{name} is missing: pip install {name}")
    return found
