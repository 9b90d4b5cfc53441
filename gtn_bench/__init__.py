"""gtn-bench: are networks trained on synthetic data less robust?

import gtn_bench

suite = gtn_bench.load("demo")              # or a path to a YAML file
plan = gtn_bench.plan(suite)                # every mistake in it is reported here
results = gtn_bench.run(plan, "results")    # cached by content, continues by itself
print(results.curves)
gtn_bench.report("results")                 # figures and report.md

spec = gtn_bench.load_teacher("digits")     # or a path to a YAML file
gtn_bench.teach(spec, "teachers/digits")    # continues by itself
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtn_bench.cells import Plan
    from gtn_bench.description import Mistake
    from gtn_bench.planner import plan
    from gtn_bench.reporting import report
    from gtn_bench.results import Results
    from gtn_bench.runner import run
    from gtn_bench.suite import Suite, load
    from gtn_bench.teacher_training import TeacherSpec, load_teacher, retrain, teach

__version__ = "0.1.0"
__all__ = [
    "Mistake",
    "Plan",
    "Results",
    "Suite",
    "TeacherSpec",
    "load",
    "load_teacher",
    "plan",
    "report",
    "retrain",
    "run",
    "teach",
]

_HOMES = {
    "Mistake": "description",
    "Plan": "cells",
    "Results": "results",
    "Suite": "suite",
    "TeacherSpec": "teacher_training",
    "load": "suite",
    "load_teacher": "teacher_training",
    "plan": "planner",
    "report": "reporting",
    "retrain": "teacher_training",
    "run": "runner",
    "teach": "teacher_training",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used: torch takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gtn_bench' has no attribute '{name}'")
    return getattr(importlib.import_module(f"gtn_bench.{_HOMES[name]}"), name)
