"""The standard library's own source text, as streams of character numbers."""

import os
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

HELD_OUT = 0.05
VOCABULARY_SIZE = 96
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


class Vocabulary:
    """Numbers for the common characters; number 0 stands for every other one."""

    unknown = 0
    replacement = "\N{REPLACEMENT CHARACTER}"

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self._numbers = {character: i for i, character in enumerate(characters, 1)}

    @classmethod
    def from_text(cls, text: str, size: int = VOCABULARY_SIZE) -> "Vocabulary":
        """Keep the `size - 1` most common characters of `text`."""
        counts = Counter(text)
        counts.pop(cls.replacement, None)
        ranked = sorted(counts, key=lambda character: (-counts[character], character))
        return cls("".join(sorted(ranked[: size - 1])))

    def __len__(self) -> int:
        return len(self.characters) + 1

    def encode(self, text: str) -> Tensor:
        """Return the numbers of `text`, one per character."""
        return torch.tensor([self._numbers.get(c, self.unknown) for c in text], dtype=torch.long)

    def decode(self, numbers: Iterable[int]) -> str:
        """Return the text of `numbers`, with U+FFFD for the unknown symbol."""
        symbols = self.replacement + self.characters
        return "".join(symbols[int(number)] for number in numbers)


class Corpus:
    """A training and a held-out text, each cut into `batch` streams: (time, batch) tensors."""

    def __init__(self, text: str, batch: int, vocabulary: Vocabulary | None = None) -> None:
        cut = round(len(text) * (1 - HELD_OUT))
        self.vocabulary = vocabulary or Vocabulary.from_text(text[:cut])
        self.train = _streams(self.vocabulary.encode(text[:cut]), batch)
        self.validation = _streams(self.vocabulary.encode(text[cut:]), batch)


def _streams(numbers: Tensor, batch: int) -> Tensor:
    length = len(numbers) // batch
    return numbers[: length * batch].view(batch, length).t().contiguous()


def chunks(streams: Tensor, length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield consecutive (inputs, targets) of `length` steps; the targets are one step ahead."""
    for start in range(0, len(streams) - length, length):
        yield streams[start : start + length], streams[start + 1 : start + length + 1]


def standard_library_text(size: int) -> str:
    """Return the first `size` characters of the standard library's .py files, in sorted order."""
    pieces = []
    missing = size
    for path in _source_files(sysconfig.get_paths()["stdlib"]):
        # A stray byte of another encoding becomes U+FFFD, which is the unknown symbol anyway.
        piece = path.read_text(encoding="utf-8", errors="replace")[:missing]
        pieces.append(piece)
        missing -= len(piece)
        if not missing:
            break
    return "".join(pieces)


def _source_files(root: str) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        # Pruned and sorted in place: os.walk descends into what is left, in this order.
        subfolders[:] = sorted(set(subfolders) - SKIPPED)
        for name in sorted(names):
            if name.endswith(".py"):
                yield Path(folder, name)
