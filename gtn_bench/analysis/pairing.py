"""What two runs share: strengths, test images, and the curves of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import acceptance, for_each_teacher
from gtn_bench.analysis.masks import Images
from gtn_bench.analysis.pooling import Correct, pool_over, sweeps_of
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.statistics import Array
from gtn_bench.config.errors import ConfigError, listed
from gtn_bench.config.labels import ACCEPTED, NO_TEACHER

CURVE = ["dataset", "teacher", "architecture", "mode", "perturbation"]


class SharedSweep(NamedTuple):
    """The strengths and images of a perturbation that two runs share.

    Attributes:
        betas: The strengths that both runs have (k,), ascending.
        all_betas: Whether neither run has others.
        images: Number of test images that both runs have, the first ones; None if their images differ.
        sizes: Number of test images of either run.
    """

    betas: Array
    all_betas: bool
    images: int | None
    sizes: tuple[int, int]


def shared_sweeps(
    first: Results, second: Results, found: tuple[Images, Images], *, same_images: bool
) -> dict[str, SharedSweep]:
    """Return what two runs share of every perturbation that both have evaluated.

    Args:
        first: The results of a run.
        second: The results of the other one.
        found: Their results for each test image.
        same_images: Whether the suites describe the same test images. Other labels prove that they do not.

    Raises:
        ConfigError: If strengths of a perturbation mean something else in the other run, or none is shared.
    """
    sweeps = [sweeps_of(results.summary) for results in (first, second)]
    meanings = [results.provenance.get("perturbations", {}) for results in (first, second)]
    shared = {}
    for label in (label for label in sweeps[0] if label in sweeps[1]):
        betas = np.intersect1d(sweeps[0][label], sweeps[1][label])
        if meanings[0].get(label) != meanings[1].get(label):
            raise ConfigError(
                f"strengths of '{label}' cannot be compared: {meanings[0].get(label)} in {first.folder}, "
                f"{meanings[1].get(label)} in {second.folder}"
            )
        if not len(betas):
            ours, theirs = (listed(sweep[label].tolist(), "{:g}".format) for sweep in sweeps)
            raise ConfigError(
                f"'{label}' has no strength that both runs share: {ours} in {first.folder}, {theirs} in "
                f"{second.folder}; use equal strengths"
            )
        if label in found[0].labels and label in found[1].labels:
            labels = found[0].labels[label], found[1].labels[label]
            most = min(map(len, labels))
            same = same_images and bool((labels[0][:most] == labels[1][:most]).all())
            whole = len(betas) == len(sweeps[0][label]) == len(sweeps[1][label])
            shared[label] = SharedSweep(betas, whole, most if same else None, (len(labels[0]), len(labels[1])))
    return shared


class Curves(NamedTuple):
    """The curves that are compared, and what of the baseline has no counterpart.

    Attributes:
        pairs: For each curve its identity, columns `CURVE`, and its points in either run: rows of the summary, or
            their means over architectures.
        lost: Sentences about results of the baseline that the other run has planned, but does not have.
        notes: Sentences about what is pooled.
    """

    pairs: list[tuple[tuple[str, ...], pd.DataFrame, pd.DataFrame]]
    lost: list[str]
    notes: list[str]


def shared_curves(first: Results, second: Results, sweeps: Mapping[str, SharedSweep]) -> Curves:
    """Return the curves that two runs share.

    The architectures that the baseline accepts are pooled, or compared one by one if it accepts none.

    Args:
        first: The results of the baseline.
        second: The results of the run that is compared with it.
        sweeps: What is shared of each perturbation.
    """
    ours, theirs = (_of_perturbations(results.summary, sweeps) for results in (first, second))
    lost = list(dict.fromkeys(_lost(first.summary, second.summary)))
    accepted = acceptance(first.summary, first.rule)
    also = acceptance(second.summary, second.rule)
    known: set[tuple[tuple[int, ...], ...]] = set()
    pairs, notes = [], []
    for teacher in _shared_teachers(ours, theirs):
        parts = [_of_teacher(table, teacher) for table in (ours, theirs)]
        rows = accepted[accepted[ACCEPTED] & (accepted["teacher"] == teacher)]
        there = set(parts[1].loc[parts[1]["status"] == "done", "architecture"])
        wanted = rows[rows["architecture"].isin(there)][["teacher", "architecture"]]
        if len(wanted):
            curves = [pool_over(part, wanted) for part in parts]
            curves = [table[table["architecture"] == ACCEPTED] for table in curves]
            others = set(also.loc[also[ACCEPTED] & (also["teacher"] == teacher), "architecture"])
            if differing := sorted(others ^ set(rows["architecture"])):
                pooled = listed(wanted["architecture"].tolist(), str)
                notes.append(f"{listed(differing, str)}: accepted in one run only; pooled are {pooled}")
        else:
            curves = [pool_over(part, wanted) for part in parts]
        groups = [dict(iter(table.groupby(CURVE, sort=False))) for table in curves]
        for name, curve in groups[0].items():
            if name in groups[1] and (learners := tuple(curve["rows"])) not in known:
                known.add(learners)  # learners without a teacher are repeated for each teacher
                pairs.append((tuple(map(str, name)), curve, groups[1][name]))
    return Curves(pairs, lost, notes)


def _of_perturbations(summary: pd.DataFrame, sweeps: Mapping[str, SharedSweep]) -> pd.DataFrame:
    """Return the rows of a summary at shared strengths."""
    kept = [
        str(name) in sweeps and beta in sweeps[str(name)].betas
        for name, beta in zip(summary["perturbation"], summary["beta"], strict=True)
    ]
    return summary[kept]


def _shared_teachers(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """Return the teachers of both runs; that of modes without one if there are none."""
    ours, theirs = (for_each_teacher(table)["teacher"].unique().tolist() for table in (first, second))
    return [teacher for teacher in ours if teacher in theirs] or [NO_TEACHER]


def _of_teacher(summary: pd.DataFrame, teacher: str) -> pd.DataFrame:
    """Return the rows of the learners of a teacher and of modes without one, under its label."""
    return summary[summary["teacher"].isin([teacher, NO_TEACHER])].assign(teacher=teacher)


def _lost(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each curve of the baseline that the other run has planned, but does not have."""
    sweeps = [sweeps_of(summary) for summary in (first, second)]
    betas = {label: np.intersect1d(sweep, sweeps[1][label]) for label, sweep in sweeps[0].items() if label in sweeps[1]}
    names = ["teacher", "architecture", "mode", "perturbation"]
    ours, theirs = (dict(iter(summary.groupby(names, sort=False))) for summary in (first, second))
    for name in (name for name in ours if name in theirs):
        of = betas[str(name[-1])]
        cells, others = (table[name][table[name]["beta"].isin(of)] for table in (ours, theirs))
        if _complete(cells, len(of)) and not _complete(others, len(of)):
            statuses = others["status"].value_counts()
            found = ", ".join(f"{number} {status}" for status, number in statuses.items() if status != "done")
            yield f"{name[2]} of {name[1]} under {name[3]} has no complete curve ({found} of {len(others)} cells)"


def _complete(cells: pd.DataFrame, strengths: int) -> bool:
    """Return whether a learner has all strengths."""
    done = cells[cells["status"] == "done"]
    return bool((done.groupby("seed").size() == strengths).any())


def first_images(correct: Correct, rows: pd.DataFrame, images: int | None) -> Correct:
    """Return the masks of some rows, cut to the first images.

    Args:
        correct: Masks of correctly classified images (N,).
        rows: Points of a curve, with a column `rows`.
        images: Number of images; None for all.
    """
    return {row: correct[row][:images] for pool in rows["rows"] for row in pool}
