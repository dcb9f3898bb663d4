"""The cells in Triton: forward and backward of one step, on tiles of rows and units.

A cell is two functions, ``NAME`` and ``NAME_backward``, and a line in each of the two below them.
It has up to four gates and keeps up to four values for its backward; what it has fewer of it leaves
alone, and fills with anything. Tiles come one by one and a cell by its name, because Triton 3.2
takes neither tuples nor functions as arguments.
"""

import triton
import triton.language as tl


@triton.jit
def sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):
    """Within 2 ulp of one for all x; for small x in float32 within 2 ulp of the result."""
    y = 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)
    if x.dtype == tl.float32:  # where the difference above cancels; Cephes' coefficients
        z = x * x
        p = -5.70498872745e-3 * z + 2.06390887954e-2
        p = p * z - 5.37397155531e-2
        p = p * z + 1.33314422036e-1
        p = p * z - 3.33332819422e-1
        y = tl.where(z < 0.390625, x + x * z * p, y)
    return y


@triton.jit
def lstm(x0, x1, x2, x3, r0, r1, r2, r3, h, c):
    """torch.nn.LSTM's cell; gate order i f g o."""
    i = sigmoid(x0 + r0)
    f = sigmoid(x1 + r1)
    g = tanh(x2 + r2)
    o = sigmoid(x3 + r3)
    c = f * c + i * g
    return o * tanh(c), c, i, f, g, o


@triton.jit
def lstm_backward(i, f, g, o, h, c_before, c, dh, dc):
    m = tanh(c)
    dc += dh * o * (1.0 - m * m)
    di = dc * g * i * (1.0 - i)
    df = dc * c_before * f * (1.0 - f)
    dg = dc * i * (1.0 - g * g)
    do = dh * m * o * (1.0 - o)
    return tl.zeros_like(dh), dc * f, di, df, dg, do, do


@triton.jit
def gru(x0, x1, x2, x3, r0, r1, r2, r3, h, c):
    """torch.nn.GRU's cell; gate order r z n."""
    r = sigmoid(x0 + r0)
    z = sigmoid(x1 + r1)
    n = tanh(x2 + r * r2)
    return n + z * (h - n), c, r, z, n, r2


@triton.jit
def gru_backward(r, z, n, a, h, c_before, c, dh, dc):
    dn = dh * (1.0 - z) * (1.0 - n * n)
    dr = dn * a * r * (1.0 - r)
    dz = dh * (h - n) * z * (1.0 - z)
    return dh * z, dc, dr, dz, dn, dn, dn * r


@triton.jit
def rnn_tanh(x0, x1, x2, x3, r0, r1, r2, r3, h, c):
    """torch.nn.RNN's cell with tanh."""
    h = tanh(x0 + r0)
    return h, c, h, h, h, h


@triton.jit
def rnn_tanh_backward(h_new, s1, s2, s3, h, c_before, c, dh, dc):
    dx = dh * (1.0 - h_new * h_new)
    return tl.zeros_like(dh), dc, dx, dx, dx, dx, dx


@triton.jit
def forward(CELL: tl.constexpr, x0, x1, x2, x3, r0, r1, r2, r3, h, c):
    """The new h and c, and the saved values.

    From input half x and recurrent half r of each gate, h and c before the step.
    """
    if CELL == "lstm":
        return lstm(x0, x1, x2, x3, r0, r1, r2, r3, h, c)
    elif CELL == "gru":
        return gru(x0, x1, x2, x3, r0, r1, r2, r3, h, c)
    elif CELL == "rnn_tanh":
        return rnn_tanh(x0, x1, x2, x3, r0, r1, r2, r3, h, c)
    else:
        tl.static_assert(False, "cells.forward does not know this cell")


@triton.jit
def backward(CELL: tl.constexpr, s0, s1, s2, s3, h, c_before, c, dh, dc):
    """The share of dh that passes by W_hh, dc before the step, the gradient of each gate, and that
    of the last gate's recurrent half.

    From the saved values, h and c before the step, c after it, gradients of the new h and c.
    """
    if CELL == "lstm":
        return lstm_backward(s0, s1, s2, s3, h, c_before, c, dh, dc)
    elif CELL == "gru":
        return gru_backward(s0, s1, s2, s3, h, c_before, c, dh, dc)
    elif CELL == "rnn_tanh":
        return rnn_tanh_backward(s0, s1, s2, s3, h, c_before, c, dh, dc)
    else:
        tl.static_assert(False, "cells.backward does not know this cell")


CELLS = tuple(name for name in list(globals()) if f"{name}_backward" in globals())
