"""The worker: a process with one build of rnn_kernels, which checks and times what it is told.

It reads a line of JSON and answers with one: `prepare` a preset and pass, then a `turn` of calls,
as often as it is asked. Until then it waits, so that workers of several builds can take turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..host.device import set_up
from ..host.environment import ROOT
from ..providers.candidate import Candidate
from ..providers.table import PROVIDERS
from ..shapes.presets import Preset
from ..shapes.workload import make_workload
from .gate import Gate, Verdict
from .timing import cpu_seconds, timer_for

START = """
import sys
sys.path[:0] = {paths!r}
from benchmarks.measuring.worker import main
main({device!r})
"""


class Worker:
    """The other end: a process whose `rnn_kernels` is found in the first of `paths` that has one.

    Raises:
        RuntimeError: it ended, or could not start; its own words are on stderr.
    """

    def __init__(self, name: str, paths: Sequence[Path], device: str) -> None:
        code = START.format(paths=[str(path) for path in paths], device=device)
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.package = Path(self._ask())

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        if request:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker with {self.name} ended, code {self._process.wait()}")
        return json.loads(answer)

    def prepare(self, preset: Preset, pass_name: str) -> tuple[Verdict, str]:
        """Checks our layer on it; the backend that runs it. If it is right, turns can follow."""
        verdict, used = self._ask(prepare=asdict(preset), pass_name=pass_name)
        return Verdict(**verdict), used

    def turn(self, number: int) -> float:
        """Seconds that so many calls took."""
        return self._ask(turn=number)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


class Calls:
    """Our layer on the preset that was prepared last."""

    def __init__(self, device: str) -> None:
        self.device, self.timer = device, cpu_seconds
        self.candidate: Candidate | None = None

    def prepare(self, preset: Preset, pass_name: str) -> tuple[dict[str, Any], str]:
        self.candidate, provider = None, PROVIDERS["auto"]
        gate = Gate(make_workload(preset, self.device), [pass_name])
        verdict = gate.check(provider, pass_name)
        if verdict.status == "ok":
            self.candidate = provider.build(gate.work, pass_name, preset.dropout)
            self.timer = timer_for(self.device, pass_name)
        return asdict(verdict), provider.backend_used(gate.work)

    def turn(self, number: int) -> float:
        assert self.candidate, "nothing right was prepared"
        with self.candidate.context():
            return self.timer(self.candidate.call, number)


def main(device: str) -> None:
    """Serves until there are no more lines."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print belongs to people

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    import rnn_kernels

    set_up(device)
    answer(str(Path(rnn_kernels.__file__).parent))
    calls = Calls(device)
    for line in sys.stdin:
        request = json.loads(line)
        if "turn" in request:
            answer(calls.turn(request["turn"]))
        else:
            answer(calls.prepare(Preset(**request["prepare"]), request["pass_name"]))
