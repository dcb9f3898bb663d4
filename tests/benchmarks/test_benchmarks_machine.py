"""What the machine can do: rates, file, the best of them."""

from dataclasses import replace

import pytest
from benchmark_cases import WHERE

from benchmarks import machine
from benchmarks.measuring import results
from benchmarks.reporting.limits import TRIP_US, corner_gflop, limit_gflops


def test_a_quick_look_writes_nothing(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert machine.main(["--device", "cpu", "--quick"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("product", "bfloat16", "read in cache", "GFLOP/s", "GB/s"))
    assert list(tmp_path.iterdir()) == []


def test_a_whole_run_replaces_the_device_s_file(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(machine, "EFFORT", machine.QUICK)
    monkeypatch.setitem(machine.PRODUCTS, "cpu", (32, 64))
    monkeypatch.setattr(machine, "UNCACHED", 64)
    monkeypatch.setattr(machine, "BUSY", float("inf"))  # other tests run beside it
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert machine.main(["--device", "cpu"]) == 0
    rows = results.read(results.official_path(WHERE.device, "machine"), machine.Row)
    assert [(row.what, row.dtype, row.size) for row in rows] == [
        *(("product", dtype, size) for dtype in ("float32", "bfloat16") for size in (32, 64)),
        ("read in cache", "float32", 1024),
        ("read from memory", "float32", 64),
    ]
    for row in rows:
        work = 2 * row.size**3 if row.what == "product" else 4 * row.size**2
        assert row.rate == pytest.approx(1e-3 * work / row.median_us, rel=0.01, abs=0.06)
        assert row.unit == ("GFLOP/s" if row.what == "product" else "GB/s")
    other = replace(rows[0], rate=rows[0].rate + 1e6)
    assert machine.best([*rows, other], "product") == other.rate
    assert machine.best(rows, "product", "float16") is None


def test_products_are_by_the_library_that_layers_choose(monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(machine, "linear", lambda a, b, bias: seen.append((a, b)))
    for what, dtype, size, call in machine.tried("cpu", quick=True):
        seen.clear()
        call()
        operands = [(str(x.dtype), x.shape) for both in seen for x in both]
        wanted = 2 if what == "product" else 0
        assert operands == [(f"torch.{dtype}", (size, size))] * wanted


def test_a_peak_of_a_busy_machine_is_not_written(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(machine, "measured", lambda *_: ([], machine.BUSY + 1))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert machine.main(["--device", "cpu"]) == 1
    assert "not written" in capsys.readouterr().out and list(tmp_path.iterdir()) == []


def test_a_peak_is_not_measured_on_sleeping_threads(monkeypatch, capsys) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    with pytest.raises(SystemExit):
        machine.main(["--device", "cpu"])
    assert "OMP_WAIT_POLICY is set" in capsys.readouterr().err


def test_on_a_gpu_a_small_step_is_held_to_a_trip() -> None:
    assert limit_gflops(1e-6, 1000.0, on_gpu=False) == 1000.0
    assert limit_gflops(1e-6, 1000.0, on_gpu=True) == pytest.approx(1 / TRIP_US)
    assert limit_gflops(1.0, 1000.0, on_gpu=True) == 1000.0
    corner = corner_gflop(1000.0)
    assert limit_gflops(0.99 * corner, 1000.0, on_gpu=True) == pytest.approx(990.0)
    assert limit_gflops(1.01 * corner, 1000.0, on_gpu=True) == 1000.0
