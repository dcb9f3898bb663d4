"""Triton kernels of rnn_kernels, shipped as ``rnn_kernels.triton_kernels``."""
