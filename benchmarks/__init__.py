"""Benchmarks of rnn_kernels: `python -m benchmarks.run --help` on shapes that real projects use,
`python -m benchmarks.grid --help` over sizes on a CPU, beside other libraries, `python -m
benchmarks.sweep --help` over sizes for the design of the kernels.

A new preset is one line in presets.json; a new provider is one class and one line in providers.py.
"""
