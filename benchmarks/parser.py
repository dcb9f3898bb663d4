"""The parser: what every command of the benchmarks takes, and how it refuses the rest."""

import argparse
from typing import NoReturn

from benchmarks.device import DEVICES, default_device, usable_device


class Parser(argparse.ArgumentParser):
    """Takes --device and --quick. A bad option costs one line, without the usage."""

    def __init__(self, prog: str, description: str, quick: str) -> None:
        super().__init__(prog=f"python -m {prog}", description=description)
        self.add_argument(
            "--device",
            type=usable_device,
            default=default_device(),
            metavar="|".join(DEVICES),
            help="what to measure; cuda where torch finds it, else cpu",
        )
        self.add_argument("--quick", action="store_true", help=quick)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")
