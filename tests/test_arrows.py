"""Imports point one way. This table is the architecture."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gtn_bench

ROOT = Path(gtn_bench.__file__).parent

TABLES = {"description", "datasets", "learners", "teaching", "modes", "perturbations"}  # all that a suite can name

# Each module or package, and what of this package it may import (besides itself).
ALLOWED: dict[str, set[str]] = {
    "description": set(),
    "cache": {"description"},
    "suite": {"description"},
    "datasets": {"description"},
    "learners": {"description", "datasets"},
    "teaching": {"description", "cache", "datasets", "learners"},
    "modes": {"description", "cache", "datasets", "learners", "teaching"},
    "losses": set(),
    "classifiers": {"description", "learners", "losses"},
    "perturbations": {"description", "datasets", "losses", "classifiers"},
    "reference": {"description", "learners", "classifiers", "perturbations"},
    "catalogue": TABLES,
    "cells": TABLES | {"cache", "suite", "reference"},
    "planner": TABLES | {"cells", "suite", "reference"},
    "schema": {"description", "suite", "teaching", "perturbations", "catalogue"},
    "statistics": set(),
    "evidence": set(),
    "analysis": {"statistics", "suite"},
    "leaderboard": {"analysis"},
    "results": {"description", "cache", "analysis"},
    "work": TABLES | {"cache", "cells", "classifiers", "reference"},
    "runner": {"description", "cache", "cells", "suite", "schema", "results", "analysis", "evidence", "work"},
    "teacher_training": {"description", "cache", "suite", "datasets", "teaching", "planner", "work", "runner"},
    "reporting": {"description", "cache", "suite", "teaching", "reference", "results", "analysis", "leaderboard"},
    "cli": {
        *("description", "suite", "teaching", "reference", "catalogue", "cells", "planner", "schema", "runner"),
        *("teacher_training", "reporting", "results", "analysis", "cache", "__version__"),
    },
    "__main__": {"cli"},
}


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "gtn_bench":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gtn_bench."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("gtn_bench.")}
    return found


FILES = [file for file in sorted(ROOT.rglob("*.py")) if file != ROOT / "__init__.py" and "suites" not in file.parts]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_upstream(file: Path) -> None:
    home = file.relative_to(ROOT).parts[0].removesuffix(".py")
    assert imported(file) - {home} <= ALLOWED[home]


def test_only_the_command_line_prints() -> None:
    for file in FILES:
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        prints = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
        assert not prints or file.name == "cli.py", file


@pytest.mark.parametrize("module", ["planner", "runner", "reporting", "schema", "cli"])
def test_planning_and_reporting_do_without_torch(module: str) -> None:
    code = f"import sys, gtn_bench.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
