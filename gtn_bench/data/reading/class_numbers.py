"""Names and numbers of the classes of a data set from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gtn_bench.config.errors import ConfigError, listed
from gtn_bench.data.reading.decoded import Facts, Role


def class_names(stated: Sequence[str], facts: Mapping[Role, Facts], who: Mapping[Role, str]) -> tuple[str, ...]:
    """Return the names of the classes, in the order of their numbers.

    Args:
        stated: The names in the description, if there are any.
        facts: What is known about the training and test images.
        who: The origin of both, to start messages.

    Raises:
        ConfigError: If names of two origins do not fit, or a name occurs twice.
    """
    if twice := [name for number, name in enumerate(stated) if name in stated[:number]]:
        raise ConfigError(f"classes expects different names, got '{twice[0]}' again")
    names, origin = tuple(stated), "classes"
    for role, found in facts.items():  # training images first
        if not found.classes:
            continue
        if not names:
            names, origin = found.classes, who[role]
        strange = [name for name in found.classes if name not in names]
        if strange:
            raise ConfigError(f"{who[role]}: has the class '{strange[0]}', {origin} has {listed(names, str)}")
        if not found.named_by_folders and found.classes != names:
            raise ConfigError(
                f"{who[role]}: numbers its classes {listed(found.classes, str)}; {origin} has {listed(names, str)}"
            )
    by_folders = any(found.named_by_folders for found in facts.values())
    if by_folders and not stated and all(name.isdecimal() for name in names) and sorted(names, key=int) != [*names]:
        raise ConfigError(
            f"{origin}: the folders {listed(names, str)} have another order as numbers; set classes in their order"
        )
    return names


def renumbering(facts: Facts, classes: Sequence[str]) -> tuple[int, ...] | None:
    """Return the class number of each folder; None if they are those of the source.

    Args:
        facts: What is known about the images.
        classes: The names of the classes, in the order of their numbers.
    """
    if not facts.named_by_folders or facts.classes == tuple(classes):
        return None
    return tuple(list(classes).index(name) for name in facts.classes)


def count_classes(
    stated: int | None, classes: Sequence[str], facts: Mapping[Role, Facts], who: Mapping[Role, str]
) -> int:
    """Return the number of classes.

    Args:
        stated: The number in the description, if there is one.
        classes: The names of the classes.
        facts: What is known about the training and test images.
        who: The origin of both, to start messages.

    Raises:
        ConfigError: If a label is too large, numbers of different origins are not equal, or the labels have gaps that
            no stated number explains.
    """
    if stated and classes and stated != len(classes):
        raise ConfigError(f"num_classes expects one class per name, which are {len(classes)}, got {stated}")
    widths = {found.width for found in facts.values()} - {None}
    count = stated or len(classes) or max((width or 0 for width in widths), default=0)
    count = count or _counted(facts, " and ".join(who.values()))
    for role, found in facts.items():
        least, most = found.labels[0], found.labels[-1]
        if found.width not in (None, count):
            raise ConfigError(f"{who[role]}: has one-hot labels of {found.width} classes, expects {count}")
        if most >= count and not found.named_by_folders:
            remedy = f"increase num_classes to at least {most + 1}" if stated else "name the other classes"
            remedy = "subtract 1 from the labels" if least == 1 and most == count else remedy
            raise ConfigError(
                f"{who[role]}: has class numbers from {least} to {most}, expects 0 to {count - 1}; {remedy}"
            )
    if count < 2:
        raise ConfigError(f"{who['test']}: expects at least two classes, got one; set num_classes if there are more")
    return count


def _counted(facts: Mapping[Role, Facts], who: str) -> int:
    """Return the largest label plus one. Every class must have an image."""
    present = set().union(*(found.labels for found in facts.values()))
    count = max(present) + 1
    if present == set(range(1, count)):
        raise ConfigError(
            f"{who}: has class numbers from 1 to {count - 1}, expects 0 to {count - 2}; subtract 1 from the labels, "
            f"or set num_classes: {count} if class 0 has no images"
        )
    if missing := count - len(present):
        first = next(number for number in range(count) if number not in present)
        more = f" and {missing - 1} more" if missing > 1 else ""
        raise ConfigError(
            f"{who}: has no images of class {first}{more}; set num_classes: {count} if there are such classes, "
            "else number the classes from 0"
        )
    return count
