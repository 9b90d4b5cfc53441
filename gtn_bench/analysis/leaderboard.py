"""Aggregate metrics of the BEARD leaderboard, for a comparison of a run with it.

BEARD (https://arxiv.org/abs/2411.09265) aggregates the clean accuracy of a learner and its accuracies under several
attacks, in percent. ROME (https://openreview.net/forum?id=agtwOsnLUB) improves the robustness ratio. With
``drop_i = clean accuracy - accuracy under attack i``:

- robustness ratio: ``RR = 1 - mean(drop) / max(drop)``
- improved robustness ratio: ``I-RR = 1 - mean(drop) * max(drop) / clean^2``
- attack efficiency: ``AE = (mean(cost) - clean cost) / (max(cost) - clean cost)``
- comprehensive robustness-efficiency index: ``CREI = alpha * RR + (1 - alpha) * AE``, ``alpha = 0.5``

Limits: RR compares attacks only with the strongest one. It is 0 if all attacks are equally strong, near 100 % if a
single attack succeeds, and rises when weaker attacks are added. I-RR avoids the first of these. AE depends only on how
unequal the costs of the attacks are. None of the metrics has a confidence interval, and all depend on the choice of
attacks and strengths.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import for_each_teacher


def robustness_ratio(clean: float | Sequence[float], accuracies: Sequence[float]) -> float:
    """Return the robustness ratio RR.

    Args:
        clean: Clean accuracy, or the clean accuracy on the images of each of A attacks.
        accuracies: Accuracies under A attacks.

    Returns:
        Percentage; 0 if no attack reduces the accuracy.
    """
    drops = np.asarray(clean) - np.asarray(accuracies)
    return 100 * float(1 - drops.mean() / drops.max()) if drops.max() > 0 else 0.0


def improved_robustness_ratio(clean: float | Sequence[float], accuracies: Sequence[float]) -> float:
    """Return the improved robustness ratio I-RR.

    Args:
        clean: Clean accuracy, or the clean accuracy on the images of each of A attacks.
        accuracies: Accuracies under A attacks.

    Returns:
        Percentage; 0 if a clean accuracy is 0.
    """
    if not np.min(clean) > 0:
        return 0.0
    shares = 1 - np.asarray(accuracies) / np.asarray(clean)
    return 100 * float(1 - shares.mean() * shares.max())


def attack_efficiency(clean_cost: float, costs: Sequence[float]) -> float:
    """Return the attack efficiency AE.

    Args:
        clean_cost: Cost of a clean image.
        costs: Costs per image of A attacks, in the same unit.

    Returns:
        Percentage; 0 if no attack costs more than a clean image.
    """
    largest = max(costs) - clean_cost
    return 100 * float((np.mean(costs) - clean_cost) / largest) if largest > 0 else 0.0


def crei(ratio: float, efficiency: float, alpha: float = 0.5) -> float:
    """Return the comprehensive robustness-efficiency index CREI.

    Args:
        ratio: Robustness ratio, in percent.
        efficiency: Attack efficiency, in percent.
        alpha: Weight of the robustness ratio in [0, 1].

    Returns:
        Percentage.
    """
    return alpha * ratio + (1 - alpha) * efficiency


def leaderboard(summary: pd.DataFrame) -> pd.DataFrame:
    """Return RR, I-RR, AE and CREI of each teacher, architecture and mode, from means over seeds.

    Each perturbation that queries the learner is one attack per strength above 0. Its drop is measured on its own
    images. Costs are forward and backward passes per image, because seconds depend on the machine; a clean image costs
    one pass. A mode with a failed attack has no row.

    Args:
        summary: The summary.

    Returns:
        Columns teacher, architecture, mode, RR, I-RR, AE, CREI, in percent.
    """
    counted = ~summary["status"].isin(("rejected", "duplicate"))
    cells = for_each_teacher(summary[counted & (summary["beta"] > 0)])
    done = cells[cells["status"] == "done"]
    queries = done.groupby("perturbation")["forwards"].max() > 0
    attacks = cells[~cells["perturbation"].isin(queries.index[~queries])]
    names = ["teacher", "architecture", "mode"]
    rows = []
    for name, group in attacks.groupby(names, sort=False):
        if (group["status"] == "done").all():
            means = group.groupby(["perturbation", "beta"])[
                ["clean_accuracy", "accuracy", "forwards", "backwards"]
            ].mean()
            clean, accuracies = means["clean_accuracy"].tolist(), means["accuracy"].tolist()
            ratio = robustness_ratio(clean, accuracies)
            efficiency = attack_efficiency(1.0, (means["forwards"] + means["backwards"]).tolist())
            improved = improved_robustness_ratio(clean, accuracies)
            rows.append((*name, ratio, improved, efficiency, crei(ratio, efficiency)))
    return pd.DataFrame(rows, columns=[*names, "RR", "I-RR", "AE", "CREI"])
