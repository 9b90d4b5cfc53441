"""What a report says about the data and the learners: how many count, and what their checks found."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import pandas as pd

from gtn_bench.config.suite import Suite
from gtn_bench.reporting.markdown import code, escape
from gtn_bench.reporting.training import OUTSIDE

_IN_MEMORY = re.compile(r"arrays-[0-9a-f]{32}\.safetensors")  # files of the cache


def data_set(suite: Suite) -> str:
    """Return the data set as Markdown, with the file of its test images if it has one.

    Args:
        suite: The suite.
    """
    test = suite.dataset.fields.get("test")
    source = test.get("images") if isinstance(test, Mapping) else test
    if not isinstance(source, str):
        return f"Data set {code(suite.dataset.name)}"
    name = PurePath(source.partition("#")[0]).name
    return "Data set from memory" if _IN_MEMORY.fullmatch(name) else f"Data set {code(name)}"


def learner_count(suite: Suite, summary: pd.DataFrame) -> str:
    """Return the number of learners that count: ``3 learners per architecture and mode``.

    Args:
        suite: The suite.
        summary: The summary of its run.
    """
    counted = summary[summary["status"] != "duplicate"]
    sizes = counted.groupby(["teacher", "architecture", "mode"])["seed"].nunique()
    fewest, most = int(sizes.min()), int(sizes.max())
    what = "model" if all(mode.name in OUTSIDE for mode in (*suite.modes, *suite.controls)) else "learner"
    number = ("one" if most == 1 else f"{most}") if fewest == most else f"{fewest} to {most}"
    parts = [name for name in ("architecture", "mode") if summary[name].nunique() > 1]
    return f"{number} {what}{'s' if most > 1 else ''}{' per ' if parts else ''}{' and '.join(parts)}"


def duplicates(summary: pd.DataFrame) -> list[str]:
    """Return a sentence for each mode whose learners do not all differ, as Markdown.

    Args:
        summary: The summary of a run.
    """
    copies = summary[summary["status"] == "duplicate"]
    of_mode = summary.groupby("mode", sort=False)["architecture"].nunique()
    sentences: dict[str, None] = {}
    names = ["mode", "architecture", "teacher", "duplicate_of"]
    for (mode, architecture, _, original), cells in copies.groupby(names, sort=False):
        seeds = sorted(int(seed) for seed in cells["seed"].unique())
        where = f", architecture {code(architecture)}," if of_mode[str(mode)] > 1 else ""
        start, have, all_ = ("Seed", "has", "both") if len(seeds) == 1 else ("Seeds", "have", "all of them")
        which = f"{start} {_ranges(seeds)} of mode {code(mode)}{where}"
        sentences[f"{which} {have} the weights of seed {original}, and {all_} count once."] = None
    return list(sentences)


def findings(models: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what the checks of models found, as Markdown: the learners, and a sentence.

    Args:
        models: For each learner with findings its architecture, mode, seed and `findings`.
    """
    models = list(models)
    several = len({model["architecture"] for model in models}) > 1
    seeds: dict[tuple[str, str], list[int]] = {}
    for model in models:
        where = f"{code(model['mode'])}, {code(model['architecture'])}" if several else code(model["mode"])
        for found in model["findings"]:
            known = seeds.setdefault((where, escape(found)), [])
            known += [model["seed"]] if model["seed"] not in known else []
    return [
        f"{where}, seed{'s' if len(known) > 1 else ''} {_ranges(sorted(known))}: {found}"
        for (where, found), known in seeds.items()
    ]


def single_learners(curves: pd.DataFrame) -> str:
    """Return the modes whose curves are of a single learner, as Markdown; `all` if every curve is, empty if none is.

    Args:
        curves: Rows of curves.csv.
    """
    single = curves[curves["n_seeds"] == 1]
    return "all" if len(single) == len(curves) else ", ".join(code(mode) for mode in single["mode"].unique())


def _ranges(seeds: Sequence[int]) -> str:
    """Return ascending seeds as text: ``1 to 7``, ``1, 3 and 5 to 8``."""
    parts: list[str] = []
    for _, run in itertools.groupby(enumerate(seeds), key=lambda pair: pair[1] - pair[0]):
        members = [seed for _, seed in run]
        parts += [f"{members[0]} to {members[-1]}"] if len(members) > 2 else map(str, members)
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
