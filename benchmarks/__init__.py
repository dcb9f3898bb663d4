"""Benchmarks of rnn_kernels.

`python -m benchmarks.run` measures shapes that real projects use, `.grid` sizes on a CPU for
docs/cpu.md, `.sweep` one size at a time with memory and overhead, `.machine` what the machine can
do, `.cuts` the planner of the CUDA kernels, `.compare` another commit; `.status` says which files
are stale, `.pages` writes the pages. Each has --help. `python -m rnn_kernels bench` is `own.py`.

A new preset is one line in shapes/presets.json; a new provider is one class and one line in
providers/table.py.
"""
