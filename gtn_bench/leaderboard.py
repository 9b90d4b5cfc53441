"""The aggregate metrics of the nearest leaderboard, so that a run can be put beside it.

BEARD (https://arxiv.org/abs/2411.09265) sums up a learner in percent, from its clean accuracy and the accuracies
that several attacks leave; ROME (https://openreview.net/forum?id=agtwOsnLUB) mends the first of its ratios. With
drop_i = clean accuracy - accuracy under attack i:

    robustness ratio      RR   = 1 - mean(drop) / max(drop)
    improved ratio        I-RR = 1 - mean(drop) max(drop) / clean^2
    attack efficiency     AE   = (mean(cost) - cost of clean images) / (max(cost) - cost of clean images)
    both                  CREI = alpha RR + (1 - alpha) AE, alpha = 0.5

What they do not say. RR compares attacks with the strongest of them: a learner that every attack breaks alike has
0, one that a single attack breaks has nearly 1, however little is left of either; weaker attacks added to the list
raise it. I-RR heals the first of these. AE depends on nothing but how unequal the costs of the attacks are. None of
them has an interval, and all depend on which attacks and strengths were chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gtn_bench.analysis import for_each_teacher


def robustness_ratio(clean: float | Sequence[float], accuracies: Sequence[float]) -> float:
    """RR, in percent; 0 where no attack takes anything. `clean` may be that of each attack's own images."""
    drops = np.asarray(clean) - np.asarray(accuracies)
    return 100 * float(1 - drops.mean() / drops.max()) if drops.max() > 0 else 0.0


def improved_robustness_ratio(clean: float | Sequence[float], accuracies: Sequence[float]) -> float:
    """I-RR, in percent; 0 for a learner that classifies nothing."""
    if not np.min(clean) > 0:
        return 0.0
    shares = 1 - np.asarray(accuracies) / np.asarray(clean)
    return 100 * float(1 - shares.mean() * shares.max())


def attack_efficiency(clean_cost: float, costs: Sequence[float]) -> float:
    """AE, in percent; 0 where no attack costs more than a look."""
    most = max(costs) - clean_cost
    return 100 * float((np.mean(costs) - clean_cost) / most) if most > 0 else 0.0


def crei(ratio: float, efficiency: float, alpha: float = 0.5) -> float:
    """CREI, in percent, of a robustness ratio and an attack efficiency in percent."""
    return alpha * ratio + (1 - alpha) * efficiency


def leaderboard(summary: pd.DataFrame) -> pd.DataFrame:
    """One row for each teacher, architecture and mode: RR, I-RR, AE and CREI over its attacks, means over seeds.

    Each perturbation that asks the learner counts as one attack at each of its strengths but 0, its drop taken on its
    own images. The cost is that in passes of an image through the learner, there or back, a look at a clean image
    being one: seconds depend on the machine. A mode with a failed attack has no row.
    """
    cells = for_each_teacher(summary[(summary["status"] != "rejected") & (summary["beta"] > 0)])
    done = cells[cells["status"] == "done"]
    asks = done.groupby("perturbation")["forwards"].max() > 0
    attacks = cells[~cells["perturbation"].isin(asks.index[~asks])]
    names = ["teacher", "architecture", "mode"]
    rows = []
    for name, mine in attacks.groupby(names, sort=False):
        if (mine["status"] == "done").all():
            each = mine.groupby(["perturbation", "beta"])[
                ["clean_accuracy", "accuracy", "forwards", "backwards"]
            ].mean()
            clean, accuracies = each["clean_accuracy"].tolist(), each["accuracy"].tolist()
            ratio = robustness_ratio(clean, accuracies)
            efficiency = attack_efficiency(1.0, (each["forwards"] + each["backwards"]).tolist())
            improved = improved_robustness_ratio(clean, accuracies)
            rows.append((*name, ratio, improved, efficiency, crei(ratio, efficiency)))
    return pd.DataFrame(rows, columns=[*names, "RR", "I-RR", "AE", "CREI"])
