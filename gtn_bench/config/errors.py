"""Error types of the package, and what their messages have in common."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any


class ConfigError(ValueError):
    """Invalid usage, suite or input.

    Args:
        message: One line for each problem. Characters that cannot be printed are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(map(escaped, message.split("\n"))))


class RunError(RuntimeError):
    """A requested computation failed. The message is one line."""


class ModelWarning(UserWarning):
    """A check of a model found something that could mislead."""


class DivergenceError(RunError):
    """Meta-training diverged: a non-finite loss or gradient, or a learned rate or momentum out of range."""


class InvalidPerturbationError(RuntimeError):
    """A perturbation returned something other than a batch of finite images."""


class ChangedModelError(InvalidPerturbationError):
    """A perturbation changed the network that it attacks."""


class WrongShapeError(InvalidPerturbationError):
    """A perturbation returned something other than images in the shape of its input."""


class ViewMismatchError(RuntimeError):
    """The view of a classifier for an attack library computes other logits or gradients than the classifier."""


def shown(value: object) -> str:
    """Return a value as an error message shows it: its repr, in one line and not too long.

    Args:
        value: What was given.
    """
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "an integer of thousands of digits"
    if "\n" in text:  # an array
        text = " ".join(text.split())
    return shortened(text, 500)


def escaped(text: str) -> str:
    """Return a line with escapes in place of characters that cannot be printed.

    Args:
        text: The line.
    """
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def shortened(text: str, most: int) -> str:
    """Return a text, or its start and its length if it is too long.

    Args:
        text: The text.
        most: Number of characters that are not too many.
    """
    return text if len(text) <= most else f"{text[: min(most, 200)]}... ({len(text)} characters)"


def listed(values: Sequence[Any], text: Callable[[Any], str] = shown) -> str:
    """Return the first values as text: ``"-0.1, 'x' and 3 more"``.

    Args:
        values: What was given.
        text: The text of a value.
    """
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    return ", ".join(map(text, values[:5])) + more


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the suggestion that ends an error message about an unknown name.

    Args:
        name: The unknown name.
        known: All valid names.

    Returns:
        ``"; did you mean 'x'?"`` for the most similar name, else ``"; known: a, b"`` if there are at most 12 names,
        else an empty string.
    """
    known = sorted(known)
    folded = {other.casefold(): other for other in known}
    # The time to match a text grows with its length times the number of names.
    near = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.5) if len(str(name)) <= 100 else []
    if near:
        return f"; did you mean '{folded[near[0]]}'?"
    return f"; known: {', '.join(known)}" if 0 < len(known) <= 12 else ""


def join(path: str, *parts: object) -> str:
    """Return a place in a file as text: ``join("perturbations", 0, "beta")`` is ``"perturbations[0].beta"``.

    Args:
        path: The place to start from; empty for the file.
        parts: Keys and positions that lead to the place.
    """
    for part in parts:
        key = str(part) if len(str(part)) <= 100 and str(part).isprintable() else shown(str(part))
        path += f"[{part}]" if isinstance(part, int) else f".{key}" if path else key
    return path


def at_place(error: ConfigError, place: str) -> list[str]:
    """Return the lines of an error, each with the place in the file that it concerns.

    Args:
        error: The error. Its lines may already begin with a place inside of this one.
        place: The place.
    """
    return [line if line.startswith(place) else f"{place}: {line}" for line in str(error).splitlines()]
