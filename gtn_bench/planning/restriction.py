"""The restriction of a plan to some of its cells, by the labels of their parts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gtn_bench.config.errors import ConfigError, did_you_mean, listed, shown
from gtn_bench.config.numbers import parse_fraction
from gtn_bench.config.suite import SECTIONS, Entry, PerturbationEntry, Suite

if TYPE_CHECKING:
    from gtn_bench.planning.cells import Cell

KINDS = ("perturbation", "beta", "mode", "architecture", "teacher", "seed")


def chosen_cells(cells: Sequence[Cell], chosen: Mapping[str, Sequence[str]]) -> tuple[Cell, ...]:
    """Return the cells whose parts have the given labels.

    Args:
        cells: The cells of a plan.
        chosen: Labels to keep, by kind. Cells with any label of every given kind are kept.

    Raises:
        ConfigError: One line for each unknown kind or label, with the nearest one, or if no cell remains.
    """
    problems = [
        f"only: does not know the kind {shown(kind)}{did_you_mean(kind, KINDS)}" for kind in chosen if kind not in KINDS
    ]
    wanted: dict[str, set[Any]] = {}
    for kind in (kind for kind in KINDS if kind in chosen):
        known = {_text(value): value for value in dict.fromkeys(_label(cell, kind) for cell in cells)}
        labels = [_written(kind, label) for label in chosen[kind]]
        problems += [
            f"only: the suite has no {kind} {shown(label)}{did_you_mean(label, known)}"
            for label in labels
            if label not in known
        ]
        wanted[kind] = {known[label] for label in labels if label in known}
    if problems:
        raise ConfigError("\n".join(problems))
    kept = tuple(cell for cell in cells if all(_label(cell, kind) in values for kind, values in wanted.items()))
    if not kept:
        parts = " and ".join(f"{kind} {listed(list(chosen[kind]), str)}" for kind in wanted)
        raise ConfigError(f"only: no cell of the suite has {parts}")
    return kept


def _label(cell: Cell, kind: str) -> Any:
    """Return the label of the part of a cell: a text, or the number that a seed or a strength is."""
    match kind:
        case "perturbation":
            return cell.perturbation_label
        case "beta":
            return cell.beta
        case "mode":
            return cell.learner.mode_label
        case "architecture":
            return cell.learner.architecture_label
        case "teacher":
            return cell.learner.teacher_label
    return cell.learner.seed


def _text(label: object) -> str:
    return f"{label:g}" if isinstance(label, float) and float(f"{label:g}") == label else str(label)


def _written(kind: str, label: object) -> str:
    """Return a label as the cells write it: the strengths 0.10 and 1/10 are 0.1."""
    text = str(label)
    if kind != "beta":
        return text
    value = parse_fraction(text)
    try:
        return _text(float(text) if value is None else value)
    except ValueError:
        return text


def suite_of(suite: Suite, cells: Sequence[Cell], certifiers: Collection[str]) -> Suite:
    """Return a suite without the entries, strengths and seeds that no cell needs.

    Args:
        suite: The suite of a plan.
        cells: Some cells of the plan.
        certifiers: Labels of the certifiers that have a ball in one of the cells.
    """
    learners = dict.fromkeys(cell.learner for cell in cells)
    betas: dict[str, set[float]] = {}
    for cell in cells:
        betas.setdefault(cell.perturbation_label, set()).add(cell.beta)
    modes = {learner.mode_label for learner in learners}
    labels = {
        "teachers": {learner.teacher_label for learner in learners},
        "architectures": {learner.architecture_label for learner in learners},
        "modes": modes,
        "controls": modes,
        "perturbations": set(betas),
        "certify": set(certifiers),
    }
    update: dict[str, Any] = {}
    places: dict[str, tuple[str, ...]] = {}
    for section in SECTIONS:
        placed = list(zip(getattr(suite, section), suite.places(section), strict=True))
        kept = [(entry, place) for entry, place in placed if entry.title in labels[section]]
        update[section] = tuple(_with_strengths(entry, betas) for entry, _ in kept)
        places[section] = tuple(place for _, place in kept)
    if not update["modes"]:  # the controls are what is compared
        update["modes"], update["controls"] = update["controls"], ()
        places["modes"], places["controls"] = places["controls"], ()
    if all(learner.mode.trains for learner in learners):  # files of weights belong to the positions of seeds
        seeds = {learner.seed for learner in learners}
        update["seeds"] = tuple(seed for seed in suite.seeds if seed in seeds)
    restricted = suite.model_copy(update=update)
    restricted._origin = replace(suite._origin, places={name: found for name, found in places.items() if found})
    return restricted


def _with_strengths(entry: Entry, betas: Mapping[str, set[float]]) -> Entry:
    """Return a perturbation with the strengths that remain; other entries as they are."""
    if not isinstance(entry, PerturbationEntry):
        return entry
    return entry.model_copy(update={"beta": tuple(beta for beta in entry.beta if beta in betas[entry.title])})
