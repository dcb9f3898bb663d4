"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import ModuleType

# Threads that wait sleep instead of spinning, so that tests keep their pace on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# cuBLAS as reproducible as torch.use_deterministic_algorithms wants it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch  # noqa: E402

# float32 is exact, torch.nn's and ours.
torch.backends.cudnn.allow_tf32 = False
if not torch.cuda.is_available():
    # Triton kernels are interpreted. Their decorators decide at import.
    os.environ["TRITON_INTERPRET"] = "1"

import emulated  # noqa: E402
import pytest  # noqa: E402
import support  # noqa: E402
from kernel_worlds import World  # noqa: E402
from persistent_calls import cut  # noqa: E402
from running import KERNELS, running  # noqa: E402


@pytest.fixture(autouse=True)
def nan_in_empty_memory() -> Iterator[None]:
    """torch.empty is filled with NaN, so that an element no kernel writes fails a comparison."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all() and torch.zeros(2).new_empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A test may take as many as it likes; the next one has what it would have had alone."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[*KERNELS, "reference"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each backend that runs on this machine."""
    with running(request.param, request.node.nodeid) as name:
        yield name


@pytest.fixture(params=KERNELS)
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each of them with kernels of its own."""
    with running(request.param, request.node.nodeid) as name:
        yield name


@pytest.fixture(params=["emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Each of the worlds that tests/kernels run in."""
    world = World(request.param)
    with torch.device(world.device):
        yield world


@pytest.fixture
def cutting(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The emulated backend; its ``by`` says how sequences are cut: (blocks, rows, of a grid?)."""
    backend = emulated.backend()
    monkeypatch.setattr(backend, "by", (1, 1), raising=False)
    monkeypatch.setattr(
        backend,
        "plan",
        lambda cell, like, sizes, backward, packed: cut(cell, like, sizes, backward, *backend.by),
    )
    yield backend


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what runs emulated, slow too, and on a GPU. (Triton's tests do where there is one.)

    What compiles for minutes comes first, or one process would be left with it in the end.
    """
    items.sort(key=lambda item: item.path.stem not in ("test_triton_build", "test_build"))
    there = torch.cuda.is_available()
    for item in items:
        item.user_properties += [("support", claim) for claim in support.claims(item)]
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if "emulated" in parameters.values():
            item.add_marker(pytest.mark.emulated)
        if item.get_closest_marker("emulated"):
            item.add_marker(pytest.mark.slow)  # it takes minutes to compile
        if there and "triton" in (parameters.get("backend"), parameters.get("kernels")):
            item.add_marker(pytest.mark.gpu)
        if not there and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip("needs a CUDA device"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-support", action="store_true", help="write docs/support.md from what tests find"
    )


RECORD = support.Record()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # xdist's workers report to one that is none
        config.pluginmanager.register(RECORD)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the page of supported features, or fails a run of all tests that it disagrees with."""
    config = session.config
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    page, whole = support.PAGE.read_text(), support.is_whole(config)
    complete = whole and session.exitstatus == 0
    if config.option.write_support:
        found = RECORD.rows()
        rows = support.merged(support.read(page), found)
        if complete:
            rows = {name: rows[name] for name in found}
        support.PAGE.write_text(support.written(page, rows))
        return
    wrong = support.complaints(page, RECORD, complete) if whole else []
    if wrong:
        print("\ndocs/support.md is out of date, run `make support`:", *wrong, sep="\n  ")
        session.exitstatus = session.exitstatus or 1
