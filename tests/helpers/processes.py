"""Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys


def python(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs a script far from this repository, with what it writes as text."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        cwd="/",
    )
