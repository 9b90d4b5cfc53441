"""Salvage of the right parts of a wrong suite, so that validation reports all problems at once.

Everything that a problem concerns is left out, and nothing that depends on it is checked. Problems that the remaining
parts have are therefore problems of the file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from gtn_bench.config.description import misspelt_key


class Remains(NamedTuple):
    """The parts of a mapping that are right.

    Attributes:
        data: The mapping without the keys and entries that are wrong.
        places: For each list of entries the places in the file of those that are left.
        unread: Top-level keys of which something was left out, or is missing.
    """

    data: dict[str, Any]
    places: dict[str, tuple[str, ...]]
    unread: frozenset[str]


def remains(
    data: Mapping[str, Any], error: ValidationError, cls: type[BaseModel], sections: Collection[str]
) -> Remains:
    """Leave out the parts of a mapping that a validation error concerns.

    Args:
        data: The mapping.
        error: The error of `cls` about it.
        cls: The model that rejected the mapping.
        sections: Keys that hold lists of entries.
    """
    fields = cls.model_fields
    kept = {key: value for key, value in data.items() if key in fields}
    unread = {near for key in data if key not in fields for near in difflib.get_close_matches(str(key), fields, n=1)}
    entries = {
        key: {place: {"name": entry} if isinstance(entry, str) else entry for place, entry in enumerate(kept[key])}
        for key in sections
        if isinstance(kept.get(key), list | tuple)
    }
    for detail in error.errors(include_url=False):
        key, *inside = detail["loc"]
        if key in entries and inside:
            unread.add(str(key))
            position, *place = inside
            section, at = entries[str(key)], int(position)
            # Values that cause no other problem, in place of wrong ones.
            instead = {"label": f"unlabeled-{at}", "samples": 1, "search": None, "beta": [1.0]}
            entry = section.pop(at, None)
            if isinstance(entry, dict) and place and place[0] in instead:
                misspelt = misspelt_key(detail, cls)
                rest = {name: value for name, value in entry.items() if name != misspelt}
                section[at] = {**rest, str(place[0]): instead[str(place[0])]}
        else:
            unread.add(str(key))
            kept.pop(str(key), None)
            entries.pop(str(key), None)
    kept |= {key: [section[at] for at in sorted(section)] for key, section in entries.items()}
    places = {key: tuple(f"{key}[{at}]" for at in sorted(section)) for key, section in entries.items()}
    return Remains(kept, places, frozenset(unread))


def in_file_order(problems: Iterable[str], data: Mapping[str, Any]) -> list[str]:
    """Return lines ``place: problem`` in the order of their places in a file, each once.

    Args:
        problems: The lines.
        data: The content of the file as plain data, keys in their order.
    """
    return sorted(dict.fromkeys(problems), key=lambda line: _position(line, data))


def _position(line: str, data: Any) -> tuple[int, ...]:
    """Return the positions of keys and entries that lead to the place at the start of a line."""
    place = line.partition(": ")[0]
    if re.fullmatch(r"line \d+", place):
        return ()  # found by the parser, before all others
    position = []
    here = data
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", place):
        if index:
            position.append(int(index))
            here = here[int(index)] if isinstance(here, list | tuple) and int(index) < len(here) else None
        elif isinstance(here, Mapping):
            keys = list(here)
            misspelt = re.search(r"needs this key, got '(.*)'$", line)
            near = key if key in keys or misspelt is None else misspelt[1]
            position.append(keys.index(near) if near in keys else len(keys))
            here = here.get(key)
        else:
            break
    return tuple(position)
