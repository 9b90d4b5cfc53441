"""Networks of torchvision for any number of channels, with factors on the width of ResNets and MobileNets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet


class Layout(NamedTuple):
    """The numbers in which ResNets differ.

    Attributes:
        block: Class of the residual blocks.
        blocks: Number of blocks of each of the four stages.
        groups: Number of groups of the 3x3 convolutions.
        width_per_group: Channels per group of the first stage.
    """

    block: type[BasicBlock | Bottleneck]
    blocks: Sequence[int]
    groups: int = 1
    width_per_group: int = 64


LAYOUTS = {
    "resnet18": Layout(BasicBlock, (2, 2, 2, 2)),
    "resnet34": Layout(BasicBlock, (3, 4, 6, 3)),
    "resnet50": Layout(Bottleneck, (3, 4, 6, 3)),
    "resnet101": Layout(Bottleneck, (3, 4, 23, 3)),
    "resnet152": Layout(Bottleneck, (3, 8, 36, 3)),
    "resnext50_32x4d": Layout(Bottleneck, (3, 4, 6, 3), groups=32, width_per_group=4),
    "resnext101_32x8d": Layout(Bottleneck, (3, 4, 23, 3), groups=32, width_per_group=8),
    "resnext101_64x4d": Layout(Bottleneck, (3, 4, 23, 3), groups=64, width_per_group=4),
    "wide_resnet50_2": Layout(Bottleneck, (3, 4, 6, 3), width_per_group=128),
    "wide_resnet101_2": Layout(Bottleneck, (3, 4, 23, 3), width_per_group=128),
}


def resnet(model: str, channels: int, classes: int, *, width: float, small_stem: bool) -> nn.Module:
    """Return a ResNet with initial weights from torch's global random generator.

    Args:
        model: Its name in torchvision.
        channels: Number of image channels.
        classes: Number of classes.
        width: Factor on the number of channels of every layer.
        small_stem: Whether the first convolution has a 3x3 kernel without stride, and no max pooling follows it.
    """
    return ScaledResNet(LAYOUTS[model], channels, classes, width, small_stem)


class ScaledResNet(ResNet):  # type: ignore[misc]
    """torchvision's ResNet with other numbers of channels and another stem, and the same names of parameters.

    With three channels, width 1 and the large stem, it has the same weights for the same seed.

    Args:
        layout: Blocks and groups.
        channels: Number of image channels.
        classes: Number of classes.
        width: Factor on the number of channels of every layer.
        small_stem: See `resnet`.
    """

    def __init__(self, layout: Layout, channels: int, classes: int, width: float, small_stem: bool) -> None:
        nn.Module.__init__(self)
        stages = [max(1, round(width * 64 * 2**stage)) for stage in range(4)]
        # The attributes that `_make_layer` reads.
        self._norm_layer: Any = nn.BatchNorm2d
        self.inplanes, self.dilation = stages[0], 1
        self.groups, self.base_width = layout.groups, layout.width_per_group
        kernel, stride = (3, 1) if small_stem else (7, 2)
        self.conv1 = nn.Conv2d(channels, stages[0], kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(stages[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool: Any = nn.Identity() if small_stem else nn.MaxPool2d(3, stride=2, padding=1)
        layers = [
            self._make_layer(layout.block, stages[stage], layout.blocks[stage], stride=2 if stage else 1)
            for stage in range(4)
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(stages[3] * layout.block.expansion, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def other(model: str, shape: tuple[int, int, int], classes: int, *, width: float | None) -> nn.Module:
    """Return a network that is no ResNet, with initial weights from torch's global random generator.

    Args:
        model: Its name in torchvision.
        shape: Channels, height and width of the images. For another number of channels than three, the first
            convolution is replaced by one with PyTorch's initial weights.
        classes: Number of classes.
        width: Factor on the number of channels; None for a model without one.
    """
    settings: dict[str, Any] = {} if width is None else {"width_mult": width}
    if model in ("googlenet", "inception_v3"):  # logits alone
        settings = {"aux_logits": False, "init_weights": True}
    elif model.startswith("vit_"):
        settings = {"image_size": shape[1]}
    elif model.startswith("maxvit_"):
        settings = {"input_size": shape[1:]}
    network: nn.Module = models.get_model(model, weights=None, num_classes=classes, **settings)
    if shape[0] != 3:
        replace_first_convolution(network, shape[0])
    return network


def replace_first_convolution(network: nn.Module, channels: int) -> None:
    """Replace the first convolution of a network by one for another number of image channels.

    Args:
        network: The network. It is modified in place.
        channels: Number of image channels.
    """
    name, old = next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    parent, _, attribute = name.rpartition(".")
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    setattr(network.get_submodule(parent), attribute, new)
