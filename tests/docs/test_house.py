"""The layout of the code: which folder may import which, how long files and signatures may be.

Each rule is a function from sources to complaints. It is applied to the project, which has none,
and to a wrong example, which has one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

import pytest
from paths import ROOT

# Folders of a package, or modules in them, from low to high. An import stays on its level or goes
# to a lower one. "" is for the files beside the folders. Each module belongs to the longest name.
LEVELS = {
    "rnn_kernels": [
        "core",
        "backends",  # backends.gpu as well
        "backends.dispatch backends.__init__",
        "operators",
        "export",
        "execution",
        "modules",
        "",
    ],
    # The pages show what the commands measured.
    "benchmarks": ["host", "shapes", "providers", "measuring", "reporting", "", "pages"],
}
COMPILED = ("_core", "_cuda")  # extension modules, which have no Python source
MOST_PARAMETERS = 7
MOST_LINES = 299
FOLDERS = ("rnn_kernels", "triton_kernels", "benchmarks", "examples", "tests")
LONGER: dict[str, int] = {}  # files with more lines, and how many they may have: to be shortened

Sources = dict[str, str]  # by module: "backends.gpu.cuda", "backends.__init__", "functional"


class Import(NamedTuple):
    importer: str
    imported: str
    line: int


def sources(package: str) -> Sources:
    """All modules of a package, without its name."""
    folder = ROOT / package
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts): path.read_text()
        for path in sorted(folder.rglob("*.py"))
    }


def imports(package: str, modules: Sources) -> Iterator[Import]:
    """Every import of one module of the package by another, wherever in the file it stands."""
    for importer, text in modules.items():
        for node in ast.walk(ast.parse(text)):
            for names in asked_for(package, importer, node):
                found = (name for one in names for name in (one, f"{one}.__init__".lstrip(".")))
                imported = next((name for name in found if name in modules), None)
                if imported is not None and imported != importer:
                    yield Import(importer, imported, node.lineno)


def asked_for(package: str, importer: str, node: ast.AST) -> Iterator[list[str]]:
    """What each name of an import statement may be, a module or something in one."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if (parts := alias.name.split("."))[0] == package:
                yield [".".join(parts[1:])]
    elif isinstance(node, ast.ImportFrom):
        parts = node.module.split(".") if node.module else []
        if node.level:
            here = importer.split(".")
            parts = here[: len(here) - node.level] + parts
        elif parts[0] == package:
            parts = parts[1:]
        else:
            return
        for alias in node.names:
            if alias.name not in COMPILED:
                yield [".".join([*parts, alias.name]), ".".join(parts)]


def level(package: str, module: str) -> int:
    """The place of a module in the list of levels."""

    def covers(name: str) -> bool:
        return not name or module == name or module.startswith(f"{name}.")

    names = {name: k for k, one in enumerate(LEVELS[package]) for name in one.split() or [""]}
    return names[max(filter(covers, names), key=len)]


def imports_that_go_up(package: str, modules: Sources) -> list[str]:
    return [
        f"{package}/{one.importer}:{one.line} imports {one.imported}, which is above it"
        for one in imports(package, modules)
        if level(package, one.importer) < level(package, one.imported)
    ]


def circles(package: str, modules: Sources) -> list[str]:
    graph: dict[str, set[str]] = {}
    for one in imports(package, modules):
        graph.setdefault(one.importer, set()).add(one.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" is imported by ".join(error.args[1])]
    return []


def long_signatures(package: str, modules: Sources) -> list[str]:
    return [
        f"{package}/{module}:{function.lineno} {function.name} takes {number} parameters"
        for module, text in modules.items()
        for function, owner in functions(ast.parse(text))
        if (number := parameters(function, owner)) > MOST_PARAMETERS
        and not is_prescribed(module, function, owner)
    ]


def functions(
    tree: ast.AST, owner: ast.ClassDef | None = None
) -> Iterator[tuple[ast.FunctionDef, ast.ClassDef | None]]:
    """All functions, each with the class that it is a method of."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield node, owner
            yield from functions(node)
        else:
            yield from functions(node, node if isinstance(node, ast.ClassDef) else owner)


def parameters(function: ast.FunctionDef, owner: ast.ClassDef | None) -> int:
    """How many a caller sees: without self and cls, and with one for each of * and **."""
    all_of = function.args
    number = len(all_of.posonlyargs + all_of.args + all_of.kwonlyargs)
    number += sum(one is not None for one in (all_of.vararg, all_of.kwarg))
    return number - (owner is not None and "staticmethod" not in decorators(function))


def decorators(function: ast.FunctionDef) -> list[str]:
    return [ast.unparse(one) for one in function.decorator_list]


def is_prescribed(module: str, function: ast.FunctionDef, owner: ast.ClassDef | None) -> bool:
    """Whether torch.nn or torch.library says what a function takes."""
    if module == "functional":  # what users call
        return owner is None and not function.name.startswith("_")
    if owner is None:
        return any("register_fake" in one for one in decorators(function))
    if any(ast.unparse(base).endswith("autograd.Function") for base in owner.bases):
        return function.name in ("forward", "backward")
    return module.startswith("modules.") and function.name in ("__init__", "forward")


def long_files(lines: dict[str, int]) -> list[str]:
    return [
        f"{name} has {number} lines"
        for name, number in lines.items()
        if number > LONGER.get(name, MOST_LINES)
    ]


@pytest.mark.parametrize("rule", [imports_that_go_up, circles])
@pytest.mark.parametrize("package", LEVELS)
def test_imports(package: str, rule) -> None:
    assert len(list(imports(package, sources(package)))) > 30
    assert rule(package, sources(package)) == []


def test_signatures() -> None:
    assert long_signatures("rnn_kernels", sources("rnn_kernels")) == []


def test_files_are_short() -> None:
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert len(lines) > 100 and long_files(lines) == []
    assert all(lines[name] > MOST_LINES for name in LONGER), "it is short enough now"


def test_basenames_of_tests_are_unique() -> None:
    """Pytest needs that, for the folders of tests are no packages."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) > 50 and len(names) == len(set(names))


# The rules notice what they are for.


@pytest.mark.parametrize(
    "statement",
    [
        "from ..functional import layer",
        "from .. import functional",
        "from rnn_kernels.functional import layer",
        "from rnn_kernels import functional",
        "import rnn_kernels.functional",
        "def late():\n    from .. import functional",
        "if TYPE_CHECKING:\n    from ..functional import layer",
    ],
)
def test_every_kind_of_import_is_seen(statement: str) -> None:
    modules = {"core.cells": statement, "functional": "", "core.__init__": ""}
    (line,) = imports_that_go_up("rnn_kernels", modules)
    assert "core.cells" in line and "imports functional" in line
    assert imports_that_go_up("rnn_kernels", {"functional": "from .core import cells"}) == []


def test_the_dispatcher_is_above_the_backends() -> None:
    modules = {
        "backends.__init__": "from .dispatch import backend",
        "backends.dispatch": "from . import cpu\nfrom .gpu import cuda",
        "backends.cpu": "from .. import _core",
        "backends.gpu.cuda": "from ... import _cuda\nfrom ..cpu import choose",
        "__init__": "",
    }
    assert imports_that_go_up("rnn_kernels", modules) == []
    modules["backends.gpu.cuda"] = "from ..dispatch import choose"
    (line,) = imports_that_go_up("rnn_kernels", modules)
    assert "imports backends.dispatch" in line


def test_a_circle_is_noticed() -> None:
    modules = {"a": "from . import b", "b": "from .c import x", "c": "", "d": "from .a import y"}
    assert circles("rnn_kernels", modules) == []
    modules["c"] = "def f():\n    from .a import y"
    (line,) = circles("rnn_kernels", modules)
    assert sorted(set(line.split(" is imported by "))) == ["a", "b", "c"]


EIGHT = "a, b, c, d, e, f, g, h"


@pytest.mark.parametrize(
    ("module", "text", "number"),
    [
        ("core.cells", f"def f({EIGHT}): pass", 8),
        ("core.cells", "def f(a, b, c, d, /, e, *f, g, **h): pass", 8),
        ("core.cells", "def f(a, b, c, d, e, *rest, last): pass", None),
        ("core.cells", f"class C:\n    def f(self, {EIGHT}): pass", 8),
        ("core.cells", f"class C:\n    def f({EIGHT}): pass", None),
        ("core.cells", f"class C:\n    @staticmethod\n    def f({EIGHT}): pass", 8),
        ("core.cells", f"def f():\n    def inner({EIGHT}): pass", 8),
        ("core.cells", f"class C:\n    def forward(self, {EIGHT}): pass", 8),
        ("functional", f"def layer({EIGHT}): pass", None),
        ("functional", f"def _layer({EIGHT}): pass", 8),
        ("modules.layers", f"class LSTM(Base):\n    def __init__(self, {EIGHT}): pass", None),
        ("modules.layers", f"class LSTM(Base):\n    def other(self, {EIGHT}): pass", 8),
        ("operators.gates", f"@torch.library.register_fake('gates')\ndef _({EIGHT}): pass", None),
        ("operators.gates", f"@torch.library.custom_op('gates')\ndef _({EIGHT}): pass", 8),
        (
            "execution.recompute",
            f"class R(torch.autograd.Function):\n    @staticmethod\n    def forward({EIGHT}): pass",
            None,
        ),
    ],
)
def test_parameters_are_counted(module: str, text: str, number: int | None) -> None:
    found = long_signatures("rnn_kernels", {module: text})
    assert len(found) == (number is not None)
    assert all(line.endswith(f" takes {number} parameters") for line in found)


def test_a_long_file_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert long_files({"a.py": MOST_LINES, "b.py": MOST_LINES + 1}) == [
        f"b.py has {MOST_LINES + 1} lines"
    ]
    monkeypatch.setitem(LONGER, "b.py", MOST_LINES + 1)
    assert long_files({"b.py": MOST_LINES + 1}) == []
    assert long_files({"b.py": MOST_LINES + 2}) != []


def test_what_is_in_no_folder_of_the_list_is_on_top() -> None:
    assert level("rnn_kernels", "new.module") == level("rnn_kernels", "functional")
    assert level("rnn_kernels", "backends.gpu.cuda") == level("rnn_kernels", "backends.cpu")
