"""Build: setuptools for the package, CMake (through scikit-build-core) for the compiled core."""

from scikit_build_core.setuptools.wrapper import setup

setup(
    cmake_source_dir=".",
    packages=["rnn_kernels", "rnn_kernels.triton_kernels"],
    # A top-level `triton_kernels` in site-packages would collide with Triton's own package.
    package_dir={"rnn_kernels": "rnn_kernels", "rnn_kernels.triton_kernels": "triton_kernels"},
    package_data={"rnn_kernels": ["py.typed"]},
)
