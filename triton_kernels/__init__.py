"""Triton kernels: cells.py has the math of one unit, gates.py the kernels that apply it."""
