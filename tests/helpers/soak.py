"""Random layers over and over, for minutes, while memory has to stay as it is:
`python tests/helpers/soak.py --device cuda`.

Each layer is made anew, called, differentiated and dropped, on one stream or another. What memory
is in use after a third of the time has to do until the end.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import torch
from random_layers import RandomLayer
from tqdm import tqdm

import rnn_kernels as rk

MIB = 1 << 20
LAYERS, WIDEST = 60, {"cpu": 100, "cuda": 1200}
CALLS = 3  # of each layer in a round: the third one may be replayed from a graph
# How much more may be in use in the end. Drivers and allocators take memory in pieces.
SLACK = {"allocated by torch": MIB, "in use on the device": 64 * MIB, "resident": 64 * MIB}


def in_use(device: str) -> dict[str, int]:
    """Bytes, when nothing is under way and nothing kept."""
    rk.clear_graphs()
    gc.collect()
    with open("/proc/self/statm") as pages:  # files' pages come and go with what others need
        _, resident, of_files, *_ = map(int, pages.read().split())
    found = {"resident": (resident - of_files) * resource.getpagesize()}
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        found |= {
            "allocated by torch": torch.cuda.memory_allocated(),
            "in use on the device": total - free,
        }
    return found


def rounds(device: str, play: Callable[[RandomLayer], object]) -> Iterator[None]:
    """All layers in an order of their own each time."""
    layers = [RandomLayer.of(number, WIDEST[device]) for number in range(LAYERS)]
    streams = [torch.cuda.Stream() for _ in range(3)] if device == "cuda" else [None]
    draw = random.Random(0)
    while True:
        order = layers * CALLS
        draw.shuffle(order)
        for layer in order:
            stream = draw.choice(streams)
            with torch.cuda.stream(stream) if stream else nullcontext():
                play(layer)
        yield


def soak(
    device: str, seconds: float, play: Callable[[RandomLayer], object] = RandomLayer.results
) -> list[dict[str, int]]:
    """Memory in use after each round, from the end of the first third on."""
    began, found = time.monotonic(), []
    with tqdm(total=round(seconds), unit="s", desc="soak") as bar, torch.device(device):
        again = rounds(device, play)
        while len(found) < 2 or time.monotonic() - began < seconds:
            next(again)
            passed = time.monotonic() - began
            bar.update(min(round(passed), bar.total) - bar.n)
            if passed >= seconds / 3:
                found.append(in_use(device))
    return found


def grown(found: Sequence[dict[str, int]]) -> list[str]:
    """What is more than it was, and a line for each kind of memory."""
    wrong = []
    for kind, before in found[0].items():
        now = found[-1][kind]
        line = f"{kind}: {before / MIB:.1f} MiB, {len(found) - 1} rounds later {now / MIB:.1f} MiB"
        print(line)
        if now > before + SLACK[kind]:
            wrong.append(line)
    return wrong


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=WIDEST, default="cpu")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--minutes", type=float, default=3)
    args = parser.parse_args(argv)
    with rk.backend(args.backend):
        wrong = grown(soak(args.device, 60 * args.minutes))
    for line in wrong:
        print(f"grew: {line}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
