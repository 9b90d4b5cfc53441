"""A suite for other models and other data: its perturbations are kept."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gtn_bench.config.description import Description, choose, explain, lookup
from gtn_bench.config.errors import ConfigError, shown
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
    architecture: Entry,
    modes: Mapping[str, Entry],
    seeds: int,
    *,
    eight_bit: bool = False,
    save_adversarial: bool = False,
    target: str | int | None = None,
    where: str = "architecture",
) -> Suite:
    """Return a suite with the perturbations of another one, for other models and other data.

    Every architecture is accepted, because the models are what they are. Perturbations use as many test images as the
    suite says, or all if the data set has fewer.

    Args:
        source: A suite: its name, file, content or the loaded suite. It may have `perturbations` alone.
        dataset: The data set.
        architecture: The architecture of the models.
        modes: The modes by the origin of their models, which starts error messages.
        seeds: The largest number of models of a mode.
        eight_bit: Whether perturbed images are rounded to 8 bits before they are judged.
        save_adversarial: Whether all perturbed images are kept.
        target: The goal of every attack that can have one; None for that of the suite.
        where: The origin of the architecture, which starts error messages.

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
            "architectures": (architecture,),
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
        "architectures": (where,),
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
    architecture: str,
    weights: Sequence[str],
    data: str,
    *,
    mean: str | None = None,
    std: str | None = None,
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
        architecture: Name of the architecture, or a mapping in YAML.
        weights: Files. ``label=file`` names the mode of a file; files without a label belong to one mode.
        data: A file, a folder, the name of a data set, or a mapping in YAML.
        mean: Mean that the model expects to be subtracted: one number, or one per channel, separated by commas.
        std: Standard deviation that it expects pixels to be divided by.
        layout: Layout of the images, where it is ambiguous.
        num_classes: Number of classes, if labels do not tell.
        samples_per_forward: Number of forward passes that are averaged.
        eight_bit: Whether perturbed images are rounded to 8 bits before they are judged.
        save_adversarial: Whether all perturbed images are kept.
        target: Goal of targeted attacks.

    Raises:
        ConfigError: If an argument is invalid.
    """
    fields: dict[str, Any] = {"samples_per_forward": samples_per_forward}
    fields |= {name: _numbers(f"--{name}", text) for name, text in (("mean", mean), ("std", std)) if text is not None}
    modes = {
        f"--weights {label}": entry({"name": "checkpoint", "label": label, "files": files, **fields}, "--weights")
        for label, files in _by_label(weights).items()
    }
    return suite_for(
        source,
        _dataset(data, layout, num_classes),
        entry(_mapping("--architecture", architecture), "--architecture"),
        modes,
        max(len(mode.fields["files"]) for mode in modes.values()),
        eight_bit=eight_bit,
        save_adversarial=save_adversarial,
        target=int(target) if target is not None and target.isdecimal() else target,
        where="--architecture",
    )


def _by_label(weights: Sequence[str]) -> dict[str, list[str]]:
    """Return files by the label of their mode. Relative paths start at the working folder."""
    found: dict[str, list[str]] = {}
    for text in weights:
        label, _, file = text.partition("=")
        named = bool(file) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", label) and not Path(text).exists()
        path = file if named else text
        found.setdefault(label if named else "model", []).append(
            path if "://" in path else str(user_path(path).absolute())  # not relative to the suite
        )
    return found


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


def _dataset(text: str, layout: str | None, num_classes: int | None) -> Dataset:
    """Return the data set that ``--data`` names."""
    try:
        if not text.lstrip().startswith("{"):
            return from_arrays(text, layout=layout, num_classes=num_classes)  # type: ignore[arg-type]
        more = {"layout": layout, "num_classes": num_classes}
        stated = {name: value for name, value in more.items() if value is not None}
        return choose(DATASETS, "dataset", {**_mapping("--data", text), **stated})
    except ConfigError as error:
        lines = [line.removeprefix("data: ") for line in str(error).splitlines()]
        raise ConfigError("\n".join(f"--data: {line}" for line in lines)) from None
