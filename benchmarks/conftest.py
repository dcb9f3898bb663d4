"""pytest benchmarks/ [--quick] [--benchmark-...]: the benchmarks through pytest-benchmark."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="small T and B, few rounds")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("python_files", "bench_*.py")
