"""Write reports/public-models.md from the output folders of `certified.yaml` and `trades.yaml`.

python benchmarks/public-models/table.py results/certified results/trades
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

REPORT = Path(__file__).parents[2] / "reports" / "public-models.md"

# Error in percent of the 10 000 test images, as published by the authors.
CERTIFIED = {"clean": 1.8, "fgsm": 3.9, "pgd": 4.1, "certified": 5.8}
# Accuracy in percent of the 10 000 test images, of the public leaderboard.
TRADES = {"clean": 99.48, "pgd-40": 96.07, "square": 92.58}


def main(certified: str, trades: str) -> None:
    """Write the report.

    Args:
        certified: Output folder of `certified.yaml`.
        trades: Output folder of `trades.yaml`.
    """
    robust, other = (pd.read_csv(Path(folder) / "summary.csv") for folder in (certified, trades))
    REPORT.write_text("\n".join([*_certified(robust), *_trades(other)]) + "\n", encoding="utf-8")


def _certified(summary: pd.DataFrame) -> list[str]:
    whole = summary[summary["n"] == 10_000]
    errors = {"clean": 100 * (1 - whole["clean_accuracy"].iloc[0])}
    errors |= {str(row["perturbation"]): 100 * (1 - row["accuracy"]) for row in whole.to_dict("records")}
    errors["certified"] = 100 * (1 - whole["certified_accuracy"].max())
    lines = [
        "# Public models",
        "",
        "Models that others have trained and published, evaluated in the mode `checkpoint`. "
        "`benchmarks/public-models/` holds the suites.",
        "",
        "## A certified network: L-inf radius 0.1",
        "",
        "The MNIST network of E. Wong and J. Z. Kolter, [Provable defenses against adversarial examples via the convex "
        "outer adversarial polytope](https://arxiv.org/abs/1711.00851). Its authors certify an error of "
        f"{CERTIFIED['certified']} % on the 10 000 test images: no attack can exceed it. The bound of gtn-bench is "
        "that of the certifier `crown`.",
        "",
        "| error, % of 10 000 images | published | gtn-bench | difference |",
        "|---|---|---|---|",
    ]
    for name, error in errors.items():
        published = CERTIFIED.get(name)
        difference = "" if published is None else f"{error - published:+.2f}"
        lines.append(f"| {name} | {'' if published is None else f'{published:.1f}'} | {error:.2f} | {difference} |")
    rest = summary[(summary["n"] < 10_000) & (summary["status"] == "done")].sort_values("accuracy", kind="stable")
    lines += [
        "",
        f"L-inf attacks of the libraries, on the first {int(rest['n'].iloc[0])} images. A flag says that a sanity "
        "check fails: the attack is weaker than the model is robust.",
        "",
        "| attack | error, % | flags |",
        "|---|---|---|",
    ]
    flags = rest["flags"].fillna("")
    for name, accuracy, flag in zip(rest["perturbation"], rest["accuracy"], flags, strict=True):
        lines.append(f"| `{name}` | {100 * (1 - accuracy):.1f} | {flag} |")
    return [*lines, ""]


def _trades(summary: pd.DataFrame) -> list[str]:
    rows = {str(row["perturbation"]): row for row in summary.to_dict("records")}
    clean = 100 * rows["pgd-40"]["clean_accuracy"]
    lines = [
        "## The network of TRADES: L-inf radius 0.3",
        "",
        "The MNIST network of H. Zhang et al., [Theoretically Principled Trade-off between Robustness and Accuracy]"
        "(https://arxiv.org/abs/1901.08573). The [leaderboard](https://github.com/yaodongyu/TRADES) lists its accuracy "
        "on the 10 000 test images. The best known attack leaves 92.46 %.",
        "",
        "| accuracy, % | images | published | gtn-bench | difference | grade |",
        "|---|---|---|---|---|---|",
        f"| clean | 10000 | {TRADES['clean']:.2f} | {clean:.2f} | {clean - TRADES['clean']:+.2f} | |",
    ]
    for name, row in rows.items():
        accuracy, published = 100 * row["accuracy"], TRADES.get(name)
        same = published is not None and row["n"] == 10_000
        difference = f"{accuracy - published:+.2f}" if same and published is not None else ""
        shown = "" if published is None else f"{published:.2f}" + ("" if same else " (10 000 images)")
        flags = f", {row['flags']}" if isinstance(row["flags"], str) and row["flags"] else ""
        lines.append(f"| {name} | {row['n']} | {shown} | {accuracy:.2f} | {difference} | {row['grade']}{flags} |")
    return [
        *lines,
        "",
        "`pgd-40`: 40 sign steps of 0.01 from a random start in the box. `square`: Square with 5000 queries. "
        "`strong`: short ascents with several losses and targets, then native Square with at most 3000 queries, "
        "all with its default parameters. "
        "On the images that both see, Square finds adversarial examples that the ascent misses, so the ascent is "
        "suspect: its accuracy overstates the robustness of the network.",
        "",
        "## Computation",
        "",
        "The attacks and proofs of the certified network ran on CPUs: the table of all test images on an Intel Xeon, "
        "torch 2.15, in 5.5 minutes on one core, of which `strong` took 152 s and `crown` 95 s; 45 attacks of the "
        "libraries on an Intel Xeon, torch 2.11, on 16 cores; `art.AutoAttack` (21 minutes) and three others on an AMD "
        "EPYC, torch 2.15. The network of TRADES was attacked on an Intel Xeon, torch 2.15, in 31 minutes on one core, "
        "of which `strong` took 13 and `square` 15.",
    ]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
