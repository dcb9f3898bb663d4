"""Two builds beside each other: their workers, their turns, their table."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from benchmark_cases import LSTM, WHERE

from benchmarks import compare
from benchmarks.host.environment import ROOT
from benchmarks.measuring import results
from benchmarks.measuring.gate import Verdict
from benchmarks.measuring.timing import QUICK, Effort
from benchmarks.measuring.worker import Worker

SHORT = Effort(budget_s=0, min_rounds=2, patience_s=0)


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """A folder with a package of its own, as a build of another commit is."""
    site = tmp_path_factory.mktemp("site")
    ignored = shutil.ignore_patterns("__pycache__", "_cuda*")
    shutil.copytree(ROOT / "rnn_kernels", site / "rnn_kernels", ignore=ignored)
    shutil.copytree(ROOT / "triton_kernels", site / "rnn_kernels/triton_kernels", ignore=ignored)
    return site


@pytest.fixture
def worker(other: Path) -> Iterator[Worker]:
    one = Worker("base", (other, ROOT), "cpu")
    yield one
    one.close()


@pytest.mark.slow
def test_a_worker_has_the_package_it_was_given(worker: Worker, other: Path) -> None:
    assert worker.package == other / "rnn_kernels"
    verdict, used = worker.prepare(LSTM, "fwd_bwd")
    assert verdict.status == "ok" and 0 <= verdict.error_ratio <= 2 and used == "cpu"
    assert worker.turn(3) > 0
    verdict, _ = worker.prepare(replace(LSTM, dtype="float64", mode="infer"), "fwd")
    assert verdict.status == "ok" and worker.turn(1) > 0


@pytest.mark.slow
def test_a_worker_that_ends_says_so(worker: Worker) -> None:
    with pytest.raises(RuntimeError, match="worker with base ended, code 1"):
        worker.turn(1)  # nothing was prepared


@pytest.mark.slow
def test_both_builds_take_turns_and_the_table_has_their_ratio(
    other, monkeypatch, tmp_path, capsys
) -> None:
    monkeypatch.setattr(compare, "built", lambda commit, device: other)
    monkeypatch.setattr(compare, "resolved", lambda ref: "0123456789ab")
    monkeypatch.setattr(compare, "RUN_IN_S", 0.0)
    monkeypatch.setitem(QUICK, "cpu", SHORT)
    path = tmp_path / "rows.csv"
    options = ["--device", "cpu", "--quick", "--preset", "deepar", "--output", str(path)]
    assert compare.main(["HEAD", *options]) == 0
    rows = results.read(path)
    assert [(row.provider, row.pass_, row.status) for row in rows] == [
        (name, one, "ok") for one in ("fwd", "fwd_bwd") for name in ("base", "this")
    ]
    for row in rows:
        assert row.backend_used == "cpu"
        here = (row.commit, row.sources) == (WHERE.commit, WHERE.sources)
        assert here if row.provider == "this" else row.sources == ""
    out = capsys.readouterr().out
    assert f"base: {other / 'rnn_kernels'}" in out and f"this: {ROOT / 'rnn_kernels'}" in out
    for one in ("fwd", "fwd_bwd"):
        base, this = (row.median_us for row in rows if row.pass_ == one)
        (line,) = (text.split() for text in out.splitlines() if text.split()[1:2] == [one])
        assert line[:3] == ["deepar", one, f"{base:.1f}"]
        assert float(line[3].rstrip("x~")) == pytest.approx(base / this, abs=0.02)


def test_what_is_wrong_is_not_timed(monkeypatch, capsys) -> None:
    class Fake:
        def __init__(self, name: str, verdict: Verdict) -> None:
            self.name, self.verdict = name, verdict

        def prepare(self, *_: object) -> tuple[Verdict, str]:
            return self.verdict, "cpu"

        def turn(self, number: int) -> float:
            raise AssertionError("timed")

    right = Verdict("ok", 0.5)
    wrong = Verdict("wrong", 9.0, "y is off")
    workers = {Fake("base", right): WHERE, Fake("this", wrong): WHERE}
    rows = compare.compared(workers, LSTM, "fwd", SHORT)
    assert [(row.provider, row.status, row.median_us) for row in rows] == [
        ("base", "ok", None),
        ("this", "wrong", None),
    ]
    assert "this on small fwd: y is off" in capsys.readouterr().out


def test_a_commit_is_built_once_from_its_own_files(monkeypatch, tmp_path) -> None:
    seen = []
    run = subprocess.run

    def fake(command, **more):
        if "pip" not in command:
            return run(command, **more)
        source, target = Path(command[-1]), Path(command[command.index("--target") + 1])
        seen.append((source / "setup.py").exists() and more["env"]["RNN_KERNELS_CUDA"])
        (target / "rnn_kernels").mkdir(parents=True)

    monkeypatch.setattr(compare, "ROOT", tmp_path)
    monkeypatch.setattr(subprocess, "run", fake)
    for name in ("setup.py", "rnn_kernels.txt"):
        (tmp_path / name).write_text(name)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "one"]):
        run([*git, *words], check=True)
    head = compare.resolved("HEAD")
    assert len(head) == 12 and compare.resolved("no-such-thing") == ""
    first, again = compare.built(head, "cpu"), compare.built(head, "cpu")
    assert first == again and (first / "rnn_kernels").is_dir()
    assert first.is_relative_to(tmp_path / "build" / "compare") and seen == ["0"]
    compare.built(head, "cuda")
    assert seen == ["0", "1"]


@pytest.mark.parametrize("options", [[], ["no-such-commit"], ["--pass", "bwd", "HEAD"]])
def test_a_bad_option_costs_one_line_and_exit_code_2(options: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        compare.main(["--device", "cpu", *options])
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and "benchmarks.compare" in said.err
