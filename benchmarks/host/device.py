"""The device that is measured: how it is asked for, and how torch is set up on it."""

import argparse

import torch

DEVICES = ("cpu", "cuda")


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def usable_device(text: str) -> str:
    """The value of --device, as argparse wants it: refused if torch cannot use it."""
    if text not in DEVICES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(DEVICES)}")
    if text == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError(
            f"torch {torch.__version__} finds no CUDA device here; take --device cpu"
        )
    return text


def set_up(device: str) -> None:
    """Gives every provider on a GPU the same freedom in float32.

    torch.nn's recurrence is cuDNN's, which may use TF32 by default; F.linear and mm, which our
    layers call around theirs, may not. Set by the names that every torch from 2.6 on knows:
    reading these after setting the newer `fp32_precision` raises.
    """
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
