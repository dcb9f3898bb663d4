"""Command line: ``python -m rnn_kernels info``."""

from __future__ import annotations

import argparse

from . import info


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rnn_kernels", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="versions, build, and each backend; if it is off, why")
    parser.parse_args(argv)
    print("\n".join(info.lines()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
