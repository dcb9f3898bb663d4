"""The character language model of the examples: what it learns, stores, draws and refuses."""

import importlib
import os
import pickle
import statistics
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from paths import EXAMPLES

import rnn_kernels

char_lm: ModuleType = importlib.import_module("char_lm")
corpus: ModuleType = importlib.import_module("corpus")
language_model: ModuleType = importlib.import_module("language_model")

BOTH = ("torch.nn", "rnn_kernels")
CELLS = ("lstm", "gru")
SMALL = [
    *("--corpus-size", "20000", "--batch", "4", "--length", "16"),
    *("--hidden", "24", "--embedding", "12", "--steps", "30", "--lr", "0.01", "--sample", "0"),
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Let tensors this small be no prey of threads that wait for a busy machine."""
    torch.set_num_threads(1)


def small_run(*more: object) -> dict:
    """Run the example at a tiny size and return its trainers."""
    return char_lm.run([*SMALL, *map(str, more)])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("implementation", BOTH)
def test_training_lowers_the_loss(implementation: str, cell: str) -> None:
    trainers = small_run("--implementation", implementation, "--cell", cell)
    (first_step, before), *_, (last_step, after) = trainers[implementation].validation
    assert (first_step, last_step) == (0, 30)
    assert after < before - 1


@pytest.mark.parametrize(("layers", "dropout"), [(2, 0.0), (1, 0.2)])
@pytest.mark.parametrize("cell", CELLS)
def test_both_start_with_the_same_losses(
    cell: str, layers: int, dropout: float, tmp_path: Path
) -> None:
    shape = ("--cell", cell, "--layers", layers, "--dropout", dropout)
    trainers = small_run("--compare", *shape, "--steps", 6, "--plot", tmp_path / "plot.png")
    # One loss differs by float32 rounding, about 1e-6 relative. Adam divides by the size of a
    # gradient, so that it turns the rounding of a tiny one into a visible step, which grows with
    # every further one: hence 1e-4, and no more than six of them. A gradient that lacks a part is
    # off by far more from the second step on.
    expected = trainers["torch.nn"].losses
    assert trainers["rnn_kernels"].losses == pytest.approx(expected, rel=1e-4)
    assert expected[-1] < expected[0] - 0.1


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("writer", "reader"), [BOTH, BOTH[::-1]])
def test_a_checkpoint_loads_with_the_other(
    writer: str, reader: str, cell: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    shape = ("--cell", cell, "--layers", 2, "--seed", 3)
    written = small_run("--implementation", writer, *shape, "--save", path)[writer]
    read = char_lm.run(["--load", str(path), "--implementation", reader, "--sample", "0"])[reader]
    assert read.losses == []  # nothing trained: the values below are the checkpoint's own
    assert read.validation[0][1] == pytest.approx(written.validation[-1][1], rel=1e-5)


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    before = small_run("--save", path)["rnn_kernels"].validation[-1][1]
    trainers = char_lm.run(["--load", str(path), "--steps", "40", "--sample", "0"])
    assert trainers["rnn_kernels"].validation[-1][1] < before - 0.1


def test_compare_draws_and_tabulates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "plot.png"
    trainers = small_run("--compare", "--steps", 6, "--plot", plot)
    assert plot.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    for name in BOTH:
        (row,) = [row for row in rows if row[:1] == [name]]
        assert row[1] == f"{trainers[name].validation[-1][1]:.3f}"
        assert float(row[2].replace(",", "")) > 0
    assert ["in", "all", "6", "steps"] in [row[1:] for row in rows]


def test_sample_has_the_requested_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert char_lm.main([*SMALL, "--sample", "37", "--prompt", "class "]) == 0
    out = capsys.readouterr().out
    assert len(out[out.index("class ") :]) == len("class ") + 37 + len("\n")


@pytest.mark.parametrize("temperature", [1e-300, 1.0, 1e300])
def test_any_temperature_samples_known_characters(temperature: float) -> None:
    vocabulary = corpus.Vocabulary("ab")
    model = language_model.LanguageModel("torch.nn", "gru", len(vocabulary), 4, 4, 1, 0.0)
    written = language_model.sample(model, vocabulary, "?", 50, temperature)
    assert len(written) == 50
    assert set(written) <= set("ab")


def test_vocabulary_round_trips_text() -> None:
    text = "def run(self):\n    return 'ok'\n"
    vocabulary = corpus.Vocabulary.from_text(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_vocabulary_keeps_the_common_characters() -> None:
    vocabulary = corpus.Vocabulary.from_text("aaabbc", size=3)
    assert len(vocabulary) == 3
    assert vocabulary.decode(vocabulary.encode("abcz")) == "ab\ufffd\ufffd"


def test_streams_follow_the_text() -> None:
    text = corpus.standard_library_text(5000)
    assert len(text) == 5000
    streams = corpus.Corpus(text, batch=4)
    decode = streams.vocabulary.decode
    assert "".join(decode(column) for column in streams.train.t()) == text[:4748]
    assert "".join(decode(column) for column in streams.validation.t()) == text[4750:4998]
    inputs, targets = list(corpus.chunks(streams.train, 8))[1]
    assert decode(inputs[:, 0]) == text[8:16]
    assert decode(targets[:, 0]) == text[9:17]


@pytest.mark.parametrize("cell", CELLS)
def test_state_is_carried_from_chunk_to_chunk(cell: str) -> None:
    streams = corpus.Corpus(corpus.standard_library_text(20000), batch=4).validation[:65]
    model = language_model.LanguageModel("rnn_kernels", cell, 96, 8, 8, 1, 0.0)
    trainer = language_model.Trainer(model, lr=1e-12)  # so that no step changes the weights
    whole = pytest.approx(trainer.validate(streams, 64), rel=1e-5)
    assert trainer.validate(streams, 8) == whole
    for inputs, targets in corpus.chunks(streams, 8):
        trainer.step(inputs, targets)
    assert statistics.fmean(trainer.losses) == whole


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--hidden", "-3"], "--hidden"),
        (["--layers", "0"], "--layers"),
        (["--batch", "many"], "--batch"),
        (["--steps", "0"], "--steps"),
        (["--steps", "-5"], "--steps"),
        (["--dropout", "1"], "--dropout"),
        (["--dropout", "-0.1"], "--dropout"),
        (["--lr", "0"], "--lr"),
        (["--lr", "nan"], "--lr"),
        (["--lr", "1e9"], "--lr"),
        (["--seed", "-1"], "--seed"),
        (["--temperature", "0"], "--temperature"),
        (["--prompt", ""], "--prompt"),
        (["--cell", "elman"], "--cell"),
        (["--implementation", "other"], "--implementation"),
        (["--backend", "abacus"], "--backend"),
        (["--length", "100000"], "--length"),
        (["--length", "100000", "--save", "never.pt"], "--length"),
        (["--corpus-size", "10"], "--corpus-size"),
        (["--load", "missing.pt"], "--load"),
        (["--load", "text.pt"], "--load"),
        (["--load", "pickle.pt"], "--load"),
        (["--load", "tensor.pt"], "--load"),
        (["--load", "cut.pt"], "--load"),
        (["--load", "."], "--load"),
        (["--load", "model.pt", "--hidden", "7"], "--hidden"),
        (["--save", "missing/model.pt"], "--save"),
        (["--ddp", "--fsdp"], "--fsdp"),
        (["--ddp", "--compare"], "--compare"),
        (["--compare", "--fsdp"], "--fsdp"),
        (["--compare", "--plot", "missing/plot.png"], "--plot"),
        (["--compare", "--plot", "."], "--plot"),
        (["--hiden", "3"], "--hiden"),
        (["two\nlines"], "two lines"),
    ],
)
def test_a_bad_option_gets_one_line(
    options: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.pt").write_text("hello\n")
    Path("pickle.pt").write_bytes(pickle.dumps({"model": 1}))
    torch.save(torch.zeros(3), "tensor.pt")
    if "--load" in options:
        small_run("--steps", 1, "--save", "model.pt")
        whole = Path("model.pt").read_bytes()
        Path("cut.pt").write_bytes(whole[: len(whole) // 2])
        capsys.readouterr()
        sizes = []
    else:
        sizes = SMALL
    assert char_lm.main([*sizes, *options]) == 2
    assert_one_line(capsys.readouterr().err, named)
    assert [str(warning.message) for warning in recwarn] == []  # each would be another line
    assert not Path("never.pt").exists()


def assert_one_line(err: str, named: str) -> None:
    """Check that stderr has one line, which names the option or package at fault."""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert named in err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "torchrun started 3 processes; add --ddp or --fsdp"),
        (["--ddp"], "--batch: 4 streams cannot be shared out over 3 processes"),
        (["--fsdp"], "--fsdp: torch"),
    ],
)
def test_ranks_that_cannot_train_get_one_line(
    options: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(char_lm, "can_shard", lambda: False)
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank, lines in (("0", 1), ("1", 0)):  # the first says it for all
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert char_lm.main([*SMALL, *options]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == lines
        assert not lines or told in err


@pytest.mark.parametrize("package", ["matplotlib", "tqdm"])
def test_a_missing_package_gets_one_line(
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    plot = str(tmp_path / "plot.png")
    assert char_lm.main([*SMALL, "--compare", "--plot", plot]) == 2
    assert_one_line(capsys.readouterr().err, f'{package} is not installed; run: pip install "rnn')


def test_a_backend_that_cannot_serve_gets_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str) -> None:
        raise RuntimeError(f"{name} is not built;\nrun pip install")

    monkeypatch.setattr(rnn_kernels, "backend", refuse)
    assert char_lm.main([*SMALL, "--backend", "cpu"]) == 2
    assert_one_line(capsys.readouterr().err, "--backend: cpu is not built; run pip install")


@pytest.mark.parametrize("backend", ["auto", "cpu", "reference"])
def test_every_backend_trains(backend: str) -> None:
    (trainer,) = small_run("--backend", backend).values()
    assert trainer.validation[-1][1] < trainer.validation[0][1] - 1


@pytest.mark.slow
def test_it_runs_as_a_program(tmp_path: Path) -> None:
    source = str(Path(rnn_kernels.__file__).parents[1])
    options = ["--compare", "--plot", "new.png", "--threads", "1"]
    command = [sys.executable, EXAMPLES / "char_lm.py", *SMALL, *options]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rnn_kernels" in done.stdout
    assert (tmp_path / "new.png").exists()
