"""Command line: ``python -m rnn_kernels info`` and ``python -m rnn_kernels bench``."""

from __future__ import annotations

import argparse
import sys

from . import info


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rnn_kernels", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="versions, build, and each backend; if it is off, why")
    about = "torch.nn beside every backend that works here, on sizes of your own"
    bench = commands.add_parser("bench", help=about, description=about)
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["bench"]:
        from .benchmarks import own

        own.add_arguments(bench)
        return own.main(parser.parse_args(argv), bench)
    parser.parse_args(argv)
    print("\n".join(info.lines()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
