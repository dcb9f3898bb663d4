"""A character language model on a recurrent layer, and what trains, samples and stores it."""

import math
import statistics
import time
import zipfile
from pathlib import Path
from typing import Any

import torch
from corpus import Vocabulary, chunks
from ranks import Ranks
from torch import Tensor, nn

import rnn_kernels

IMPLEMENTATIONS = {"torch.nn": torch.nn, "rnn_kernels": rnn_kernels}
CELLS = {"lstm": "LSTM", "gru": "GRU"}
SHAPE = ("cell", "embedding", "hidden", "layers")
SAVED = (*SHAPE, "batch", "corpus_size", "dropout", "length", "lr", "seed")
CHECKPOINT = ("model", "characters", "options")
CLIP = 1.0
ALONE = Ranks()

# What a recurrent layer carries from one chunk to the next: (h, c) of an LSTM, h of a GRU.
State = tuple[Tensor, Tensor] | Tensor | None


class LanguageModel(nn.Module):
    """Embedding, recurrent layers of one of the implementations, linear read-out."""

    def __init__(
        self,
        implementation: str,
        cell: str,
        characters: int,
        embedding: int,
        hidden: int,
        layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        recurrent = getattr(IMPLEMENTATIONS[implementation], CELLS[cell])
        # torch.nn warns about dropout between layers where there is one layer only.
        between = dropout if layers > 1 else 0.0
        self.embedding = nn.Embedding(characters, embedding)
        self.recurrent = recurrent(embedding, hidden, layers, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(hidden, characters)

    def forward(self, numbers: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Return the logits of each next character of (time, batch) numbers, and the state.

        The logits have one row for each of the numbers, as matrices come out of a product: FSDP
        warns of results that are views.
        """
        outputs, state = self.recurrent(self.embedding(numbers), state)
        return self.readout(self.dropout(outputs).flatten(0, 1)), state


def bits(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy in bits per character."""
    return nn.functional.cross_entropy(logits, targets.flatten()) / math.log(2)


def _detached(state: State) -> State:
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


class Trainer:
    """Truncated back-propagation of one model: the state goes on from chunk to chunk."""

    def __init__(self, model: nn.Module, lr: float, ranks: Ranks = ALONE) -> None:
        self.model = model
        self.losses: list[float] = []
        self.validation: list[tuple[int, float]] = []
        self._state: State = None
        self._ranks = ranks
        self._optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        self._speeds: list[float] = []

    @property
    def tokens_per_second(self) -> float:
        """The median step's speed: a median, as other work on the machine disturbs some steps."""
        return statistics.median(self._speeds)

    def step(self, inputs: Tensor, targets: Tensor) -> None:
        """Train on one chunk, and record its loss and its speed."""
        start = time.perf_counter()
        logits, state = self.model(inputs, self._state)
        loss = bits(logits, targets)
        self._optimizer.zero_grad()
        loss.backward()
        # By the norm of the whole gradient: DDP's is whole, and that of shards is summed up.
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self._optimizer.step()
        self._state = _detached(state)
        self.losses.append(self._ranks.mean(loss))
        tokens = inputs.numel() * self._ranks.count
        self._speeds.append(tokens / (time.perf_counter() - start))

    @torch.no_grad()
    def validate(self, streams: Tensor, length: int) -> float:
        """Record and return the bits per character of held-out streams."""
        self.model.eval()
        losses = []
        state = None
        for inputs, targets in chunks(streams, length):
            logits, state = self.model(inputs, state)
            losses.append(self._ranks.mean(bits(logits, targets)))
        self.model.train()
        self.validation.append((len(self.losses), statistics.fmean(losses)))
        return self.validation[-1][1]


@torch.no_grad()
def sample(
    model: LanguageModel, vocabulary: Vocabulary, prompt: str, count: int, temperature: float
) -> str:
    """Return `count` characters that the model writes after `prompt`."""
    model.eval()
    numbers = vocabulary.encode(prompt).view(-1, 1).to(model.readout.weight.device)
    state = None
    written = []
    for _ in range(count):
        logits, state = model(numbers, state)
        logits = logits[-1].double()
        logits[vocabulary.unknown] = -math.inf  # it stands for no character to write
        # The largest becomes 0 first: no temperature, however low, makes it overflow.
        weights = ((logits - logits.max()) / temperature).exp()
        numbers = torch.multinomial(weights, 1).view(1, 1)
        written.append(numbers.item())
    model.train()
    return vocabulary.decode(written)


def save(path: Path, model: LanguageModel, vocabulary: Vocabulary, options: dict[str, Any]) -> None:
    """Write a checkpoint: weights, vocabulary, and the options that a later run needs."""
    saved = {name: options[name] for name in SAVED}
    values = (model.state_dict(), vocabulary.characters, saved)
    torch.save(dict(zip(CHECKPOINT, values, strict=True)), path)


def load(path: Path) -> tuple[dict[str, Tensor], Vocabulary, dict[str, Any]]:
    """Return the weights, the vocabulary and the options of a checkpoint that `save` wrote."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}; name one that --save wrote")
    try:
        # Before torch.load, which warns of some files that are none of its own.
        if not zipfile.is_zipfile(path):
            raise ValueError("torch.save writes zip archives")
        checkpoint = dict(torch.load(path, weights_only=True))
        weights, characters, options = (checkpoint[name] for name in CHECKPOINT)
        return weights, Vocabulary(characters), {name: options[name] for name in SAVED}
    except Exception as error:  # a foreign or damaged file makes unpickling fail in any way
        raise ValueError(f"{path} is no checkpoint; name one that --save wrote") from error
