"""The parser: what every command of the benchmarks takes, and how it refuses the rest."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from .host.device import DEVICES, default_device, usable_device
from .measuring.results import is_official
from .providers.table import PROVIDERS, offered


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

    def add_providers(self) -> None:
        self.add_argument(
            "--provider", nargs="+", action="extend", choices=PROVIDERS, metavar="NAME"
        )

    def check_providers(self, names: Iterable[str] | None, device: str) -> None:
        """Refuses those that are not for the device."""
        for name in names or ():
            if name not in offered(device):
                choices = ", ".join(offered(device))
                self.error(f"--provider {name}: not for device {device}, which has {choices}")

    def add_output(self) -> None:
        self.add_argument("--output", type=Path, help="results file, in place of the device's own")

    def check_output(self, output: Path | None, whole: bool) -> None:
        """Refuses what would spoil a file that counts, before the work is done."""
        if whole and not output and "OMP_WAIT_POLICY" in os.environ:
            self.error(
                "OMP_WAIT_POLICY is set, by which torch.nn's threads gain or lose more than ours; "
                "unset it, or name an --output"
            )
        if output and is_official(output) and not whole:
            self.error(f"--output {output}: takes whole runs only")
        if output and not output.parent.is_dir():
            self.error(f"--output {output}: no such folder")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")
