"""A character language model of the standard library's own source text.

python examples/char_lm.py                     # train with rnn_kernels, and write a sample
python examples/char_lm.py --compare           # train torch.nn's beside it, and draw both
python examples/char_lm.py --save model.pt
python examples/char_lm.py --load model.pt --implementation torch.nn
torchrun --nproc-per-node 2 examples/char_lm.py --ddp      # or --fsdp: train on two processes
"""

import argparse
import importlib
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import torch
from comparison import draw, table
from corpus import Corpus, Vocabulary, chunks, standard_library_text
from language_model import (
    CELLS,
    IMPLEMENTATIONS,
    SHAPE,
    LanguageModel,
    Trainer,
    load,
    sample,
    save,
)
from ranks import Ranks, can_shard, leave, together, told

import rnn_kernels

STEPS = 400


class OptionError(Exception):
    """A request that cannot be served; the message is one line that says what to do."""


class OptionParser(argparse.ArgumentParser):
    """A parser that complains in one line, as everything here does."""

    def error(self, message: str) -> NoReturn:
        """Raise, where argparse prints the usage and exits."""
        raise OptionError(message)


def _checked(
    kind: Callable[[str], Any], fits: Callable[[Any], bool], wanted: str
) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan  # which fits nothing
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return parse


def option_parser() -> OptionParser:
    """Return the parser of every option."""
    positive = _checked(int, lambda value: 0 < value < 2**31, "a whole number from 1 to 2**31 - 1")
    count = _checked(int, lambda value: 0 <= value < 2**31, "a whole number from 0 to 2**31 - 1")
    above_zero = _checked(float, lambda value: 0 < value < math.inf, "a number above 0")
    rate = _checked(float, lambda value: 0 < value <= 1, "a number above 0, at most 1")
    share = _checked(float, lambda value: 0 <= value < 1, "a number from 0 to below 1")
    cell = _checked(str, CELLS.__contains__, "one of " + ", ".join(CELLS))
    some_text = _checked(str, bool, "a text of at least one character")
    parser = OptionParser(description=__doc__.partition("\n")[0], allow_abbrev=False)

    one_of = parser.add_mutually_exclusive_group()

    def add(name: str, text: str, to: Any = parser, **settings: Any) -> None:
        default = " (%(default)s)" if "default" in settings else ""
        to.add_argument(name, help=text + default, **settings)

    add("--implementation", "whose layers", choices=IMPLEMENTATIONS, default="rnn_kernels")
    add("--backend", "backend of rnn_kernels: auto, cpu or reference", default="auto")
    add("--cell", "kind of recurrent layer: lstm or gru", type=cell, default="lstm")
    add("--hidden", "size of the recurrent state", type=positive, default=256)
    add("--layers", "recurrent layers", type=positive, default=1)
    add("--embedding", "size of a character's embedding", type=positive, default=64)
    add("--dropout", "share dropped after each recurrent layer", type=share, default=0.0)
    add("--corpus-size", "characters of source text", type=positive, default=2_000_000)
    add("--length", "characters of each stream in a step", type=positive, default=64)
    add("--batch", "streams read side by side", type=positive, default=64)
    add("--lr", "learning rate of Adam", type=rate, default=5e-3)
    add("--steps", f"training steps ({STEPS}; none after --load alone)", type=positive)
    add("--eval-every", "steps from validation to validation", type=positive, default=100)
    add("--seed", "seed of the weights, the dropout and the sample", type=count, default=0)
    add("--threads", "threads of torch (its own choice)", type=positive)
    add("--sample", "characters of the sample at the end", type=count, default=400)
    add("--temperature", "of the sample; lower is safer", type=above_zero, default=0.7)
    add("--prompt", "text that the sample goes on from", type=some_text, default="def ")
    add("--save", "file to write the trained model to", type=Path)
    add("--load", "file to start from, with its shape and its corpus", type=Path)
    add("--compare", "train both implementations, step by step", one_of, action="store_true")
    for mode, how in (("ddp", "DistributedDataParallel"), ("fsdp", "fully_shard")):
        text = f"share --batch out over the processes of torchrun: {how}"
        add(f"--{mode}", text, one_of, action="store_const", dest="mode", const=mode)
    add("--plot", "PNG that --compare draws", type=Path, default="char_lm.png")
    return parser


def parse(
    argv: Sequence[str] | None,
) -> tuple[argparse.Namespace, dict[str, torch.Tensor] | None, Vocabulary | None]:
    """Return the options, and the weights and vocabulary of the checkpoint they may name."""
    parser = option_parser()
    options = parser.parse_args(argv)
    weights = vocabulary = None
    if options.load:
        try:
            weights, vocabulary, saved = load(options.load)
        except ValueError as error:
            raise OptionError(f"--load: {error}") from error
        # As text, so that the parser checks a file's values as it checks typed ones.
        parser.set_defaults(**{name: str(value) for name, value in saved.items()})
        options = parser.parse_args(argv)
        for name in SHAPE:
            if getattr(options, name) != saved[name]:
                raise OptionError(f"--{name}: {options.load} has {saved[name]}; leave it out")
    if options.steps is None:
        options.steps = 0 if options.load and not options.compare else STEPS
    _check_ranks(options.mode, options.batch)
    if options.save and told("RANK", 0) == 0:
        _check_writable("--save", options.save)
    if options.compare:
        _check_writable("--plot", options.plot)
    return options, weights, vocabulary


def _check_ranks(mode: str | None, batch: int) -> None:
    count = told("WORLD_SIZE", 1)
    if mode is None and count > 1:
        raise OptionError(f"torchrun started {count} processes; add --ddp or --fsdp")
    if mode == "fsdp" and not can_shard():
        raise OptionError(f"--fsdp: torch {torch.__version__} needs a GPU for it; use --ddp")
    if batch % count:
        raise OptionError(f"--batch: {batch} streams cannot be shared out over {count} processes")


def _check_writable(option: str, path: Path) -> None:
    try:
        existed = path.exists()
        path.open("ab").close()
    except OSError as error:
        raise OptionError(f"{option}: cannot write {path}: {error.strerror}") from error
    if not existed:
        path.unlink()


def _optional(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        install = 'pip install "rnn_kernels[examples]"'
        raise OptionError(f"{name} is not installed; run: {install}") from error


def read_corpus(options: argparse.Namespace, vocabulary: Vocabulary | None) -> Corpus:
    """Return the corpus, with the vocabulary of a checkpoint if there is one."""
    corpus = Corpus(standard_library_text(options.corpus_size), options.batch, vocabulary)
    held_out = len(corpus.validation)
    if held_out <= options.length:
        raise OptionError(
            f"--length: {options.length} does not fit into held-out streams of {held_out}"
            " characters; lower --length or --batch, or raise --corpus-size"
        )
    return corpus


def build(
    options: argparse.Namespace,
    implementation: str,
    vocabulary: Vocabulary,
    weights: dict[str, torch.Tensor] | None,
) -> LanguageModel:
    """Return a model of the options' shape: from the seed, or with a checkpoint's weights."""
    torch.manual_seed(options.seed)
    shape = {name: getattr(options, name) for name in (*SHAPE, "dropout")}
    model = LanguageModel(implementation, characters=len(vocabulary), **shape)
    if weights is not None:
        try:
            model.load_state_dict(weights)
        except (AttributeError, RuntimeError, TypeError) as error:
            raise OptionError(f"--load: {options.load} is damaged; save it again") from error
    return model


def train(
    trainers: dict[str, Trainer], corpus: Corpus, options: argparse.Namespace, ranks: Ranks
) -> None:
    """Give every trainer the same chunks, in turns: all meet the same machine conditions."""

    def validate(step: int) -> None:
        found = {n: t.validate(corpus.validation, options.length) for n, t in trainers.items()}
        listed = ", ".join(f"{name} {bits:.3f}" for name, bits in found.items())
        if not silent:
            bar.write(f"step {step:5}: validation bits per character: {listed}")

    batches = enumerate(islice(cycle(chunks(corpus.train, options.length)), options.steps), 1)
    turns = list(trainers.values())
    silent = ranks.number > 0
    tqdm = _optional("tqdm").tqdm
    # disable=None: no bar where stderr is a file.
    with tqdm(batches, total=options.steps, unit="step", disable=silent or None) as bar:
        validate(0)
        for step, chunk in bar:
            for trainer in turns if step % 2 else reversed(turns):
                # One dropout mask for all implementations, and another for each rank.
                torch.manual_seed((options.seed + step) * ranks.count + ranks.number)
                trainer.step(*chunk)
            state = (f"{t.losses[-1]:.2f} bits at {t.tokens_per_second:,.0f}/s" for t in turns)
            bar.set_postfix_str(", ".join(state), refresh=False)
            if step % options.eval_every == 0 or step == options.steps:
                validate(step)


def run(argv: Sequence[str] | None) -> dict[str, Trainer]:
    """Serve one command line, and return the trainers with what they recorded."""
    options, weights, vocabulary = parse(argv)
    if options.compare:
        _optional("matplotlib").use("Agg")
    if options.threads:
        torch.set_num_threads(options.threads)
    corpus = read_corpus(options, vocabulary)
    names = list(IMPLEMENTATIONS) if options.compare else [options.implementation]
    with ExitStack() as stack:
        ranks = stack.enter_context(together(options.mode))
        corpus.train, corpus.validation = map(ranks.share, (corpus.train, corpus.validation))
        models = {
            name: build(options, name, corpus.vocabulary, weights).to(ranks.device)
            for name in names
        }
        try:
            stack.enter_context(rnn_kernels.backend(options.backend))
            for model in models.values():
                model(corpus.train[:1])
        except (RuntimeError, ValueError) as error:
            raise OptionError(f"--backend: {error}") from error
        trainers = {
            name: Trainer(ranks.wrap(model), options.lr, ranks) for name, model in models.items()
        }
        train(trainers, corpus, options, ranks)
        if options.compare:
            title = f"{options.cell.upper()} of {options.layers} x {options.hidden} units"
            draw(trainers, f"{title}, same seed and batches", options.plot)
            print(table(trainers))
        weights = ranks.weights(models[options.implementation])
        if ranks.number > 0:
            return trainers
        model = build(options, options.implementation, corpus.vocabulary, weights)
        if options.save:
            save(options.save, model, corpus.vocabulary, vars(options))
        model.to(ranks.device)
        torch.manual_seed(options.seed)
        written = sample(
            model, corpus.vocabulary, options.prompt, options.sample, options.temperature
        )
        if written:
            print(options.prompt + written)
    return trainers


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 2 stands for a request that cannot be served."""
    try:
        run(argv)
    except OptionError as error:
        if told("LOCAL_RANK", 0) == 0:  # the others of this machine say the same
            print("char_lm:", *str(error).split(), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    leave(main())
