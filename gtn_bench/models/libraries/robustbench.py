"""Models of RobustBench, with their weights."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from gtn_bench.config.errors import ConfigError
from gtn_bench.config.locks import one_at_a_time
from gtn_bench.data.base import Dataset
from gtn_bench.models.libraries.base import LibraryArchitecture, is_installed

if TYPE_CHECKING:
    from torch import nn

Benchmark = Literal["cifar10", "cifar100", "imagenet"]

_CLASSES: dict[Benchmark, int] = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}
_SIDE = 32  # of CIFAR images; models for ImageNet differ in theirs


class RobustBenchModel(LibraryArchitecture):
    """A model of RobustBench with the weights that its authors published, for the mode `pretrained`.

    Its first use downloads the weights to the folder ``robustbench`` in the folder of `torch.hub`, unless they are
    there. The network takes pixels in [0, 1] and normalizes them itself.

    Attributes:
        dataset: The data set that the model was trained on.
        threat_model: The threat model of the leaderboard that lists it.
    """

    name = "robustbench"
    source = "https://github.com/RobustBench/robustbench"
    packages = ("robustbench", "timm")
    requirement: ClassVar[str] = "robustbench"
    has_weights: ClassVar[bool] = True
    dataset: Benchmark = "cifar10"
    threat_model: Literal["Linf", "L2", "corruptions"] = "Linf"

    @classmethod
    def members(cls) -> Iterable[str]:
        if not is_installed("robustbench"):
            return ()
        with contextlib.suppress(ConfigError):  # it cannot be imported
            return _names()
        return ()

    @model_validator(mode="after")
    def _on_this_leaderboard(self) -> Self:
        if self.model not in self._leaderboard(self.dataset, self.threat_model):
            others = [
                f"dataset: {dataset}, threat_model: {threat_model}"
                for dataset, models in _zoo().items()
                for threat_model, names in models.items()
                if self.model in names
            ]
            raise ConfigError(
                f"architecture '{self.title}' is not on the leaderboard of dataset: {self.dataset}, threat_model: "
                f"{self.threat_model}; it is on that of {' and of '.join(others)}"
            )
        return self

    def known_models(self) -> Iterable[str]:
        return _names()

    @staticmethod
    def _leaderboard(dataset: str, threat_model: str) -> Iterable[str]:
        return _zoo().get(dataset, {}).get(threat_model, ())

    def check(self, dataset: Dataset) -> None:
        channels, height, width = dataset.input_shape
        shape = (3, height, width) if self.dataset == "imagenet" else (3, _SIDE, _SIDE)
        classes = _CLASSES[self.dataset]
        if (dataset.input_shape, dataset.num_classes) != (shape, classes):
            sizes = "" if self.dataset == "imagenet" else f" of {_SIDE} x {_SIDE} pixels"
            raise ConfigError(
                f"architecture '{self.title}' takes images of 3 channels{sizes} and has {classes} classes, data set "
                f"'{dataset.name}' has {channels} x {height} x {width} and {dataset.num_classes} classes"
            )

    def __call__(self, dataset: Dataset, seed: int) -> nn.Module:
        import torch

        folder = Path(torch.hub.get_dir()) / "robustbench"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Its downloads report to the standard output, which belongs to the command line.
            with one_at_a_time(folder / f"{self.model}.lock"), contextlib.redirect_stdout(sys.stderr):
                from robustbench.utils import load_model

                network: nn.Module = load_model(
                    model_name=self.model, model_dir=folder, dataset=self.dataset, threat_model=self.threat_model
                )
        except Exception as error:  # any code of a library, any failure of a download
            from gtn_bench.models.trial import describe

            raise ConfigError(f"architecture '{self.title}' could not be loaded: {describe(error)}") from None
        return network


def _names() -> set[str]:
    return {name for models in _zoo().values() for names in models.values() for name in names}


def _zoo() -> dict[str, dict[str, Any]]:
    """Return the models of RobustBench by name, by threat model, by data set."""
    try:
        from robustbench.model_zoo import model_dicts
    except Exception as error:  # any code of a library
        from gtn_bench.models.trial import describe

        raise ConfigError(f"the package robustbench cannot be imported: {describe(error)}") from None
    return {
        dataset.value: {threat_model.value: models for threat_model, models in by_threat_model.items()}
        for dataset, by_threat_model in model_dicts.items()
    }
