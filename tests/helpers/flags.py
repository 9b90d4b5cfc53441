"""Sanity checks of single attack results."""

from __future__ import annotations

from gtn_bench.analysis.checks import failed_checks
from gtn_bench.evaluation.evaluate import AttackResult


def flags(result: AttackResult) -> list[str]:
    """Return the names of the sanity checks that an attack result fails."""
    return failed_checks(result.shares)
