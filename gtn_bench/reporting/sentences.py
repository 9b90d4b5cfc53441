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
        single = "seed" if c["n_seeds"] < 2 else "image"
        return f"{mode} and {other} {where}: {areas}; no confidence interval with one {single}"
    found = f"{areas}, difference {c['difference']:+.3f} [{c['ci_low']:+.3f}, {c['ci_high']:+.3f}]"
    if c["ci_low"] <= 0 <= c["ci_high"]:
        smallest = c["minimum_detectable_effect"]
        return (
            f"{mode} and {other} {where}: no significant difference; {found}, minimum detectable effect {smallest:.3f}"
        )
    found += f", p = {c['p_holm']:.2g}"
    if c["p_holm"] <= _SIGNIFICANCE:
        return f"{mode} is {'less' if c['difference'] < 0 else 'more'} accurate than {other} {where}: {found}"
    smallest = 2.0 ** (1 - c["n_pairs"])
    why = f"{c['p']:.2g} before correction"
    if smallest > _SIGNIFICANCE:
        why = f"the smallest possible p with {c['n_pairs']} pairs of learners is {smallest:.2g}"
    return f"{mode} and {other} {where}: not significant after Holm correction ({why}); {found}"
