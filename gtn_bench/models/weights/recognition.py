"""Recognition of the architecture that weights belong to, by the names and shapes of the weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

import torch
from torch import Tensor

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset
from gtn_bench.models.architectures import Architecture


def recognized(state: Mapping[str, Tensor], dataset: Dataset, architecture: Architecture) -> str:
    """Return the name of a related architecture that has exactly these weights.

    Related ones have the same name in another library or in this package, such as ``torchvision.resnet18`` for
    ``resnet18``, or are others of its family in torchvision. They are built on the meta device, without numbers.

    Args:
        state: Weights by name.
        dataset: The data set, whose number of channels the networks have.
        architecture: The architecture that they do not fit.

    Returns:
        The name in quotes, with the stem if it must be set; an empty string if there is none.
    """
    names = _names(state)
    best, most = "", len(names) // 2
    for title, candidate in _related(architecture):
        with suppress(Exception), torch.device("meta"):  # code of others: a candidate that fails is none
            own = candidate.bare(dataset, seed=0).state_dict()
            equal = sum(own[name].shape == value.shape for name, value in state.items() if name in own)
            if _names(own) == names and equal > most:
                best, most = title, equal
    return best


def _names(state: Mapping[str, Tensor]) -> set[str]:
    """Return the names of weights without those of counters, which old files lack."""
    return {name for name in state if not name.endswith("num_batches_tracked")}


def _related(architecture: Architecture) -> Iterator[tuple[str, Architecture]]:
    from gtn_bench.models import ARCHITECTURES
    from gtn_bench.models.libraries.torchvision import RESNETS, TorchvisionModel

    base = str(architecture.identity()["name"]).rpartition(".")[2]
    for name, cls in ARCHITECTURES.items():
        with suppress(ConfigError, ValueError):  # it needs other fields, or its library is not installed
            if cls.member_field and not cls.has_weights and base in cls.members():
                yield f"'{name}.{base}'", cls(**{cls.member_field: base})
            elif name == base and not isinstance(architecture, cls):
                yield f"'{name}'", cls()
    family = re.match(r"[a-z]*", base.casefold())
    for model in TorchvisionModel.members() if family and len(family[0]) > 2 else ():
        if model.startswith(family[0] if family else ""):
            yield f"'torchvision.{model}'", TorchvisionModel(model=model)
            if model in RESNETS:
                yield f"'torchvision.{model}' with stem: cifar", TorchvisionModel(model=model, stem="cifar")
