"""Imports point one way. The table is the architecture of the package."""

from __future__ import annotations

import ast
import configparser
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gtn_bench

ROOT = Path(gtn_bench.__file__).parent

# Everything that a suite can name.
TABLES = {"data", "models", "teaching", "modes", "perturbations"}

# Each folder or top-level module, and those that it may import besides itself, in functions and for types too.
ALLOWED: dict[str, set[str]] = {
    "config": set(),
    "store": {"config"},
    "data": {"config", "store"},
    "models": {"config", "data"},
    "inference": {"config", "models"},
    "checks": {"config", "data", "models", "inference", "perturbations", "evaluation"},
    "certification": {"config", "models", "inference"},
    "teaching": {"config", "store", "data", "models"},
    "modes": {"config", "store", "data", "models", "teaching"},
    "perturbations": {"config", "store", "data", "models", "inference"},
    "evaluation": {"config", "inference", "perturbations"},
    "reference": {"config", "models", "inference", "perturbations"},
    "planning": TABLES | {"config", "store", "reference", "certification"},
    "analysis": {"config", "store"},
    "reporting": {"config", "store", "analysis", "reference", "teaching"},
    "execution": {
        *("config", "store", "data", "inference", "teaching", "modes", "perturbations", "evaluation", "reference"),
        *("certification", "checks", "planning", "analysis", "reporting"),
    },
    "console": {"config", "execution"},
    "usage": {"config"},
    "cli": {
        *("__version__", "config", "store", "teaching", "planning", "analysis", "execution", "reporting", "console"),
        "usage",
    },
    "__main__": {"cli"},
}

FILES = [file for file in sorted(ROOT.rglob("*.py")) if file != ROOT / "__init__.py"]


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in FILES}


def home(module: str) -> str:
    """Return the folder or top-level module that a module belongs to."""
    return module.split(".")[1]


def nodes(file: Path, *, types: bool) -> Iterator[ast.AST]:
    """Visit all nodes of a file; without `types` not those under ``if TYPE_CHECKING:``."""
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        yield node
        if not types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def imported(file: Path, *, types: bool = True) -> set[str]:
    """Return the full names that a file imports: modules where the name is one, else what is imported from them."""
    found = set()
    for node in nodes(file, types=types):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES or node.module == "gtn_bench" else str(node.module) for name in whole}
    return found


def imported_homes(file: Path) -> set[str]:
    return {home(name) for name in imported(file) if name.startswith("gtn_bench.")}


def reachable(start: str) -> set[str]:
    """Return everything that a folder imports, directly or through others, according to the table."""
    found: set[str] = set()
    waiting = {start}
    while waiting:
        waiting |= ALLOWED.get(waiting.pop(), set()) - found
        found |= waiting
    return found


def relative(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_imports_follow_the_table(file: Path) -> None:
    own = home(module_name(file))
    assert imported_homes(file) - {own} <= ALLOWED[own]


def test_table_allows_no_import_that_does_not_exist() -> None:
    actual: dict[str, set[str]] = {own: set() for own in ALLOWED}
    for module, file in MODULES.items():
        actual[home(module)] |= imported_homes(file) - {home(module)}
    assert actual == ALLOWED


def test_folder_graph_has_no_cycle() -> None:
    order = list(graphlib.TopologicalSorter(ALLOWED).static_order())  # raises CycleError
    assert order.index("config") < order.index("data") < order.index("models") < order.index("inference")
    assert order[-1] == "__main__" and {*order} == {*ALLOWED, "__version__"}


def test_module_graph_has_no_cycle() -> None:
    """Imports in functions count; those under ``if TYPE_CHECKING:`` do not, because they never run."""
    graph = {module: imported(file, types=False) & MODULES.keys() for module, file in MODULES.items()}
    assert len(graph) > 80 and sum(map(len, graph.values())) > 200
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the modules of a cycle


@pytest.mark.parametrize("folder", ["data", "models", "teaching", "modes"])
def test_training_never_imports_inference_or_attacks(folder: str) -> None:
    """Keys of teachers and learners cover what they import, so that attack code must not be among it."""
    attack_code = {"inference", "perturbations", "evaluation", "execution"}
    assert not reachable(folder) & attack_code
    for file in sorted((ROOT / folder).rglob("*.py")):
        assert not imported_homes(file) & attack_code, file


def test_reporting_imports_only_the_file_format_of_teaching_sets_and_the_published_curves() -> None:
    found = set().union(*(imported(file) for file in (ROOT / "reporting").rglob("*.py")))
    assert {name for name in found if name.startswith("gtn_bench.teaching")} == {"gtn_bench.teaching.encoding"}
    assert {name for name in found if name.startswith("gtn_bench.reference")} == {"gtn_bench.reference.curves"}


def test_analysis_imports_only_configuration_and_storage() -> None:
    assert reachable("analysis") == {"config", "store"}


@pytest.mark.parametrize("folder", ["config", "analysis", "reporting"])
def test_tables_and_pages_never_import_torch(folder: str) -> None:
    for file in sorted((ROOT / folder).rglob("*.py")):
        assert "torch" not in {name.split(".")[0] for name in imported(file)}, file


def test_only_the_command_line_prints() -> None:
    printing = set()
    for file in FILES:
        calls = [node.func for node in nodes(file, types=True) if isinstance(node, ast.Call)]
        prints = any(isinstance(function, ast.Name) and function.id == "print" for function in calls)
        if prints or "rich" in {name.split(".")[0] for name in imported(file)}:
            printing.add(relative(file))
    assert {name for name in printing if not name.startswith("cli/")} == {"console.py"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    ["planning.planner", "planning.schema", "execution.runner", "execution.teach", "reporting", "cli"],
)
def test_planning_reporting_and_command_line_import_without_torch(module: str) -> None:
    code = f"import sys, gtn_bench.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_distribution_has_every_package() -> None:
    repository = Path(__file__).parents[1]
    setup = configparser.ConfigParser()
    setup.read(repository / "setup.cfg")
    listed = {name for name in setup["options"]["packages"].split() if ".shipped." not in name}
    folders = [file.parent.relative_to(repository) for file in (repository / "gtn_bench").rglob("__init__.py")]
    assert listed == {".".join(folder.parts) for folder in folders}
