"""The soak: it passes where memory is given back, and fails where it is not."""

from __future__ import annotations

import subprocess
import sys

import pytest
import soak
from paths import HELPERS

# In a process of its own: what other tests leave behind may be given back at any time.
PLAY = """
import sys, time, soak, torch
from random_layers import RandomLayer

kept = []

def leak(layer):
    time.sleep(0.02)
    kept.append(torch.ones(4 << 20))  # 16 MiB

soak.LAYERS = 3
play = {"keep nothing": RandomLayer.results, "leak": leak}[sys.argv[1]]
for line in soak.grown(soak.soak("cpu", 0.6, play)):
    print("grew:", line)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("play", "grows"), [("keep nothing", False), ("leak", True)])
def test_what_is_kept_is_noticed(play: str, grows: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLAY, play],
        capture_output=True,
        text=True,
        check=True,
        cwd=HELPERS,
    )
    assert done.stdout.startswith("resident: ")
    assert ("grew: resident: " in done.stdout) == grows


def test_what_grew_decides_how_the_command_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    used, asked = iter([0, 0, 0, 1 << 40]), []

    def played(*arguments: object) -> list[dict[str, int]]:
        asked.append(arguments)
        return [{"resident": next(used)} for _ in range(2)]

    monkeypatch.setattr(soak, "soak", played)
    assert soak.main(["--minutes", "0.5"]) == 0
    assert "grew" not in capsys.readouterr().out
    assert soak.main(["--minutes", "2", "--device", "cuda"]) == 1
    assert asked == [("cpu", 30.0), ("cuda", 120.0)]
    assert "grew: resident: 0.0 MiB, 1 rounds later" in capsys.readouterr().out


def test_each_kind_of_memory_counts() -> None:
    before = dict.fromkeys(soak.SLACK, 100 * soak.MIB)
    assert soak.grown([before, before]) == []
    for kind, slack in soak.SLACK.items():
        assert not soak.grown([before, before | {kind: 100 * soak.MIB + slack}])
        assert soak.grown([before, before | {kind: 100 * soak.MIB + slack + 1}])
