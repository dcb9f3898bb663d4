"""pytest benchmarks/ [--device cpu|cuda] [--quick] [--benchmark-...]: through pytest-benchmark."""

import pytest

from benchmarks.host.device import default_device, set_up, usable_device


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", type=usable_device, default=default_device(), help="cpu or cuda")
    parser.addoption("--quick", action="store_true", help="small T and B, few rounds")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("python_files", "bench_*.py")
    set_up(config.getoption("--device", default=default_device()))
