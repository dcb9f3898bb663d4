"""Benchmarks of rnn_kernels on shapes that real projects use: `python -m benchmarks.run --help`.

A new preset is one line in presets.json; a new provider is one class and one line in providers.py.
"""
