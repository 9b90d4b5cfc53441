"""Types of the fields of the mode `distilled`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema

from gtn_bench.config.description import PositiveFloat
from gtn_bench.config.errors import ConfigError, did_you_mean, shown
from gtn_bench.config.filepath import FilePath
from gtn_bench.data.reading.sources import DataPath

DSA = Literal["color", "crop", "cutout", "flip", "scale", "rotate"]
_DSA: tuple[str, ...] = get_args(DSA)


class SetPath(FilePath):
    """A file, or a folder with one folder of images per class."""

    accepts_folders: ClassVar[bool] = True
    digest = staticmethod(DataPath.digest)


def _parts(value: object) -> object:
    """Return the parts of an augmentation in their order; "dsa" stands for all."""
    if value == "dsa":
        return _DSA
    names = value if isinstance(value, list | tuple) else [value]
    for name in names:
        if name not in _DSA:
            raise ConfigError(
                f"expects 'dsa' or a list of {', '.join(_DSA)}, got {shown(name)}{did_you_mean(name, ('dsa', *_DSA))}"
            )
    return tuple(part for part in _DSA if part in names)


Augmentation = Annotated[
    tuple[DSA, ...],
    BeforeValidator(_parts),
    WithJsonSchema({"anyOf": [{"enum": ["dsa", *_DSA]}, {"type": "array", "items": {"enum": list(_DSA)}}]}),
]
PerChannel = Annotated[tuple[float, ...], Field(strict=False, min_length=1)]
PositivePerChannel = Annotated[tuple[PositiveFloat, ...], Field(strict=False, min_length=1)]
