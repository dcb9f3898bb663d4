"""Stand-ins for the peers on a GPU: the signatures of a library, computing what its pages say."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn


def lstm_step(gates: Tensor, order: str, c: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """h and c; `g` is the new value, which some call z."""
    of = dict(zip(order, gates.unbind(dim), strict=True))
    c = of["f"].sigmoid() * c + of["i"].sigmoid() * of["g"].tanh()
    return of["o"].sigmoid() * c.tanh(), c


def gru_step(r: Tensor, z: Tensor, from_x: Tensor, from_h: Tensor, h: Tensor) -> Tensor:
    z = z.sigmoid()
    return (1 - z) * (from_x + r.sigmoid() * from_h).tanh() + z * h


def flashrnn_module(lstm_order: str = "ifgo", gru_recurrent: tuple = (0, 1, 2)) -> ModuleType:
    @dataclass
    class FlashRNNConfig:
        backend: str = "cuda_fused"
        function: str = "lstm"
        hidden_dim: int = -1
        num_heads: int = -1
        head_dim: int = -1
        batch_size: int = 8
        input_shape: str = "BTGHD"
        output_shape: str = "SBTHD"
        dtype: str = "bfloat16"

    layouts = {"cuda": ("TBHGD", "HPGD", "HGD"), "cuda_fused": ("TBHDG", "HDGP", "HDG")}

    def flashrnn(
        Wx: Tensor,
        R: Tensor,
        b: Tensor,
        states: Tensor | None = None,
        function: str = "lstm",
        config: FlashRNNConfig | None = None,
        backend: str = "cuda_fused",
        dtype: str = "bfloat16",
    ) -> tuple[Tensor, Tensor]:
        assert config is not None and states is not None
        assert (config.input_shape, config.output_shape) == ("TBGHD", "STBHD")
        assert config.batch_size == Wx.shape[1] and config.hidden_dim == Wx.shape[-1]
        given = ((Wx, "TBGHD"), (R, "GHDP"), (b, "GHD"))
        for (value, shape), inside in zip(given, layouts[config.backend], strict=True):
            assert value.permute([shape.index(one) for one in inside]).is_contiguous()
        now, steps = states[:, 0], []  # (S, B, N, D)
        for wx in Wx:
            ry = torch.einsum("gndp,bnp->bgnd", R, now[0])
            if config.function == "lstm":
                now = torch.stack(lstm_step(wx + ry + b, lstm_order, now[1], 1))
            else:
                n, r, z = (ry[:, one] + b[one] for one in gru_recurrent)
                now = gru_step(wx[:, 0] + r, wx[:, 1] + z, wx[:, 2] + b[3], n, now[0])[None]
            steps.append(now)
        everything = torch.stack(steps, 1)
        return everything, everything[:, -1:]

    module = ModuleType("flashrnn")
    module.FlashRNNConfig, module.flashrnn = FlashRNNConfig, flashrnn
    return module


def torchrl_module(lstm_order: str = "ifgo", gru_order: str = "rzn") -> ModuleType:
    precisions = []

    def steps_of(x: Tensor, states: tuple[Tensor, ...], is_init: Tensor, precision: str, step):
        assert x.is_contiguous() and is_init.is_contiguous() and is_init.dtype == torch.bool
        precisions.append(precision)
        now, seen = [state[:, 0] for state in states], []
        for t in range(x.shape[1]):
            start = is_init[:, t, None]
            now = [torch.where(start, s[:, t], n) for s, n in zip(states, now, strict=True)]
            now = step(x[:, t], *now)
            seen.append(now)
        return (*(torch.stack(kind, 1) for kind in zip(*seen, strict=True)), *now)

    def gru_triton(
        x: Tensor,
        hidden: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
        is_init: Tensor,
        compute_dtype: torch.dtype = torch.float32,
        *,
        recompute: bool = False,
        input_precision: str | None = None,
    ) -> tuple[Tensor, Tensor]:
        def step(x_t: Tensor, h: Tensor) -> tuple[Tensor]:
            xs, hs = (
                dict(zip(gru_order, (v @ w.t() + b).chunk(3, 1), strict=True))
                for v, w, b in ((x_t, w_ih, b_ih), (h, w_hh, b_hh))
            )
            return (gru_step(xs["r"] + hs["r"], xs["z"] + hs["z"], xs["n"], hs["n"], h),)

        return steps_of(x, (hidden,), is_init, input_precision, step)

    def lstm_triton(
        x: Tensor,
        hidden: Tensor,
        cell: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
        is_init: Tensor,
        compute_dtype: torch.dtype = torch.float32,
        *,
        recompute: bool = False,
        input_precision: str | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        def step(x_t: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
            gates = x_t @ w_ih.t() + b_ih + h @ w_hh.t() + b_hh
            return lstm_step(gates.unflatten(1, (4, -1)), lstm_order, c, 1)

        return steps_of(x, (hidden, cell), is_init, input_precision, step)

    module = ModuleType("_rnn_triton")
    module.gru_triton, module.lstm_triton, module.precisions = gru_triton, lstm_triton, precisions
    return module


def haste_module(lstm_order: str = "igfo", gru_order: str = "zrn") -> ModuleType:
    class Base(nn.Module):
        gates: int

        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()
            columns = self.gates * hidden_size
            self.kernel = nn.Parameter(torch.empty(input_size, columns))
            self.recurrent_kernel = nn.Parameter(torch.empty(hidden_size, columns))
            self.bias = nn.Parameter(torch.empty(columns))

    class HasteLSTM(Base):
        gates = 4

        def forward(self, input: Tensor, state=None, lengths=None):
            (h, c), seen = (one[0] for one in state), []
            for x_t in input:
                gates = x_t @ self.kernel + h @ self.recurrent_kernel + self.bias
                h, c = lstm_step(gates.unflatten(1, (4, -1)), lstm_order, c, 1)
                seen.append(h)
            return torch.stack(seen), (h[None], c[None])

    class HasteGRU(Base):
        gates = 3

        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__(input_size, hidden_size)
            self.recurrent_bias = nn.Parameter(torch.empty(3 * hidden_size))

        def forward(self, input: Tensor, state=None, lengths=None):
            h, seen = state[0], []
            for x_t in input:
                xs, hs = (
                    dict(zip(gru_order, value.chunk(3, 1), strict=True))
                    for value in (
                        x_t @ self.kernel + self.bias,
                        h @ self.recurrent_kernel + self.recurrent_bias,
                    )
                )
                h = gru_step(xs["r"] + hs["r"], xs["z"] + hs["z"], xs["n"], hs["n"], h)
                seen.append(h)
            return torch.stack(seen), h[None]

    module = ModuleType("haste_pytorch")
    module.LSTM, module.GRU = HasteLSTM, HasteGRU
    return module


MODULES: dict[str, Callable[..., ModuleType]] = {
    "flashrnn": flashrnn_module,
    "flashrnn-alternating": flashrnn_module,
    "torchrl-triton": torchrl_module,
    "haste": haste_module,
}
