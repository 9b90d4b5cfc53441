"""What architectures of other libraries have in common: names, and a trial before training."""

from __future__ import annotations

import functools
import importlib.util
import re
import warnings
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import model_validator

from gtn_bench.config.description import PositiveInt
from gtn_bench.config.errors import ConfigError, did_you_mean
from gtn_bench.data.base import Dataset
from gtn_bench.models.architectures import Architecture

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, int, int]  # channels, height, width


def is_installed(package: str) -> bool:
    """Check that a package is installed. A module of its name is not enough: torchattacks contains a `robustbench`.

    Args:
        package: Name of the package.
    """
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


# A function that torchvision or timm lists as a model.
_REGISTERED = re.compile(r"^@register_model(?:\(\))?\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


@functools.cache
def registered_models(package: str) -> tuple[str, ...]:
    """Return the names of the models in the folder `models` of a package, from its source text.

    The package is not imported, which would take seconds and import torch for the suggestion of a misspelt name.

    Args:
        package: Name of an installed package: torchvision or timm.
    """
    spec = importlib.util.find_spec(package)
    folders = (spec and spec.submodule_search_locations) or []
    files = (file for folder in folders for file in Path(folder, "models").glob("*.py"))
    return tuple(sorted(name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8"))))


class LibraryArchitecture(Architecture):
    """A classification model of another library, by its name: `torchvision.resnet18`.

    Attributes:
        requirement: What pip installs for the library.
        model: Name of the model in the library: the part of `name` behind the dot.
    """

    member_field = "model"
    requirement: ClassVar[str]
    model: str

    @property
    def title(self) -> str:
        """The name in suites."""
        return f"{self.name}.{self.model}"

    @model_validator(mode="after")
    def _known_model(self) -> Self:
        """Check that the library is installed and has the model. Nothing else is passed on to it, such as a URL."""
        if not is_installed(self.packages[0]):
            raise ConfigError(
                f"architecture '{self.title}' needs the package {self.packages[0]}; "
                f"install it with: pip install {self.requirement}"
            )
        known = self.known_models()
        if self.model not in known:
            near = did_you_mean(self.title, [f"{self.name}.{model}" for model in known])
            raise ConfigError(f"unknown architecture '{self.title}'{near}")
        return self

    def known_models(self) -> Iterable[str]:
        """Return the models that the library has for the other fields."""
        return type(self).members()


class UntrainedArchitecture(LibraryArchitecture):
    """A model of another library with random initial weights. Nothing is downloaded.

    Attributes:
        in_channels: Number of image channels, to state it; that of the data set.
        num_classes: Number of classes, to state it; that of the data set.
    """

    normalizes_itself: ClassVar[bool] = False
    in_channels: PositiveInt | None = None
    num_classes: PositiveInt | None = None

    def content(self) -> dict[str, Any]:
        content = super().content()
        del content["in_channels"], content["num_classes"]  # they only repeat what the data set says
        return content

    def check(self, dataset: Dataset) -> None:
        """Build the network and apply it to two images, without numbers, so that errors appear before training.

        Args:
            dataset: The data set, which determines the shape of images and the number of classes.

        Raises:
            ConfigError: If the data set has another number of channels or classes than the architecture states, or the
                model does not apply to images of its size.
        """
        channels, height, width = dataset.input_shape
        for field, stated, actual in (
            ("in_channels", self.in_channels, channels),
            ("num_classes", self.num_classes, dataset.num_classes),
        ):
            if stated not in (None, actual):
                raise ConfigError(
                    f"architecture '{self.title}' states {field}: {stated}, data set '{dataset.name}' has {actual}; "
                    f"leave {field} out"
                )
        from gtn_bench.models.trial import shape_problem

        if problem := shape_problem(self, dataset.input_shape, dataset.num_classes):
            raise ConfigError(
                f"architecture '{self.title}' fails on images of {channels} x {height} x {width} of data set "
                f"'{dataset.name}': {problem}"
            )

    def build(self, shape: Shape, classes: int) -> nn.Module:
        """Return the network with initial weights from torch's global random generator.

        Args:
            shape: Channels, height and width of the images.
            classes: Number of classes.
        """
        raise NotImplementedError

    def bare(self, dataset: Dataset, seed: int) -> nn.Module:
        import torch

        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries about their own defaults
            torch.default_generator.manual_seed(seed)
            return self.build(dataset.input_shape, dataset.num_classes)

    def __call__(self, dataset: Dataset, seed: int) -> nn.Module:
        from gtn_bench.models.normalized import Normalized

        return Normalized(self.bare(dataset, seed), dataset.mean, dataset.std)
