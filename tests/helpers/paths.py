"""Where things are in this repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
HELPERS = ROOT / "tests" / "helpers"
TEST_KERNELS = ROOT / "tests" / "kernels"
