"""The passes that attacks save by stopping early."""

from __future__ import annotations

import pandas as pd

from gtn_bench.planning.cells import Plan


def passes_of(plan: Plan, summary: pd.DataFrame) -> dict[str, int]:
    """Return how many passes the attacks of a run could have made, and how many they made.

    Attacks save passes because images stop at their first misclassified iterate, or where their iterates repeat.

    Args:
        plan: The plan.
        summary: The summary of its cells, in their order.

    Returns:
        `declared` and `made` forward and backward passes, over the finished cells whose attack declares a number.
    """
    most = [(cell.perturbation.passes or 0.0) * cell.learner.mode.forward_samples for cell in plan.cells]
    counted = summary.assign(
        declared=summary["n"] * most, made=summary["n"] * (summary["forwards"] + summary["backwards"])
    )
    counted = counted[(summary["status"] == "done") & (counted["declared"] > 0)]
    return {name: round(float(counted[name].sum())) for name in ("declared", "made")}
