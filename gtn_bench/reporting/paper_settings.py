"""Tables for papers about the perturbations: their settings, and how often targeted attacks reach their targets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import acceptance, for_each_teacher
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.statistics import ACCURACY, Array, interval
from gtn_bench.config.labels import ACCEPTED, NO_TEACHER
from gtn_bench.config.suite import Suite
from gtn_bench.reporting import numbers

LONG = "settings"
SUCCESS_NOTE = (
    "Share of test images whose predicted class is the target of a targeted attack, with 95 % confidence intervals. "
    "Images of the target class do not count. Targets that results do not record (least-likely, random) are left out."
)
_COMMON = {"label", "beta", "samples", "search"}


def settings(results: Results, suite: Suite) -> pd.DataFrame:
    """Return all settings of each perturbation, with every default.

    Args:
        results: The results of a run.
        suite: Its suite, resolved.
    """
    rows = []
    for entry in suite.perturbations:
        fields = {name: value for name, value in entry.fields.items() if name not in _COMMON}
        used = results.summary.loc[results.summary["perturbation"] == entry.title, "n"]
        texts = [f"{name.replace('_', ' ')} {_text(value)}" for name, value in fields.items()]
        if entry.search:
            texts.append(f"search {entry.search}")
        rows.append(
            {
                "perturbation": results.display_name(entry.title),
                "attack": entry.name,
                "meaning of beta": results.provenance["perturbations"].get(entry.title, ""),
                "beta": ", ".join(numbers.strengths(entry.beta)),
                "images": f"{used.max():.0f}" if len(used) and used.notna().any() else "",
                LONG: "; ".join(texts),
            }
        )
    table = pd.DataFrame(rows)
    return table.drop(columns=["attack"] if all(entry.name == entry.title for entry in suite.perturbations) else [])


def _text(value: object) -> str:
    """Return the value of a field."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return numbers.strength(value)
    if isinstance(value, Mapping):
        return f"({', '.join(f'{name} {_text(each)}' for name, each in value.items())})"
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_text, value))})"
    return str(value)


def targeted(results: Results, suite: Suite) -> pd.DataFrame:
    """Return how often each targeted attack reaches its target, a row per strength and a column per mode.

    Accepted architectures are pooled; if a teacher has none, each architecture has its own rows.

    Args:
        results: The results of a run.
        suite: Its suite.
    """
    if not (results.folder / "samples.parquet").is_file():
        return pd.DataFrame()
    rows: list[dict[str, str]] = []
    for entry in suite.perturbations:
        target = entry.fields.get("target", "untargeted")
        if target == "next" or (isinstance(target, int) and not isinstance(target, bool)):
            rows += _successes(results, entry.title, target)
    table = pd.DataFrame(rows)
    constant = {
        "teacher": (results.summary["teacher"] == NO_TEACHER).all(),
        "architecture": results.summary["architecture"].nunique() == 1,
    }
    return table.drop(columns=[name for name, drop in constant.items() if drop], errors="ignore")


def _successes(results: Results, label: str, target: object) -> list[dict[str, str]]:
    """Return the rows of a perturbation."""
    samples = results.select(perturbation=label)
    if not len(samples):
        return []
    for name in ("teacher", "architecture", "mode"):
        samples[name] = samples[name].astype(str)
    classes = len(results.provenance.get("classes", ())) or 1 + int(samples[["label", "prediction"]].to_numpy().max())
    wanted = (samples["label"] + 1) % classes if target == "next" else int(str(target))
    samples = samples.assign(reached=samples["prediction"] == wanted, counts=samples["label"] != wanted)
    table = acceptance(results.summary, results.rule)
    pairs = table.loc[table[ACCEPTED], ["teacher", "architecture"]]
    rows = []
    for teacher, of_teacher in for_each_teacher(samples[samples["counts"]]).groupby("teacher", sort=False):
        pool = set(pairs.loc[pairs["teacher"] == teacher, "architecture"])
        names = [ACCEPTED] if pool else list(of_teacher["architecture"].unique())
        for name in names:
            part = of_teacher[of_teacher["architecture"].isin(pool if pool else {name})]
            for beta, at in part.groupby("beta"):
                row = {"teacher": str(teacher), "architecture": name, "perturbation": results.display_name(label)}
                row |= {"target": str(target), "beta": numbers.strength(float(str(beta)))}
                rows.append(row | {str(mode): _share(each) for mode, each in at.groupby("mode", sort=False)})
    return rows


def _share(samples: pd.DataFrame) -> str:
    """Return the share of images that reach the target, with its interval over seeds and images."""
    means = samples.groupby(["seed", "sample"])["reached"].mean().unstack("sample").dropna(axis=1)
    values: Array = means.to_numpy(dtype=np.float64)
    if not values.size:
        return ""
    return numbers.with_interval(float(values.mean()), *interval(values, 0.95, ACCURACY))
