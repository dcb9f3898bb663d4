"""The package as it is built and installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from paths import ROOT
from processes import python

SOURCES = ["setup.py", "pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE"]
FOLDERS = ["csrc", "rnn_kernels", "triton_kernels", "benchmarks"]

SMOKE = """
import sys, torch, rnn_kernels
for optional in ("tqdm", "matplotlib", "numpy", "onnx", "pytest"):  # none that bench needs
    sys.modules[optional] = None
from rnn_kernels import triton_kernels
assert rnn_kernels.__file__.startswith(sys.argv[1]), rnn_kernels.__file__
assert triton_kernels.__file__.startswith(sys.argv[1]), triton_kernels.__file__
with rnn_kernels.backend("cpu"):
    layer = rnn_kernels.convert(torch.nn.Sequential(torch.nn.LSTM(3, 20)))
    layer(torch.randn(4, 2, 3))[0].sum().backward()
from rnn_kernels.__main__ import main
from rnn_kernels.benchmarks import own
from rnn_kernels.benchmarks.measuring.timing import Effort
own.EFFORTS["cpu"] = Effort(budget_s=0, min_rounds=2, patience_s=0)
assert main(["bench", "--hidden", "7", "--time", "3", "--inference", "--device", "cpu"]) == 0
print("works")
"""


def test_the_core_knows_no_torch() -> None:
    sources = [p for p in (ROOT / "csrc").rglob("*") if p.is_file()]
    assert len(sources) > 10
    for source in sources:
        includes = [line for line in source.read_text().splitlines() if "#include" in line]
        assert not any(name in line for line in includes for name in ("torch", "ATen", "c10"))


@pytest.mark.slow
@pytest.mark.support("wheels built under isolation, for any torch", "all")
def test_a_wheel_works_outside_the_source_tree(tmp_path: Path) -> None:
    """From a clean copy of the sources, under build isolation."""
    tree, wheels, site = tmp_path / "tree", tmp_path / "wheels", tmp_path / "site"
    tree.mkdir()
    for name in SOURCES:
        shutil.copy(ROOT / name, tree)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("*.so", "__pyc*"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    # Without the CUDA part, and not optimised: compiling takes minutes, and what comes out of it is
    # part of every installation.
    quick = os.environ | {"RNN_KERNELS_CUDA": "0", "SKBUILD_CMAKE_BUILD_TYPE": "Debug"}
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", wheels, tree], check=True, env=quick)
    (wheel,) = wheels.glob("rnn_kernels-*.whl")
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"rnn_kernels"}
    files = zipfile.ZipFile(wheel).namelist()
    assert "rnn_kernels/benchmarks/own.py" in files
    assert not any("benchmarks/pages" in name or name.endswith(".csv") for name in files)
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", site, wheel], check=True)
    done = python(SMOKE, str(site), PYTHONPATH=str(site))
    assert done.stdout.endswith("works\n"), done.stderr
    assert "LSTM I 64, H 7, L 1, D 1, B 32, T 3" in done.stdout and "reference" in done.stdout


@pytest.mark.slow
def test_imports_without_the_compiled_core() -> None:
    """A source tree that was never built still imports, says why, and runs the reference."""
    script = (
        "import sys; sys.modules['rnn_kernels._core'] = sys.modules['rnn_kernels._cuda'] = None\n"
        "import torch, rnn_kernels as rk\n"
        "from rnn_kernels import info\n"
        "from rnn_kernels.backends import dispatch\n"
        "print(dispatch.choose('gru', torch.float32, 'cpu', False))\n"
        "print(rk.GRU(3, 4)(torch.randn(2, 1, 3))[0].shape)\n"
        "print(*info.lines(), sep='\\n')\n"
    )
    done = python(script)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["reference", "torch.Size([2, 1, 4])"], done.stderr
    for name, why in (("cpu", "the compiled core did not load"), ("cuda", "built without CUDA")):
        assert any(t.startswith(f"  {name} ") and "off: " in t and why in t for t in lines), lines
