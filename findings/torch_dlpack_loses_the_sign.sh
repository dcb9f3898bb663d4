#!/usr/bin/env bash
# torch 2.13.0 (CPU build), apache-tvm-ffi 0.1.15.post2, numpy 2.4.6, Python 3.11: what DLPack hands over may have the wrong sign.
#
# Seen: torch conjugates lazily. z.conj() leaves the memory as it is and sets a mark, and so does the
# real tensor z.conj().imag. torch.Tensor.__dlpack__ refuses the first with a BufferError and lets the
# second pass, so that numpy.from_dlpack gets values of the opposite sign. DLPack's C exchange
# (__dlpack_c_exchange_api__, which tvm_ffi calls) refuses neither: both arrive wrong, without a word.
# Why a good guess is wrong: t.numpy() raises for both, and __dlpack__ shows that torch knows of the
# danger. The faster protocol, made for kernels that are handed torch's tensors, should refuse what
# the slower one refuses. The imaginary part of a conjugated spectrum is a common input of a
# recurrent layer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.13.0 apache-tvm-ffi==0.1.15.post2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy
import torch
import tvm_ffi


def by_numpy(t):
    return torch.from_numpy(numpy.from_dlpack(t).copy())


def by_tvm_ffi(t):
    return torch.from_dlpack(tvm_ffi.from_dlpack(t)).clone()


z = torch.fft.rfft(torch.tensor([1.0, 2.0, 4.0, 8.0]))
for name, t in {"z.conj()": z.conj(), "z.conj().imag": z.conj().imag}.items():
    print(f"{name} is {t.resolve_neg().resolve_conj().tolist()}")
    for way in (by_numpy, by_tvm_ffi):
        try:
            found = way(t)
            print(f"  {way.__name__:10s} {found.tolist()}")
            wrong = not torch.equal(found, t)
        except BufferError as error:
            print(f"  {way.__name__:10s} BufferError: {error}")
            wrong = False
        expected = (name, way) != ("z.conj()", by_numpy)
        assert wrong == expected, f"{way.__name__} of {name} has changed"
PYTHON
