"""A suite for other models and other data: its perturbations are kept."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gtn_bench.config.description import Description, choose, explain, lookup
from gtn_bench.config.errors import ConfigError, did_you_mean, shown
from gtn_bench.config.paths import user_path
from gtn_bench.config.suite import Entry, Named, Origin, PerturbationEntry, Suite
from gtn_bench.config.yaml import parse_mapping
from gtn_bench.data import DATASETS, Dataset
from gtn_bench.data.arrays import from_arrays
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.perturbations.targets import check_target
from gtn_bench.planning.planner import load
from gtn_bench.store.hashing import digest

# Keys that a suite may lack, because other models and data take their place.
_REPLACED: dict[str, Any] = {
    "name": "evaluation",
    "dataset": "digits",
    "architectures": ["base"],
    "modes": ["vanilla"],
    "seeds": [0],
}


def suite_for(
    source: str | os.PathLike[str] | Mapping[str, Any] | Suite,
    dataset: Dataset,
    modes: Mapping[str, Entry],
    seeds: int,
    *,
    architecture: Entry | None = None,
    eight_bit: bool = False,
    save_adversarial: bool = False,
    target: str | int | None = None,
) -> Suite:
    """Return a suite with the perturbations of another one, for other models and other data.

    Every architecture is accepted, because the models are what they are. Perturbations use as many test images as the
    suite says, or all if the data set has fewer.

    Args:
        source: A suite: its name, file, content or the loaded suite. It may have `perturbations` alone.
        dataset: The data set.
        modes: The modes by the origin of their models, which starts error messages.
        seeds: The largest number of models of a mode.
        architecture: The ``--architecture`` of all models; None if each mode has one of its own.
        eight_bit: Whether perturbed images are rounded to 8 bits before they are judged.
        save_adversarial: Whether all perturbed images are kept.
        target: The goal of every attack that can have one; None for that of the suite.

    Raises:
        ConfigError: If the suite is invalid.
    """
    suite = source if isinstance(source, Suite) else load(source, defaults=_REPLACED)
    if target is not None:
        try:
            check_target(target)
        except ValueError as error:
            raise ConfigError(f"target: {error}") from None
    images = dataset.sizes[2]
    perturbations = tuple(
        each.model_copy(update={"samples": min(each.samples or images, images)}) for each in suite.perturbations
    )
    if target is not None:
        aimed = tuple(_aimed(each, target) for each in perturbations)
        if aimed == perturbations:
            raise ConfigError("target: no perturbation of the suite can have one; leave it out")
        perturbations = aimed
    adapted = suite.model_copy(
        update={
            "dataset": _entry(dataset),
            "teachers": (),
            "architectures": (architecture,) if architecture else (),
            "modes": tuple(modes.values()),
            "controls": (),
            "seeds": tuple(range(seeds)),
            "perturbations": perturbations,
            "acceptance": 0.0,
            "attack": "all",
            "overlay": None,
            "protocol": "evaluation",
            "eight_bit": eight_bit or suite.eight_bit,
            "save_adversarial": save_adversarial or suite.save_adversarial,
        }
    )
    prefix = f"{suite.where}: " if suite.where else ""
    places = {
        "perturbations": tuple(prefix + place for place in suite.places("perturbations")),
        "certify": tuple(prefix + place for place in suite.places("certify")),
        "architectures": ("--architecture",) if architecture else (),
        "modes": tuple(modes),
    }
    adapted._origin = Origin(folder=suite.folder, places=places, has_full_places=True)
    return adapted


def entry(fields: Mapping[str, Any], who: str) -> Entry:
    """Return an entry of a suite.

    Args:
        fields: Its name, label and fields.
        who: Start of error messages.

    Raises:
        ConfigError: If the label is invalid.
    """
    try:
        return Entry.model_validate(dict(fields))
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, Entry, who))) from None


def default_folder(suite: Suite) -> Path:
    """Return a folder that only runs of the same models, data and suite share: ``results/<name>-<hash>``.

    Args:
        suite: The suite, with every default.
    """
    return Path("results") / f"{suite.name}-{digest(suite.model_dump(mode='json'))[:8]}"


def _entry(description: Description) -> Named:
    return Named(**description.identity())


def _aimed(perturbation: PerturbationEntry, target: str | int) -> PerturbationEntry:
    """Return a perturbation with another goal, if it can have one."""
    try:
        cls = lookup(PERTURBATIONS, "perturbation", perturbation.name.partition(".")[0])
    except ConfigError:
        return perturbation  # planning says what is wrong
    return perturbation.model_copy(update={"target": target}) if "target" in cls.model_fields else perturbation


def check_folder_of(suite: Suite, folder: Path) -> None:
    """Check that a folder holds no results of other models, data or suites.

    Args:
        suite: The suite, with every default.
        folder: The output folder, which need not exist.

    Raises:
        ConfigError: If it does.
    """
    try:
        written = (folder / "suite.yaml").read_text(encoding="utf-8")
    except OSError:
        return
    if not written.endswith(suite.to_yaml()):
        raise ConfigError(f"{folder} holds the results of other models, data or suites; choose another folder")


def labeled(models: object, known: type | tuple[type, ...]) -> dict[str, list[Any]]:
    """Return models by label: one model, a list of models, or a mapping from labels to either.

    Args:
        models: The models.
        known: Types of single models.

    Raises:
        ConfigError: If there is none.
    """
    if isinstance(models, str | os.PathLike):
        raise ConfigError(
            f"evaluate expects networks, got the path {shown(str(models))}; load its weights into a network, or use "
            "gtn-bench evaluate --weights"
        )
    named = models if isinstance(models, Mapping) else {"model": models}
    if any(hasattr(value, "untyped_storage") for value in named.values()):
        raise ConfigError("evaluate expects networks, got a state dict; load it into a network: load_state_dict(...)")
    found = {
        str(label): list(group) if isinstance(group, Sequence) and not isinstance(group, known) else [group]
        for label, group in named.items()
    }
    if not found or not all(found.values()):
        raise ConfigError(f"evaluate expects at least one model, got {shown(models)}")
    return found


def checkpoints_in(
    source: str | os.PathLike[str],
    architecture: Sequence[str],
    weights: Sequence[str],
    data: str,
    *,
    mean: Sequence[str] = (),
    std: Sequence[str] = (),
    layout: str | None = None,
    num_classes: int | None = None,
    samples_per_forward: int = 1,
    eight_bit: bool = False,
    save_adversarial: bool = False,
    target: str | None = None,
) -> Suite:
    """Return a suite for weights in files, from the arguments of a command line.

    Args:
        source: The suite whose perturbations are kept.
        architecture: Name of the architecture, or a mapping in YAML; ``label=name`` is that of one mode.
        weights: Files. ``label=file`` names the mode of a file; files without a label belong to one mode.
        data: A file, a folder, the name of a data set, or a mapping in YAML.
        mean: Mean that the models expect to be subtracted: one number, or one per channel, separated by commas;
            ``label=mean`` is that of one mode.
        std: Standard deviation that they expect pixels to be divided by.
        layout: Layout of the images, where it is ambiguous.
        num_classes: Number of classes, if labels do not tell.
        samples_per_forward: Number of forward passes that are averaged.
        eight_bit: Whether perturbed images are rounded to 8 bits before they are judged.
        save_adversarial: Whether all perturbed images are kept.
        target: Goal of targeted attacks.

    Raises:
        ConfigError: If an argument is invalid.
    """
    files = _by_label(weights)
    architectures = _of_each("--architecture", architecture, files)
    means, deviations = _of_each("--mean", mean, files), _of_each("--std", std, files)
    if missing := [label for label in files if label not in architectures]:
        raise ConfigError(f"--architecture: expects one for the weights '{missing[0]}': {missing[0]}=NAME")
    shared = next(iter(architectures.values())) if len(set(architectures.values())) == 1 else None
    modes = {}
    for label, paths in files.items():
        fields = {"label": label, "files": paths, "samples_per_forward": samples_per_forward}
        fields |= {"mean": _numbers("--mean", means[label])} if label in means else {}
        fields |= {"std": _numbers("--std", deviations[label])} if label in deviations else {}
        if not shared:
            fields["architecture"] = _mapping("--architecture", architectures[label])
        modes[f"--weights {label}"] = entry({"name": "checkpoint", **fields}, "--weights")
    return suite_for(
        source,
        _dataset(data, layout, num_classes),
        modes,
        max(map(len, files.values())),
        architecture=entry(_mapping("--architecture", shared), "--architecture") if shared else None,
        eight_bit=eight_bit,
        save_adversarial=save_adversarial,
        target=int(target) if target is not None and target.isdecimal() else target,
    )


def _by_label(weights: Sequence[str]) -> dict[str, list[str]]:
    """Return files by the label of their mode. Relative paths start at the working folder."""
    found: dict[str, list[str]] = {}
    unlabeled = []
    for text in weights:
        label, path = ("", text) if Path(text).exists() else _split_label(text)
        if not label:
            unlabeled.append(text)
            if "=" in text and "://" not in text and not Path(text).exists():
                raise ConfigError(
                    "--weights: expects FILE or LABEL=FILE, with a label of letters, digits and '._+-', got "
                    f"{shown(text)}"
                )
        found.setdefault(label or "model", []).append(
            path if "://" in path else str(user_path(path).absolute())  # not relative to the suite
        )
    if 0 < len(unlabeled) < len(weights):
        raise ConfigError(f"--weights: expects LABEL=FILE for all files or for none, got {shown(unlabeled[0])}")
    return found


def _split_label(text: str) -> tuple[str, str]:
    """Return the label and the value of ``label=value``; an empty label if there is none."""
    label, _, value = text.partition("=")
    return (label, value) if value and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", label) else ("", text)


def _of_each(option: str, values: Sequence[str], labels: Collection[str]) -> dict[str, str]:
    """Return the value of an option by label. A value without a label is that of all labels without their own."""
    found: dict[str, str] = {}
    for label, value in map(_split_label, values):
        if label and label not in labels:
            raise ConfigError(f"{option}: no weights have the label '{label}'{did_you_mean(label, labels)}")
        if label in found:
            whose = f"for the weights '{label}'" if label else "without a label"
            raise ConfigError(f"{option}: expects one value {whose}, got '{found[label]}' and '{value}'")
        found[label] = value
    return {label: found[label if label in found else ""] for label in labels if label in found or "" in found}


def _numbers(option: str, text: str) -> list[float]:
    """Return the numbers of an option, separated by commas."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} expects a number, or one per channel separated by commas, got '{text}'") from None


def _mapping(option: str, text: str) -> dict[str, Any]:
    """Return the mapping that an option holds as YAML, or the name that it is."""
    if not text.lstrip().startswith("{"):
        return {"name": text}
    try:
        return parse_mapping(text, "a mapping")
    except ConfigError as error:
        raise ConfigError(f"{option}: {error}") from None


# What messages about data say, and what it is on the command line.
_AS_OPTIONS = (
    (r"\bset num_classes: (\d+)", r"pass --num-classes \1"),
    (r"\bset num_classes\b", "pass --num-classes"),
    (r"\bincrease num_classes\b", "increase --num-classes"),
    (r"\bset layout to what they are", "pass --layout NCHW or --layout NHWC"),
    (r"\bdid you mean layout\b", "did you mean --layout"),
)


def _dataset(text: str, layout: str | None, num_classes: int | None) -> Dataset:
    """Return the data set that ``--data`` names."""
    try:
        if not text.lstrip().startswith("{"):
            return from_arrays(text, layout=layout, num_classes=num_classes)  # type: ignore[arg-type]
        more = {"layout": layout, "num_classes": num_classes}
        stated = {name: value for name, value in more.items() if value is not None}
        return choose(DATASETS, "dataset", {**_mapping("--data", text), **stated})
    except ConfigError as error:
        message = str(error)
        for said, option in _AS_OPTIONS:
            message = re.sub(said, option, message)
        lines = [line.removeprefix("data: ") for line in message.splitlines()]
        raise ConfigError("\n".join(f"--data: {line}" for line in lines)) from None
