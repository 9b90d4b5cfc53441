"""From the table of cells to accepted architectures, curves, comparisons and measures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from gtn_bench.statistics import (
    Array,
    area,
    detectable,
    falls_to,
    holm,
    interval,
    permutation_test,
    simultaneous_level,
)
from gtn_bench.suite import ACCEPTED, NO_TEACHER, WORST

Bands = Literal["pointwise", "simultaneous"]  # around curves: 95 % for each point, or for all of them at once
BANDS: dict[Bands, tuple[str, str]] = {"pointwise": ("ci_low", "ci_high"), "simultaneous": ("band_low", "band_high")}
ACCURACY, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)  # what an answer, and one less another, can be
Correct = Mapping[int, Array]  # of rows of a summary: which images were classified correctly (N,)

_AVERAGED = ["clean_accuracy", "accuracy", "accuracy_given_correct", "mean_linf", "mean_l2"]


class Rule(NamedTuple):
    """When an architecture counts: its mean clean accuracy exceeds the threshold in every mode but the controls."""

    threshold: float
    controls: tuple[str, ...] = ()


def clean_accuracies(summary: pd.DataFrame) -> pd.DataFrame:
    """Clean accuracy of each learner, on the largest set of images that a perturbation used."""
    seen = summary[summary["status"] != "error"].sort_values("n", kind="stable")
    keys = ["dataset", "teacher", "architecture", "mode", "seed"]
    return seen.groupby(keys, sort=False)["clean_accuracy"].last().reset_index()


def acceptance(summary: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """Which architectures count, from a summary; see `accept`."""
    table = accept(clean_accuracies(summary), list(summary["mode"].unique()), rule)
    planned = for_each_teacher(summary)[["teacher", "architecture"]].drop_duplicates()
    table = planned.merge(table, how="left", on=["teacher", "architecture"])
    return table.assign(**{ACCEPTED: table[ACCEPTED].eq(True)})  # nor is one whose learners have all failed


def accept(clean: pd.DataFrame, modes: Sequence[str], rule: Rule) -> pd.DataFrame:
    """Which architectures count, from the clean accuracy of each learner.

    Modes without a teacher count for every teacher. Columns: teacher, architecture, one for each
    mode (mean clean accuracy over seeds), accepted. An architecture with a failed mode is not accepted.
    """
    means = for_each_teacher(clean).pivot_table(
        index=["teacher", "architecture"], columns="mode", values="clean_accuracy", aggfunc="mean", sort=False
    )
    means = means.reindex(columns=list(modes))
    decisive = [mode for mode in modes if mode not in rule.controls]
    means[ACCEPTED] = (means[decisive] > rule.threshold).all(axis=1)
    return means.reset_index().rename_axis(columns=None)


def for_each_teacher(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of modes without a teacher repeated under the name of every teacher."""
    teachers = [teacher for teacher in table["teacher"].unique() if teacher != NO_TEACHER]
    if not teachers:
        return table
    parts = [table[table["teacher"].isin([teacher, NO_TEACHER])].assign(teacher=teacher) for teacher in teachers]
    return pd.concat(parts, ignore_index=True)


def pooled_or_all(table: pd.DataFrame) -> pd.DataFrame:
    """Of every teacher the rows of its accepted architectures together, or else of each; with those without teacher."""
    table = for_each_teacher(table)
    pooled = table["architecture"] == ACCEPTED
    return table[pooled | ~table["teacher"].isin(table.loc[pooled, "teacher"])]


def curves(summary: pd.DataFrame, rule: Rule, correct: Correct | None = None) -> pd.DataFrame:
    """One row for each curve point: mean accuracy over seeds, deviation, 95 % interval over seeds and images.

    `band_low`, `band_high` cover all points of a curve at once. Rows with architecture `accepted` pool the accepted
    architectures: each seed counts with its mean over them, if it has all. Failed cells leave a point with fewer seeds
    (`n_seeds`). Without `correct`, the images by rows of the summary, there are no intervals.
    """
    rows = []
    names = ["dataset", "teacher", "architecture", "mode", "perturbation"]
    for name, curve in _pooled(summary, rule).groupby(names, sort=False):
        points = [(float(str(beta)), point) for beta, point in curve.groupby("beta", sort=False)]
        values = [_images(list(point["rows"]), correct) for _, point in points] if correct else []
        whole = bool(values) and len({tuple(point["seed"]) for _, point in points}) == 1
        level = simultaneous_level(np.stack(values)) if whole else np.nan
        for place, (beta, point) in enumerate(points):
            accuracy = point["accuracy"].to_numpy()
            std = float(accuracy.std(ddof=1)) if len(accuracy) > 1 else np.nan
            ends = interval(values[place], 0.95, ACCURACY) if values else (np.nan, np.nan)
            band = interval(values[place], level, ACCURACY) if whole else (np.nan, np.nan)
            means = (_mean_of_all(point[column]) for column in _AVERAGED[2:])
            rows.append((*name, beta, accuracy.mean(), std, *ends, len(accuracy), *means, *band))
    measured = ["accuracy", "std", "ci_low", "ci_high", "n_seeds", *_AVERAGED[2:], "band_low", "band_high"]
    return pd.DataFrame(rows, columns=[*names, "beta", *measured])


def _pooled(summary: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """The rows that are done, and for each seed that has every accepted architecture one that pools them.

    Column `rows`: the rows of the summary that each is the mean of.
    """
    done = summary[summary["status"] == "done"]
    done = done.assign(rows=pd.Series([(row,) for row in done.index], index=done.index, dtype=object))
    accepted = acceptance(summary, rule)
    pairs = accepted.loc[accepted[ACCEPTED], ["teacher", "architecture"]]
    pooled = for_each_teacher(done).merge(pairs, on=["teacher", "architecture"])
    keys = ["dataset", "teacher", "mode", "seed", "perturbation", "beta"]
    how: dict[str, Any] = {**dict.fromkeys(_AVERAGED, _mean_of_all), "rows": "sum"}
    groups = pooled.groupby(keys, sort=False).agg(how).reset_index()
    complete = groups["rows"].map(len) == groups["teacher"].map(pairs.groupby("teacher").size())
    return pd.concat([done, groups[complete].assign(architecture=ACCEPTED)], ignore_index=True)


def _mean_of_all(column: pd.Series[Any]) -> Any:
    return column.mean(skipna=False)


def _sweeps(summary: pd.DataFrame) -> dict[str, Array]:
    """The strengths of every perturbation, whether their cells were filled or not."""
    return {str(name): np.sort(rows["beta"].unique()) for name, rows in summary.groupby("perturbation", sort=False)}


def _images(rows: Sequence[tuple[int, ...]], correct: Correct) -> Array:
    """Mean correctness (S, N) of S seeds, each the mean of some rows of the summary."""
    return np.stack([np.mean([correct[row] for row in pool], axis=0, dtype=np.float32) for pool in rows])


def comparisons(summary: pd.DataFrame, rule: Rule, correct: Correct) -> pd.DataFrame:
    """One row for each pair of modes under a perturbation: the difference of the areas under their curves.

    Paired: over the seeds that both modes have with every strength, with the same initial weights, images and noise.
    `p` is that of the permutation test over all such pairs of learners, on these test images; `p_holm` is corrected for
    all pairs of modes and perturbations of the same architecture, those with a control by themselves; `detectable` is
    the smallest difference that would have been seen in four of five such runs. Two controls are not compared.
    """
    sweeps = _sweeps(summary)
    alone = set(summary.loc[summary["teacher"] == NO_TEACHER, "mode"])
    compared_already = set()
    rows = []
    names = ["dataset", "teacher", "architecture", "perturbation"]
    for name, part in for_each_teacher(_pooled(summary, rule)).groupby(names, sort=False):
        by_mode = {str(mode): curve for mode, curve in part.groupby("mode", sort=False)}
        areas = {mode: dict(_areas(curve, sweeps[str(name[-1])], correct)) for mode, curve in by_mode.items()}
        for mode, other in itertools.combinations(areas, 2):
            if {mode, other} <= alone:  # the same pair of learners under every teacher is one comparison
                learners = (name[2], *by_mode[mode]["rows"], *by_mode[other]["rows"])
                if learners in compared_already:
                    continue
                compared_already.add(learners)
            seeds = [seed for seed in areas[mode] if seed in areas[other]]
            if seeds and not {mode, other} <= set(rule.controls):
                ours, theirs = (np.stack([areas[which][seed] for seed in seeds]) for which in (mode, other))
                pairs = (ours - theirs).mean(2).ravel()
                between = (ours - theirs).mean(1)
                ends = interval(between, 0.95, DIFFERENCE)
                measured = (float(ours.mean()), float(theirs.mean()), float(between.mean()), *ends)
                tested = (permutation_test(pairs), detectable(between), len(seeds), len(pairs))
                rows.append((*name, mode, other, *measured, *tested))
    columns = [*names, "mode", "other", "area", "other_area", "difference", "ci_low", "ci_high", "p", "detectable"]
    compared = pd.DataFrame(rows, columns=[*columns, "n_seeds", "n_pairs"])
    controlled = compared["mode"].isin(rule.controls) | compared["other"].isin(rule.controls)
    families = compared.groupby([compared["architecture"], controlled])
    compared["p_holm"] = families["p"].transform(lambda p: holm(p.to_numpy()))
    return compared[[*columns[:-1], "p_holm", "detectable", "n_seeds", "n_pairs"]]


def measures(summary: pd.DataFrame, rule: Rule, correct: Correct, curves: pd.DataFrame) -> pd.DataFrame:
    """One row for each mode under a perturbation: the measures of its curve, and one for the worst perturbation.

    `curves` is what the function of that name makes of the rest.

    area: mean accuracy over the sweep with its 95 % interval; `area_given_correct`, of the images that the learner
        classified correctly before. Of `worst`, the mean over images of the smallest of each image's areas: of its
        own worst perturbation.
    half_strength: where the accuracy has fallen to half of the clean one, inf if nowhere, nan if the perturbation
        weakens with beta; the ends of its interval are where those of the accuracy have fallen there.
    """
    points = for_each_teacher(curves).groupby(["teacher", "architecture", "mode", "perturbation"], sort=False)
    known = {name: curve.sort_values("beta") for name, curve in points}
    sweeps = _sweeps(summary)
    rows = []
    names = ["dataset", "teacher", "architecture", "mode"]
    for name, learners in for_each_teacher(_pooled(summary, rule)).groupby(names, sort=False):
        found: dict[str, dict[int, Array]] = {each: {} for each in sweeps}
        for perturbation, part in learners.groupby("perturbation", sort=False):
            betas, clean = sweeps[str(perturbation)], float(part["clean_accuracy"].mean())
            found[str(perturbation)] = dict(_areas(part, betas, correct))
            read_off = _read_off(known[*name[1:], perturbation], betas, clean, len(found[str(perturbation)]))
            rows.append((*name, perturbation, clean, *_mean(found[str(perturbation)]), *read_off))
        if len(found) > 1:
            rows.append((*name, WORST, np.nan, *_mean(_worst(list(found.values()))), np.nan, np.nan, np.nan, np.nan))
    measured = ["clean_accuracy", "area", "ci_low", "ci_high", "n_seeds", "area_given_correct"]
    return pd.DataFrame(
        rows, columns=[*names, "perturbation", *measured, "half_strength", "half_ci_low", "half_ci_high"]
    )


def _read_off(curve: pd.DataFrame, betas: Array, clean: float, seeds: int) -> tuple[float, float, float, float]:
    """Area given clean-correct, strength at half, its interval; nan if any point has more than the complete seeds."""
    if len(curve) < len(betas) or (curve["n_seeds"] != seeds).any():
        return np.nan, np.nan, np.nan, np.nan
    given = area(betas, curve["accuracy_given_correct"].to_numpy())
    rises = clean > 0 and not curve["mean_l2"].iloc[-1] < curve["mean_l2"].iloc[0]  # and does not weaken with beta
    ends = ("accuracy", "ci_low", "ci_high")
    half = [falls_to(betas, curve[end].to_numpy(), clean, clean / 2) if rises else np.nan for end in ends]
    return given, half[0], half[1], half[2]


def _mean(areas: Mapping[int, Array]) -> tuple[float, float, float, int]:
    """Mean over seeds and images of each seed's values (A, N), its interval, the number of seeds."""
    if not areas:
        return np.nan, np.nan, np.nan, 0
    values = np.stack([learners.mean(0) for learners in areas.values()])
    return (float(values.mean()), *interval(values, 0.95, ACCURACY), len(values))


def _worst(sweeps: Sequence[Mapping[int, Array]]) -> dict[int, Array]:
    """For each seed the smallest of each image's areas (A, N), of the images that all sweeps have."""
    seeds = [seed for seed in sweeps[0] if all(seed in sweep for sweep in sweeps)]
    count = min((sweep[seed].shape[1] for sweep in sweeps for seed in seeds), default=0)
    return {seed: np.min([sweep[seed][:, :count] for sweep in sweeps], axis=0) for seed in seeds}


def _areas(curve: pd.DataFrame, betas: Array, correct: Correct) -> Iterator[tuple[int, Array]]:
    """For each seed with all strengths, each image's share in the area under the curve (A, N) of A pooled learners."""
    weights = np.array([area(betas, unit) for unit in np.eye(len(betas))])
    for seed, points in curve.groupby("seed", sort=False):
        if len(points) == len(betas):
            learners = zip(*points.sort_values("beta")["rows"], strict=True)
            shares = [weights @ np.stack([correct[row] for row in rows]) for rows in learners]
            yield int(str(seed)), np.stack(shares)


def sentence(comparison: Mapping[str, Any]) -> str:
    """What a row of `comparisons` says, and no more."""
    c = comparison
    pair, where = f"{c['mode']} and {c['other']}", f"under {c['perturbation']}"
    if np.isnan(c["ci_low"]):
        lone = "seed" if c["n_seeds"] < 2 else "image"
        return (
            f"{pair} {where}: area {c['area']:.3f} against {c['other_area']:.3f}; one {lone} says nothing about others"
        )
    found = f"area {c['area']:.3f} against {c['other_area']:.3f}, difference {c['difference']:+.3f}"
    found += f" [{c['ci_low']:+.3f}, {c['ci_high']:+.3f}]"
    if c["ci_low"] <= 0 <= c["ci_high"]:
        return f"{pair} {where}: no difference seen (smallest detectable {c['detectable']:.3f}); {found}"
    below, found = c["difference"] < 0, f"{found}, p = {c['p_holm']:.2g}"
    if c["p_holm"] <= 0.05:
        return f"{c['mode']} {'falls below' if below else 'lies above'} {c['other']} {where}: {found}"
    least = 2.0 ** (1 - c["n_pairs"])
    why = f"{c['p']:.2g} before correction"
    if least > 0.05:
        why = f"with {c['n_pairs']} pairs of learners p cannot fall below {least:.2g}"
    side = "seems to fall below" if below else "seems to lie above"
    return f"{c['mode']} {side} {c['other']} {where}: {found}; the test does not carry it ({why})"


def overview(summary: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """One row for each teacher and mode: clean accuracy, and the area under each perturbation's curve.

    Pooled over the accepted architectures; over each architecture by itself where none is accepted. Areas are means
    over the seeds that have every strength.
    """
    sweeps = _sweeps(summary)
    learners = pooled_or_all(_pooled(summary, rule))
    clean = for_each_teacher(clean_accuracies(summary))
    accepted = acceptance(summary, rule).query(ACCEPTED)[["teacher", "architecture"]]
    together = clean.merge(accepted, on=["teacher", "architecture"]).assign(architecture=ACCEPTED)
    names = ["teacher", "architecture", "mode"]
    means = pd.concat([clean, together]).groupby(names)["clean_accuracy"].mean().to_dict()
    rows = []
    for name, group in learners.groupby(names, sort=False):
        row = {**dict(zip(names, name, strict=True)), "clean accuracy": means[name]}
        for perturbation, cells in group.groupby("perturbation", sort=False):
            by_seed = cells.pivot(index="seed", columns="beta", values="accuracy")
            complete = by_seed.reindex(columns=sweeps[str(perturbation)]).dropna()
            if len(complete):
                row[str(perturbation)] = area(sweeps[str(perturbation)], complete.mean().to_numpy())
        rows.append(row)
    return pd.DataFrame(rows, columns=[*names, "clean accuracy", *learners["perturbation"].unique()])
