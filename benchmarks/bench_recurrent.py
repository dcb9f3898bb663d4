"""Every preset, pass and provider as a case of pytest-benchmark, behind the runner's gate."""

from functools import lru_cache

import pytest

from benchmarks.gate import Gate
from benchmarks.presets import PRESETS, Preset, cpu_set
from benchmarks.providers import PROVIDERS
from benchmarks.timing import QUICK
from benchmarks.workload import make_workload


@lru_cache(maxsize=1)  # cases come preset by preset, and a reference can be large
def gate_of(preset: Preset) -> Gate:
    return Gate(make_workload(preset), preset.passes)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    quick = metafunc.config.getoption("--quick", default=False)
    fitting, _ = cpu_set(PRESETS.values())
    cases = [
        pytest.param(
            preset.quick() if quick else preset,
            pass_name,
            provider,
            id=f"{preset.name}-{pass_name}-{provider}",
        )
        for preset in fitting
        for pass_name in preset.passes
        for provider in PROVIDERS
    ]
    metafunc.parametrize(("preset", "pass_name", "provider"), cases)


def test_recurrent(request, benchmark, preset: Preset, pass_name: str, provider: str) -> None:
    gate = gate_of(preset)
    verdict = gate.check(PROVIDERS[provider], pass_name)
    if verdict.status == "missing":
        pytest.skip(verdict.reason)
    assert verdict.status == "ok", verdict.reason
    candidate = PROVIDERS[provider].build(gate.work, pass_name, preset.dropout)
    benchmark.group = f"{preset.name} {pass_name}"
    benchmark.extra_info["error_ratio"] = verdict.error_ratio
    with candidate.context():
        if request.config.getoption("--quick", default=False):
            benchmark.pedantic(candidate.call, rounds=QUICK.min_rounds, warmup_rounds=1)
        else:
            benchmark(candidate.call)
