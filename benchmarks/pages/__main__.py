"""Writes the pages and their pictures anew: `python -m benchmarks.pages`.

A page whose results file is not there stays as it is; a picture is drawn again only where its data,
or the way of drawing, is another. With --check it writes nothing, and fails if it would.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ..host.environment import ROOT
from . import blocks, performance
from .device_results import DeviceResults, devices
from .drawing import draw, mark, mark_in
from .figures import figures

README, CPU = ROOT / "README.md", ROOT / "docs" / "cpu.md"
PERFORMANCE, PICTURES = ROOT / "docs" / "performance.md", ROOT / "docs" / "pictures"


def pages(found: Sequence[DeviceResults]) -> dict[Path, str]:
    """The text of each page, where there is a results file for it."""
    texts = {PERFORMANCE: performance.page(found)} if found else {}
    presets = newest(found)
    if presets:
        texts[README] = blocks.with_block(README.read_text(), blocks.readme(presets))
    grids = [one for one in found if one.grid]
    if grids:
        texts[CPU] = blocks.with_block(CPU.read_text(), blocks.cpu(grids))
    return texts


def newest(found: Sequence[DeviceResults]) -> DeviceResults | None:
    """The device whose presets were measured last, by the file's own clock."""
    with_rows = [one for one in found if one.presets]
    return max(with_rows, key=lambda one: one.presets[0].utc, default=None)


def outdated(found: Sequence[DeviceResults]) -> dict[Path, Callable[[], object]]:
    """Each page and picture that is not what the files say, with what mends it."""
    mends: dict[Path, Callable[[], object]] = {}
    for path, text in pages(found).items():
        if not path.exists() or path.read_text() != text:
            mends[path] = partial(path.write_text, text)
    known = set()
    for device in found:
        for figure in figures(device):
            path = PICTURES / device.slug / f"{figure.name}.svg"
            known.add(path)
            if mark_in(path) != mark(figure):
                mends[path] = partial(draw, figure, path)
    for path in sorted(set(PICTURES.glob("*/*.svg")) - known):
        mends[path] = path.unlink
    return mends


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if it would")
    args = parser.parse_args(argv)
    mends = outdated(devices())
    for path, mend in mends.items():
        if not args.check:
            mend()
        print(f"{'out of date' if args.check else 'written'}: {path.relative_to(ROOT)}")
    return int(args.check and bool(mends))


if __name__ == "__main__":
    sys.exit(main())
