"""gtn-bench: are networks trained on synthetic data less robust?

import gtn_bench

suite = gtn_bench.load("demo")  # or a path to a YAML file
plan = gtn_bench.plan(suite)  # reports every problem of the suite
results = gtn_bench.run(plan, "results")  # resumes if it was interrupted
print(results.curves)
gtn_bench.report("results")  # figures and report.md

results = gtn_bench.evaluate(model, (x, y), "quick")  # any torch.nn.Module, any arrays
results = gtn_bench.open("results/demo")  # the results of an earlier run
print(gtn_bench.compare("results/before", "results/after"))  # a run compared with a baseline

spec = gtn_bench.load_teacher("digits")  # or a path to a YAML file
gtn_bench.teach(spec, "teachers/digits")  # resumes if it was interrupted
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtn_bench.config.errors import ConfigError, RunError
    from gtn_bench.config.suite import Suite
    from gtn_bench.execution.evaluate import evaluate
    from gtn_bench.execution.runner import run
    from gtn_bench.execution.teach import TeacherSpec, load_teacher, retrain, teach
    from gtn_bench.models.from_function import architecture
    from gtn_bench.perturbations.function import perturbation
    from gtn_bench.planning.cells import Plan
    from gtn_bench.planning.planner import load, plan
    from gtn_bench.reporting import report
    from gtn_bench.reporting.comparing import compare
    from gtn_bench.reporting.notebook import Results, open

__version__ = "0.1.0"
__all__ = [
    "ConfigError",
    "Plan",
    "Results",
    "RunError",
    "Suite",
    "TeacherSpec",
    "architecture",
    "compare",
    "evaluate",
    "load",
    "load_teacher",
    "open",
    "perturbation",
    "plan",
    "report",
    "retrain",
    "run",
    "teach",
]

_MODULES = {
    "ConfigError": "config.errors",
    "Plan": "planning.cells",
    "Results": "reporting.notebook",
    "RunError": "config.errors",
    "Suite": "config.suite",
    "TeacherSpec": "execution.teach",
    "architecture": "models.from_function",
    "compare": "reporting.comparing",
    "evaluate": "execution.evaluate",
    "load": "planning.planner",
    "load_teacher": "execution.teach",
    "open": "reporting.notebook",
    "perturbation": "perturbations.function",
    "plan": "planning.planner",
    "report": "reporting",
    "retrain": "execution.teach",
    "run": "execution.runner",
    "teach": "execution.teach",
}


def __getattr__(name: str) -> Any:
    """Import public names when they are first used: torch takes seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module 'gtn_bench' has no attribute '{name}'")
    return getattr(importlib.import_module(f"gtn_bench.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, so that they complete in interactive sessions."""
    return sorted({*globals(), *__all__})
