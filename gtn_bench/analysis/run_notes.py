"""Sentences about what a comparison of two runs covers, and what it cannot tell."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from gtn_bench.analysis.pairing import SharedSweep
from gtn_bench.analysis.run_differences import RunDifferences
from gtn_bench.config.errors import listed

_OF_SWEEPS = ("beta", "samples")  # fields of a perturbation that say where it is evaluated, not what it does


def restrictions(sweeps: Mapping[str, SharedSweep], table: pd.DataFrame) -> list[str]:
    """Return what a comparison is restricted to, and what is not paired, one sentence each.

    Args:
        sweeps: What two runs share of each perturbation.
        table: The table of the comparison.
    """
    notes = []
    other_images = [label for label, sweep in sweeps.items() if sweep.images is None]
    if other_images:
        notes.append(
            f"{listed(other_images, str)}: the runs have different test images, so nothing is paired, and the "
            "intervals cover both samples of images"
        )
    for label, sweep in sweeps.items():
        if sweep.images is not None and sweep.sizes[0] != sweep.sizes[1]:
            counts = " and ".join(map(str, sweep.sizes))
            notes.append(f"{label}: compared on the first {sweep.images} images, which both runs have ({counts})")
        if not sweep.all_betas:
            strengths = listed(sweep.betas.tolist(), "{:g}".format)
            notes.append(f"{label}: areas are over the strengths that both runs have: {strengths}")
    if (unpaired := (table["pairing"] == "images") & (table["n_seeds"] > 1) & (table["baseline_n_seeds"] > 1)).any():
        modes = listed(list(dict.fromkeys(table.loc[unpaired, "mode"])), str)
        notes.append(f"{modes}: the runs share no seed, so learners are not paired, only images are")
    return notes


def other_attacks(differences: RunDifferences, table: pd.DataFrame) -> list[str]:
    """Return the perturbations whose parameters differ: their curves say nothing about the models alone.

    Args:
        differences: The differences between the runs.
        table: The table of the comparison.
    """
    fields: dict[str, list[str]] = {}
    for each in differences.suite:
        if (match := re.fullmatch(r"perturbations\[(.+)\]\.(\w+).*", each.field)) and match[2] not in _OF_SWEEPS:
            fields.setdefault(match[1], []).append(match[2])
    return [
        f"{label}: the perturbation itself differs ({listed(list(dict.fromkeys(found)), str)}), so a difference "
        "need not be one of the models"
        for label, found in fields.items()
        if label in set(table["perturbation"])
    ]
