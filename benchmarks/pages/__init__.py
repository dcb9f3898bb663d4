"""The pages: docs/performance.md, its pictures, and the tables of README.md and docs/cpu.md, from
results files alone: `python -m benchmarks.pages`.
"""
