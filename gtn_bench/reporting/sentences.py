"""Sentences about comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_SIGNIFICANCE = 0.05


def sentence(comparison: Mapping[str, Any]) -> str:
    """Return one sentence about a comparison of two modes, without a full stop.

    A difference counts as significant if its confidence interval excludes 0 and its corrected p value is at most 0.05.

    Args:
        comparison: A row of comparisons.csv.
    """
    c = comparison
    mode, other, where = c["mode"], c["other"], f"under {c['perturbation']}"
    areas = f"area {c['area']:.3f} vs. {c['other_area']:.3f}"
    if np.isnan(c["ci_low"]):
        return f"{mode} and {other} {where}: {areas}; no confidence interval with one image"
    found = f"{areas}, difference {c['difference']:+.3f} [{c['ci_low']:+.3f}, {c['ci_high']:+.3f}]"
    found += f" over {c['n_images']} images" if c["over"] == "images" else ""
    scope = _scope(c)
    if c["ci_low"] <= 0 <= c["ci_high"]:
        found += f", minimum detectable effect {c['minimum_detectable_effect']:.3f}"
        return f"{mode} and {other} {where}: no significant difference; {found}{scope}"
    found += f", p = {c['p_holm']:.2g}{scope}"
    if c["p_holm"] <= _SIGNIFICANCE:
        return f"{mode} is {'less' if c['difference'] < 0 else 'more'} accurate than {other} {where}: {found}"
    smallest = 2.0 ** (1 - c["n_pairs"])
    why = f"{c['p']:.2g} before correction"
    if pairs_of_learners(c) and smallest > _SIGNIFICANCE:
        why = f"the smallest possible p with {c['n_pairs']} pairs of learners is {smallest:.2g}"
    return f"{mode} and {other} {where}: not significant after Holm correction ({why}); {found}"


def pairs_of_learners(comparison: Mapping[str, Any]) -> bool:
    """Return True if a comparison is one of pairs of learners, and False if a mode has a single model.

    Args:
        comparison: A row of comparisons.csv.
    """
    return comparison["over"] == "learners" and min(comparison["n_seeds"], comparison["other_n_seeds"]) > 1


def _scope(c: Mapping[str, Any]) -> str:
    """Return what a comparison with a single model is about."""
    if pairs_of_learners(c):
        return ""
    if c["over"] == "images":
        return f"; this concerns these {'two ' if c['n_pairs'] == 1 else ''}models, not how they were trained"
    single = c["mode"] if c["n_seeds"] == 1 else c["other"]
    if c["n_pairs"] == max(c["n_seeds"], c["other_n_seeds"]):
        return f"; this concerns the one model of {single}, not how it was trained"
    return f"; this concerns the models of {single}, not how they were trained"
