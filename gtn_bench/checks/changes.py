"""Changes of images that repair a common mistake: if one raises the accuracy, the mistake has probably been made."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gtn_bench.data import DATASETS
from gtn_bench.models.layers import Normalize
from gtn_bench.models.normalized import Normalized

Constants = tuple[float, ...]

# Constants that published networks expect, per channel, in pixel values. One value is for all channels.
USUAL: dict[str, tuple[Constants, Constants]] = {
    "MNIST": (DATASETS["mnist"].mean, DATASETS["mnist"].std),
    "Fashion-MNIST": (DATASETS["fashion-mnist"].mean, DATASETS["fashion-mnist"].std),
    "CIFAR-10": (DATASETS["cifar10"].mean, DATASETS["cifar10"].std),
    "CIFAR-10 in code with averaged deviations": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "CIFAR-100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "images from -1 to 1": ((0.5,), (0.5,)),
}


class Change(NamedTuple):
    """A change of images.

    Attributes:
        check: Name of the check that fails if the accuracy rises.
        text: When the accuracy rises, for the sentence.
        hint: What to do about it.
        apply: Function from images (N, C, H, W) in [0, 1] to what the network receives.
    """

    check: str
    text: str
    hint: str
    apply: Callable[[Tensor], Tensor]


def changes(network: nn.Module, x: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None) -> list[Change]:
    """Return the changes that apply to images, the most common mistakes first.

    Args:
        network: The network. If it begins with a normalization of this package, only that one is undone.
        x: Images (N, C, H, W) in [0, 1], for their shape.
        mean: Mean of the training pixels, per channel, if known.
        std: Standard deviation of the training pixels, per channel, if known.
    """
    return [*_normalizations(network, x.shape[1], mean, std), *_layouts(x), *_ranges()]


def _normalizations(
    network: nn.Module, channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Iterator[Change]:
    own = next((module for module in network.modules() if isinstance(module, Normalize | Normalized)), None)
    if own is not None:
        yield _normalization("", tuple(own.mean.flatten().tolist()), tuple(own.std.flatten().tolist()), undo=True)
        return
    known = {name: pair for name, pair in USUAL.items() if len(pair[0]) in (1, channels)}
    if channels > 1:
        known = {name: pair for name, pair in known.items() if name not in ("MNIST", "Fashion-MNIST")}
    if mean is not None and std is not None and (tuple(mean), tuple(std)) not in known.values():
        known["the training images"] = (tuple(mean), tuple(std))
    for undo, (name, pair) in itertools.product((False, True), known.items()):
        yield _normalization(name, *pair, undo=undo)


def _normalization(name: str, mean: Constants, std: Constants, *, undo: bool) -> Change:
    center, scale = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
    numbers = ", ".join(
        f"{key}=({', '.join(f'{value:.4g}' for value in values)}{',' if len(values) == 1 else ''})"
        for key, values in (("mean", mean), ("std", std))
    )
    constants = f"{numbers}, the constants of {name}" if name else numbers
    if undo:
        return Change(
            "normalized_twice",
            f"if the normalization by {constants} is undone",
            "",
            lambda x: x * scale.to(x) + center.to(x),
        )
    return Change(
        "not_normalized", f"if they are normalized by {constants}", numbers, lambda x: (x - center.to(x)) / scale.to(x)
    )


def _ranges() -> Iterator[Change]:
    yield Change(
        "pixel_range",
        "if pixels are from 0 to 255",
        "the network seems to expect this range: evaluate lambda x: network(255 * x)",
        lambda x: 255 * x,
    )
    yield Change(
        "pixel_range",
        "if black and white are exchanged",
        "the network seems to expect inverted images: evaluate lambda x: network(1 - x)",
        lambda x: 1 - x,
    )


def _layouts(x: Tensor) -> Iterator[Change]:
    _, channels, height, width = x.shape
    if channels == 3:
        yield Change("channel_order", "if the channels are in reverse order", "", lambda x: x.flip(1))
    if channels > 1:
        yield Change(
            "layout",
            "if the numbers of each image are read as (H, W, C)",
            "the images seem to be reshaped from (N, H, W, C): use x.permute(0, 3, 1, 2)",
            lambda x: x.reshape(len(x), height, width, channels).permute(0, 3, 1, 2),
        )
        yield Change(
            "layout",
            "if the images are passed as (N, H, W, C)",
            "the network seems to expect this layout: evaluate lambda x: network(x.permute(0, 2, 3, 1))",
            lambda x: x.permute(0, 2, 3, 1).contiguous(),
        )
    if height == width:
        yield Change(
            "layout",
            "if height and width are exchanged",
            "the images seem to be transposed: use x.transpose(2, 3)",
            lambda x: x.transpose(2, 3),
        )
