"""`python -m rnn_kernels bench`: sizes of one's own."""

import sys

import pytest
from benchmark_cases import WHERE
from rnn_kernels.benchmarks import own
from rnn_kernels.benchmarks.measuring import findings, results
from rnn_kernels.benchmarks.measuring.timing import Effort
from rnn_kernels.benchmarks.providers.table import PROVIDERS

from rnn_kernels.__main__ import main as command_line

SMALL = ["--input", "5", "--hidden", "7", "--batch", "3", "--time", "4", "--device", "cpu"]


@pytest.fixture(autouse=True)
def short(monkeypatch) -> None:
    monkeypatch.setitem(own.EFFORTS, "cpu", Effort(budget_s=0, min_rounds=2, patience_s=0))
    monkeypatch.setattr(findings, "RUN_IN_S", 0.0)


def bench(*options: str) -> int:
    return command_line(["bench", *SMALL, *options])


def lines_of(out: str) -> dict[tuple[str, ...], list[str]]:
    """By pass and provider, what stands beside."""
    found = {}
    for line in out.splitlines():
        words = line.split()
        if words[:1] and words[0] in ("fwd", "fwd_bwd"):
            found[words[0], words[1]] = words[2:]
    return found


@pytest.mark.slow
def test_torch_nn_stands_beside_every_backend_that_works(capsys) -> None:
    assert bench("--bidirectional", "--layers", "2", "--dropout", "0.5") == 0
    out = capsys.readouterr().out
    assert "LSTM I 5, H 7, L 2, D 2, B 3, T 4 on" in out and WHERE.device in out
    lines = lines_of(out)
    names = ("torch.nn", "auto", "cpu", "reference")
    assert list(lines) == [(one, name) for one in ("fwd", "fwd_bwd") for name in names]
    for one in ("fwd", "fwd_bwd"):
        us, per_step, ratio, *_ = lines[one, "torch.nn"]
        assert float(us) / 4 == pytest.approx(float(per_step), abs=0.02) and ratio[:5] == "1.00x"
        assert lines[one, "auto"][0] == "(cpu)"
    for layer in (0, 1):  # the plan
        assert f"LSTM, layer {layer}: backend cpu, T 4, B 3, H 7, D 2" in out
    assert "compiled loop" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, text",
    [
        (["--cell", "GRU", "--resets", "0.3", "--inference"], "GRU I 5, H 7, L 1, D 1, B 3, T 4"),
        (["--packed", "--inference"], "T 4, packed on"),
        (["--dtype", "bfloat16", "--inference"], "T 4, bfloat16 on"),
    ],
)
def test_other_kinds_of_call(options: list[str], text: str, capsys) -> None:
    assert bench(*options) == 0
    out = capsys.readouterr().out
    assert text in out and {one for one, _ in lines_of(out)} == {"fwd"}


def test_a_named_shape_and_a_file(tmp_path, capsys) -> None:
    path = tmp_path / "rows.csv"
    options = ["--device", "cpu", "--preset", "silero-vad", "--output", str(path)]
    assert command_line(["bench", *options]) == 0
    rows = results.read(path)
    assert {(row.preset, row.H, row.T) for row in rows} == {("silero-vad", 128, 1)}
    assert {row.status for row in rows} == {"ok"} and f"written: {path}" in capsys.readouterr().out


@pytest.mark.slow
def test_peers_come_where_asked_for_and_say_why_they_do_not(monkeypatch, capsys) -> None:
    for package in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, package, None)
    assert bench("--inference", "--peers") == 0
    out = capsys.readouterr().out
    assert "not here: onnxruntime: needs onnx and onnxruntime: pip install" in out
    assert bench("--inference") == 0
    assert "onnxruntime" not in capsys.readouterr().out


def test_what_is_wrong_has_no_time(monkeypatch, capsys) -> None:
    right = type(PROVIDERS["reference"]).build

    def build(self, *call):
        candidate = right(self, *call)
        if self.name != "reference":
            return candidate
        return type(candidate)(
            lambda: tuple(1.001 * one for one in candidate.call()), candidate.context
        )

    monkeypatch.setattr(type(PROVIDERS["reference"]), "build", build)
    assert bench("--inference") == 1
    out = capsys.readouterr().out
    assert lines_of(out)["fwd", "reference"] == ["wrong"] and "as far off as torch.nn" in out


@pytest.mark.parametrize(
    "options, said",
    [
        (["--hidden", "0"], "at least 1, got '0'"),
        (["--layers", "two"], "at least 1, got 'two'"),
        (["--resets", "1.5"], "from 0 to 1, got '1.5'"),
        (["--packed", "--resets", "0.1"], "one of the two"),
        (["--preset", "deepar"], "--preset deepar: has sizes of its own"),
        (["--preset", "nobody"], "invalid choice"),
        (["--output", "/no/such/folder/rows.csv"], "no such folder"),
    ],
)
def test_a_bad_option_is_refused_before_anything_is_measured(options, said, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench(*options)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_without_tqdm_lines_say_how_far_it_is(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert bench("--inference") == 0
    said = capsys.readouterr().err
    assert "pip install tqdm" in said and "1/1 own fwd" in said
