"""Existing teaching sets: in the package's zoo, in a file, at a URL."""

from __future__ import annotations

from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from gtn_bench.config.errors import ConfigError, did_you_mean
from gtn_bench.config.paths import find_path
from gtn_bench.data.base import Dataset, Split, SplitName
from gtn_bench.store.downloads import download, download_path, is_downloaded
from gtn_bench.store.hashing import file_digest
from gtn_bench.teaching.encoding import facts
from gtn_bench.teaching.history import Monitor
from gtn_bench.teaching.teachers import Teacher

if TYPE_CHECKING:
    from gtn_bench.teaching.teaching_set import TeachingSet

_SUFFIX = ".safetensors"


def zoo() -> dict[str, Path]:
    """Return name and file of every teaching set that ships with the package."""
    folder = Path(str(files("gtn_bench"))) / "zoo"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def zoo_catalog() -> list[dict[str, str]]:
    """Return name, content and accuracy of every teaching set that ships with the package."""
    rows = []
    for name, path in zoo().items():
        metadata = facts(path).metadata
        teacher = metadata["teacher"]
        own = [row for row in metadata["accuracy"] if row["statistics"] == teacher["statistics"]]
        rows.append(
            {
                "name": name,
                "summary": f"{teacher['name']} teacher on {metadata['dataset']['name']}",
                "optimized for": ", ".join(one["name"] for one in teacher["architecture"]),
                "statistics": teacher["statistics"],
                "accuracy": ", ".join(
                    f"{row['architecture']} {row['accuracy']:.3f} after {row['inner_steps']} steps" for row in own
                ),
            }
        )
    return rows


class Trained(Teacher):
    """An existing teaching set: its name in the zoo, a file, or a URL with its sha256.

    Attributes:
        teaching_set: The name, path or URL.
        sha256: Checksum of the file; filled in where it is missing. A URL requires it.
    """

    name = "trained"
    teaching_set: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _identify(self) -> Self:
        if self._is_url:
            if not self.sha256:
                raise ConfigError(f"teacher 'trained' needs the sha256 of {self.teaching_set}")
            return self
        path = self.path
        found = file_digest(path)
        if self.sha256 not in (None, found):
            raise ConfigError(f"teacher 'trained' expects the sha256 {self.sha256} of {path}, got {found}")
        object.__setattr__(self, "sha256", found)
        if self.teaching_set not in zoo():  # relative to the suite, which is unknown later
            object.__setattr__(self, "teaching_set", str(path))
        return self

    @property
    def path(self) -> Path:
        """The file; for a URL, its place in the cache.

        Raises:
            ConfigError: If there is no such file.
        """
        if self._is_url:
            return download_path(self.sha256 or "", _SUFFIX)
        path = Path(self.teaching_set)
        with suppress(ConfigError):
            return find_path(path)
        if self.teaching_set in zoo():
            return zoo()[self.teaching_set]
        if path.suffix == ".safetensors" or len(path.parts) > 1:
            raise ConfigError(f"teacher 'trained': {self.teaching_set}: no such file")
        raise ConfigError(
            f"teacher 'trained': no teaching set '{self.teaching_set}'{did_you_mean(self.teaching_set, zoo())}"
        )

    @property
    def inner_steps_taught(self) -> int | None:
        return facts(self.path).inner_steps if self._exists else None

    def content(self) -> dict[str, Any]:
        return {"name": self.name, "sha256": self.sha256}

    def check(self, dataset: Dataset) -> None:
        if not self._exists:
            return  # a URL, checked after the download
        found = facts(self.path)
        if found.image_shape != dataset.input_shape or found.num_classes != dataset.num_classes:
            raise ConfigError(
                f"teacher 'trained': {self.teaching_set} holds images {found.image_shape} of {found.num_classes} "
                f"classes, data set '{dataset.name}' has {dataset.input_shape} of {dataset.num_classes}"
            )

    def __call__(
        self, dataset: Dataset, splits: dict[SplitName, Split], *, device: str, monitor: Monitor | None = None
    ) -> TeachingSet:
        from gtn_bench.teaching.teaching_set import TeachingSet

        self.fetch()
        self.check(dataset)
        return TeachingSet.load(self.path).to(device)

    def fetch(self) -> Path:
        """Download the file unless it exists, and return its path.

        Raises:
            ConfigError: If the download fails or has another checksum.
        """
        if not self._exists:
            self._download()
        return self.path

    @property
    def _is_url(self) -> bool:
        return self.teaching_set.startswith(("https://", "http://"))

    @property
    def _exists(self) -> bool:
        """True if the file is there; for a URL, with the right content."""
        return is_downloaded(self.sha256 or "", _SUFFIX) if self._is_url else self.path.exists()

    def _download(self) -> None:
        assert self.sha256 is not None
        try:
            download(self.teaching_set, self.sha256, _SUFFIX)
        except ConfigError as error:
            raise ConfigError(f"teacher 'trained' {error}") from None
