"""Prints the packages that extras of pyproject.toml ask for, without the project and its build.

python tests/helpers/requirements.py dev
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from paths import ROOT

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib


def requirements(extra: str, extras: dict[str, list[str]], project: str) -> Iterator[str]:
    """Of an extra, and of those of the project itself that it names."""
    for line in extras[extra]:
        own = re.fullmatch(rf"{project}\[(.*)\]", line)
        if own is None:
            yield line
        else:
            for name in own[1].split(","):
                yield from requirements(name.strip(), extras, project)


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra in sys.argv[1:]:
        print(*requirements(extra, project["optional-dependencies"], project["name"]), sep="\n")
