"""Build: setuptools for the package, CMake (through scikit-build-core) for the compiled core."""

from scikit_build_core.setuptools.wrapper import setup
from setuptools import find_packages

# The benchmarks go with the package for `python -m rnn_kernels bench`; the pages made of their
# results do not.
rooms = find_packages("benchmarks", exclude=["pages"])

setup(
    cmake_source_dir=".",
    packages=[
        *find_packages(include=["rnn_kernels", "rnn_kernels.*"]),
        "rnn_kernels.triton_kernels",
        "rnn_kernels.benchmarks",
        *(f"rnn_kernels.benchmarks.{name}" for name in rooms),
    ],
    # A top-level `triton_kernels` in site-packages would collide with Triton's own package.
    package_dir={
        "rnn_kernels": "rnn_kernels",
        "rnn_kernels.triton_kernels": "triton_kernels",
        "rnn_kernels.benchmarks": "benchmarks",
    },
    package_data={"rnn_kernels": ["py.typed"], "rnn_kernels.benchmarks.shapes": ["presets.json"]},
)
