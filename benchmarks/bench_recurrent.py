"""Every preset, pass and provider as a case of pytest-benchmark, behind the runner's gate."""

from functools import lru_cache

import pytest
import torch

from benchmarks.host.device import default_device
from benchmarks.measuring.gate import Gate
from benchmarks.measuring.timing import QUICK
from benchmarks.providers.table import PROVIDERS, usual_on
from benchmarks.shapes.presets import Preset, device_set
from benchmarks.shapes.workload import make_workload


@lru_cache(maxsize=1)  # cases come preset by preset, and a reference can be large
def gate_of(preset: Preset, device: str) -> Gate:
    return Gate(make_workload(preset, device), preset.passes_on(device))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    quick = metafunc.config.getoption("--quick", default=False)
    device = metafunc.config.getoption("--device", default=default_device())
    cases = [
        pytest.param(device, preset, pass_name, name, id=f"{preset.name}-{pass_name}-{name}")
        for preset in (one.quick() if quick else one for one in device_set(device)[0])
        for pass_name in preset.passes_on(device)
        if not pass_name.startswith("host_")  # its clock waits for the device
        for name in usual_on(device, preset, pass_name)
    ]
    metafunc.parametrize(("device", "preset", "pass_name", "provider"), cases)


def test_recurrent(
    request, benchmark, device: str, preset: Preset, pass_name: str, provider: str
) -> None:
    gate = gate_of(preset, device)
    verdict = gate.check(PROVIDERS[provider], pass_name)
    if verdict.status == "missing":
        pytest.skip(verdict.reason)
    assert verdict.status == "ok", verdict.reason
    candidate = PROVIDERS[provider].build(gate.work, pass_name, preset.dropout)
    benchmark.group = f"{preset.name} {pass_name}"
    benchmark.extra_info["error_ratio"] = verdict.error_ratio

    def finished() -> None:  # pytest-benchmark has the host's clock only
        candidate.call()
        torch.cuda.synchronize()

    call = finished if device == "cuda" else candidate.call
    with candidate.context():
        if request.config.getoption("--quick", default=False):
            benchmark.pedantic(call, rounds=QUICK[device].min_rounds, warmup_rounds=1)
        else:
            benchmark(call)
