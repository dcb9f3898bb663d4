"""The soak: it passes where memory is given back, and fails where it is not."""

from __future__ import annotations

import pytest
import soak
import torch
from random_layers import RandomLayer

MIB = 1 << 20


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "LAYERS", 3)


def test_nothing_is_kept(capsys: pytest.CaptureFixture) -> None:
    assert soak.main(["--minutes", "0.01"]) == 0
    assert "resident: " in capsys.readouterr().out


def test_what_is_kept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so large that they are no memory which this process had used before."""
    kept, calls = [], iter(range(1 << 20))
    monkeypatch.setitem(soak.SLACK, "resident", 4 * MIB)

    def leak(layer: RandomLayer) -> None:
        if next(calls) % (3 * soak.CALLS) == 0 and len(kept) < 9:  # once in a round
            kept.append(torch.ones(36 * MIB // 4))

    found = soak.soak("cpu", 0.01, leak)
    assert len(kept) >= 2
    wrong = soak.grown(found)
    assert len(wrong) == 1 and wrong[0].startswith("resident: ")


def test_each_kind_of_memory_counts() -> None:
    before = dict.fromkeys(soak.SLACK, 100 * MIB)
    assert soak.grown([before, before]) == []
    for kind, slack in soak.SLACK.items():
        assert not soak.grown([before, before | {kind: 100 * MIB + slack}])
        assert soak.grown([before, before | {kind: 100 * MIB + slack + 1}])
