"""How the modes of a suite are trained, and how they differ in more than their data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gtn_bench.config.suite import Entry, Suite
from gtn_bench.reporting.markdown import code

# Modes, by name in the suite, whose models exist before the run.
OUTSIDE = frozenset({"checkpoint", "given", "pretrained"})
# Modes that follow the curriculum of a teacher.
TAUGHT = ("gtn", "10_gtn")
_TEACHER, _OF_FILES = "the teacher's", "the default or that of the files"
_OPTIMIZERS = {
    **dict.fromkeys(TAUGHT, _TEACHER),
    **dict.fromkeys(("vanilla", "adversarial", "random-labels"), "Adam"),
    "distilled": "SGD",
}


def training_differences(suite: Suite) -> str:
    """Return what the modes differ in beside the data, as Markdown; empty if nothing is known to differ.

    Args:
        suite: The resolved suite, with every default of every mode.
    """
    modes = [*suite.modes, *suite.controls]
    if len(modes) < 2:
        return ""
    outside = [mode for mode in modes if mode.name in OUTSIDE]
    trained = [mode for mode in modes if mode.name not in OUTSIDE]
    found = [text for what, value in _ASPECTS.items() if (text := _difference(f"the {what}", trained, value))]
    sentences = [f"Beside the data, the modes differ in {_and(found)}."] if found else []
    if len(outside) == len(modes):
        sentences.append("All models were trained outside of this run. They can differ in any part of their training.")
    elif outside:
        were = "was" if len(outside) == 1 else "were"
        sentences.append(
            f"{_names(outside)} {were} trained outside of this run, and can differ in any part of the training."
        )
    return " ".join(sentences)


def training_of(mode: Entry) -> str:
    """Return how a mode is trained: ``optimizer: Adam at 0.005; steps: 10``. Its values are those of the differences.

    Args:
        mode: A mode of a resolved suite.
    """
    if mode.name in OUTSIDE:
        return "trained outside of this run"
    known = {short: value(mode) for short, value in _SHORT.items()}
    return "; ".join(f"{short}: {text}" for short, text in known.items() if text) or "not known"


def _optimizer(mode: Entry) -> str | None:
    optimizer, rate = _OPTIMIZERS.get(mode.name), mode.fields.get("lr")
    if optimizer == _TEACHER:
        factor = mode.fields.get("lr_factor", 1.0)
        return optimizer if factor == 1 else f"{optimizer}, rates times {factor:g}"
    if mode.name == "distilled":
        drop = mode.fields.get("lr_drop")
        optimizer = f"{optimizer} at {f'{rate:g}' if rate else 'the default rate or those of the files'}"
        return f"{optimizer}, a tenth of it after {100 * drop:g} % of the steps" if drop else optimizer
    return f"{optimizer} at {rate:g}" if optimizer and rate else optimizer


def _steps(mode: Entry) -> str | None:
    fields = mode.fields
    if mode.name in TAUGHT:
        return f"{fields['inner_steps']}" if fields.get("inner_steps") else "all that the teacher has"
    if fields.get("steps"):
        return f"{fields['steps']}"
    if epochs := fields.get("epochs"):
        return f"{epochs} epoch{'s' if epochs != 1 else ''}"
    return _OF_FILES if mode.name == "distilled" else None


def _batch_size(mode: Entry) -> str | None:
    if mode.name in TAUGHT:
        return _TEACHER
    size = mode.fields.get("batch_size")
    return f"{size}" if size else _OF_FILES if mode.name == "distilled" else None


def _loss(mode: Entry) -> str | None:
    return mode.fields.get("loss", "cross-entropy") if mode.name in _OPTIMIZERS else None


def _augmentation(mode: Entry) -> str | None:
    if mode.name not in _OPTIMIZERS:
        return None
    parts = mode.fields.get("augment") or ["none"]
    return parts if isinstance(parts, str) else _and(parts)


def _statistics(mode: Entry) -> str | None:
    fields = mode.fields
    if fields.get("statistics") == "teaching":
        return "the last training batch"
    count = fields.get("statistics_samples")
    return f"{count} real images" if count else "real images" if "statistics" in fields else None


def _rate(mode: Entry) -> str | None:
    """Return the learning rate of a mode of which no optimizer is known."""
    rate = mode.fields.get("lr")
    return f"{rate:g}" if isinstance(rate, int | float) and mode.name not in _OPTIMIZERS else None


_ASPECTS: dict[str, Callable[[Entry], str | None]] = {
    "optimizer": _optimizer,
    "number of steps": _steps,
    "batch size": _batch_size,
    "loss": _loss,
    "augmentation": _augmentation,
    "images that batch-norm statistics are estimated on": _statistics,
}
_SHORT: dict[str, Callable[[Entry], str | None]] = {
    "optimizer": _optimizer,
    "learning rate": _rate,
    "steps": _steps,
    "batch size": _batch_size,
    "loss": _loss,
    "augmentation": _augmentation,
}


def _difference(what: str, modes: Iterable[Entry], value: Callable[[Entry], str | None]) -> str:
    """Return an aspect with its values and their modes; empty if all modes of which it is known have the same value."""
    groups: dict[str, list[Entry]] = {}
    for mode in modes:
        if (found := value(mode)) is not None:
            groups.setdefault(found, []).append(mode)
    if len(groups) < 2:
        return ""
    return f"{what} ({'; '.join(f'{found} for {_names(entries)}' for found, entries in groups.items())})"


def _names(modes: Sequence[Entry]) -> str:
    return _and([code(mode.title) for mode in modes])


def _and(parts: Sequence[Any]) -> str:
    *first, last = map(str, parts)
    return f"{', '.join(first)} and {last}" if first else last
