"""The region: the algorithm that torch's RNN.cpp asks cuDNN for, on an H100 and its like."""

from .presets import Preset


def region(preset: Preset, pass_name: str) -> str:
    """persist_static, small_h or standard; `forward/backward` where the two differ."""
    forward = algorithm(preset, small=192)
    if pass_name != "fwd_bwd":
        return forward
    backward = algorithm(preset, small=128)
    return forward if forward == backward else f"{forward}/{backward}"


def algorithm(preset: Preset, small: int) -> str:
    """The conditions of torch's get_algo for LSTM and GRU; `small` is the largest H of small_h."""
    if preset.packed:
        return "standard"
    if preset.dtype != "float64" and small >= preset.H:
        return "small_h"
    persistent = (
        preset.dtype == "float16"
        and preset.cell == "LSTM"
        and preset.L == preset.D == 1
        and preset.H <= 1024
        and preset.H % 128 == preset.I % 128 == 0
        and preset.B <= 128
        and preset.B % 8 == 0
    )
    return "persist_static" if persistent else "standard"
