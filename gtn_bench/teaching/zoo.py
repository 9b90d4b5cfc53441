"""Teaching sets that are there already: in the package's zoo, in a file, behind a URL."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator
from safetensors import SafetensorError, safe_open

from gtn_bench.cache import cache_folder, file_digest, write_atomically
from gtn_bench.datasets import Dataset, Split
from gtn_bench.description import Mistake, did_you_mean
from gtn_bench.teaching.teachers import Teacher

if TYPE_CHECKING:
    from gtn_bench.teaching.meta_training import Watch
    from gtn_bench.teaching.teaching_set import TeachingSet


Array = np.ndarray[Any, Any]


def zoo() -> dict[str, Path]:
    """The teaching sets that ship with the package: name and file."""
    folder = Path(str(files("gtn_bench"))) / "zoo"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def zoo_catalogue() -> list[dict[str, str]]:
    """Name, content and accuracy of every teaching set of the zoo."""
    rows = []
    for name, path in zoo().items():
        about = facts(path).about
        teacher = about["teacher"]
        own = [row for row in about["accuracy"] if row["statistics"] == teacher["statistics"]]
        rows.append(
            {
                "name": name,
                "about": f"{teacher['name']} teacher on {about['dataset']['name']}",
                "optimised for": ", ".join(one["name"] for one in teacher["architecture"]),
                "statistics": teacher["statistics"],
                "accuracy": ", ".join(
                    f"{row['architecture']} {row['accuracy']:.3f} after {row['inner_steps']} steps" for row in own
                ),
            }
        )
    return rows


class Facts(NamedTuple):
    """What a plan needs to know of a teaching set, without its images and without torch."""

    inner_steps: int
    image_shape: tuple[int, ...]
    num_classes: int
    batch_size: int
    even_labels: bool  # one-hot, evenly spread over the classes, alike in all inner steps
    about: dict[str, Any]


def facts(path: Path) -> Facts:
    """Raises `Mistake` if the file holds no teaching set."""
    try:
        with safe_open(path, framework="np") as file:
            steps, batch_size, *image = file.get_slice("images").get_shape()
            labels = file.get_tensor("labels")
            classes = labels.shape[-1]
            even = np.array_equal(labels, np.eye(classes, dtype=labels.dtype)[None, np.arange(batch_size) % classes])
            return Facts(steps, tuple(image), classes, batch_size, even, json.loads(file.metadata()["about"]))
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        raise Mistake(f"{path} is not a teaching set ({type(error).__name__}: {error})") from None


def decoded(levels: Array, extremes: Array) -> Array:
    """Images from bytes: level 0 is the darkest, 255 the brightest pixel of the set, exactly."""
    low, high = np.float32(extremes[0]), np.float32(extremes[1])
    step = np.maximum(high - low, np.float32(1e-12)) / np.float32(255)
    return np.where(levels == 255, high, low + levels.astype(np.float32) * step)


class Trained(Teacher):
    """A teaching set that is there already: its name in the zoo, a file, or a URL with its sha256.

    The checksum of a file is written into the resolved suite; where a suite gives it, it must fit.
    """

    name = "trained"
    teaching_set: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _identify(self) -> Self:
        if self._is_url:
            if not self.sha256:
                raise Mistake(f"teacher 'trained' needs the sha256 of {self.teaching_set}")
            return self
        found = file_digest(self.path)
        if self.sha256 not in (None, found):
            raise Mistake(f"teacher 'trained' expects the sha256 {self.sha256} of {self.path}, got {found}")
        object.__setattr__(self, "sha256", found)
        return self

    @property
    def path(self) -> Path:
        """The file; of a URL, where the cache keeps it. Raises `Mistake` if there is no such file."""
        if self._is_url:
            return cache_folder() / "downloads" / f"{self.sha256}.safetensors"
        path = Path(self.teaching_set)
        with suppress(OSError, RuntimeError):  # a name too long, a home that nobody has
            path = path.expanduser()
            if path.is_file():
                return path
        if self.teaching_set in zoo():
            return zoo()[self.teaching_set]
        if path.suffix == ".safetensors" or len(path.parts) > 1:
            raise Mistake(f"teacher 'trained': {self.teaching_set}: no such file")
        raise Mistake(
            f"teacher 'trained': no teaching set '{self.teaching_set}'{did_you_mean(self.teaching_set, zoo())}"
        )

    @property
    def inner_steps_taught(self) -> int | None:
        return facts(self.path).inner_steps if self.path.exists() else None

    def content(self) -> dict[str, Any]:
        return {"name": self.name, "sha256": self.sha256}

    def check(self, dataset: Dataset) -> None:
        if not self.path.exists():
            return  # a URL; looked at when it has come
        found = facts(self.path)
        if found.image_shape != dataset.input_shape or found.num_classes != dataset.num_classes:
            raise Mistake(
                f"teacher 'trained': {self.teaching_set} holds images {found.image_shape} of {found.num_classes} "
                f"classes, data set '{dataset.name}' has {dataset.input_shape} of {dataset.num_classes}"
            )

    def __call__(
        self, dataset: Dataset, splits: dict[Any, Split], *, device: str, watch: Watch | None = None
    ) -> TeachingSet:
        from gtn_bench.teaching.teaching_set import TeachingSet

        self.fetch()
        self.check(dataset)
        return TeachingSet.load(self.path).to(device)

    def fetch(self) -> Path:
        """The file; downloaded if it is behind a URL and not there yet."""
        if not self.path.exists():
            self._download()
        return self.path

    @property
    def _is_url(self) -> bool:
        return self.teaching_set.startswith(("https://", "http://"))

    def _download(self) -> None:
        try:
            with urllib.request.urlopen(self.teaching_set, timeout=60) as answer:
                content = answer.read()
        except (OSError, HTTPException, ValueError) as error:
            raise Mistake(f"teacher 'trained': {self.teaching_set} could not be downloaded ({error})") from None
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise Mistake(f"teacher 'trained' expects the sha256 {self.sha256} of {self.teaching_set}, got {found}")
        write_atomically(self.path, content)
