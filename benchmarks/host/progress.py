"""The progress: tqdm's bar where it is installed, lines that name each step where it is not."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol


class Progress(Protocol):
    """What a run tells about how far it is."""

    def __enter__(self) -> Progress: ...
    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def set_description(self, text: str) -> None: ...
    def update(self) -> None: ...


class Lines:
    """Each step on a line of its own, with its number."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0

    def __enter__(self) -> Lines:
        print("for a progress bar: pip install tqdm, or 'rnn_kernels[benchmarks]'", file=sys.stderr)
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def set_description(self, text: str) -> None:
        print(f"{self.done + 1}/{self.total} {text}", file=sys.stderr)

    def update(self) -> None:
        self.done += 1


def progress(total: int) -> Progress:
    """To be entered; steps are described as they begin, and counted as they end."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return Lines(total)
    return tqdm(total=total)
