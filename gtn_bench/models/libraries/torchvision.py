"""Classification models of torchvision, untrained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from gtn_bench.config.description import PositiveFloat
from gtn_bench.models.libraries.base import Shape, UntrainedArchitecture, registered_models

if TYPE_CHECKING:
    from torch import nn

RESNETS = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
)
MOBILENETS = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large")


class TorchvisionModel(UntrainedArchitecture):
    """A classification model of torchvision with random initial weights.

    Attributes:
        width: Factor on the number of channels of every layer. ResNets and MobileNets have one.
        stem: First layers of a ResNet. `imagenet` divides height and width by four; `cifar`, for small images, keeps
            them with a 3x3 convolution without stride and without max pooling.
    """

    name = "torchvision"
    source = "https://docs.pytorch.org/vision/stable/models.html"
    packages = ("torchvision",)
    requirement: ClassVar[str] = "torchvision"
    width: PositiveFloat = 1.0
    stem: Literal["imagenet", "cifar"] = "imagenet"

    @classmethod
    def members(cls) -> Iterable[str]:
        return registered_models("torchvision")

    def idle_fields(self) -> Mapping[str, str]:
        idle = {}
        if self.model not in (*RESNETS, *MOBILENETS):
            idle["width"] = f"{self.model} has no factor on its width, ResNets and MobileNets have one"
        if self.model not in RESNETS:
            idle["stem"] = f"{self.model} is no ResNet"
        return idle

    def widened(self, factor: float) -> Self:
        if "width" in self.idle_fields():
            return super().widened(factor)
        return self.model_copy(update={"width": self.width * factor})

    def build(self, shape: Shape, classes: int) -> nn.Module:
        from gtn_bench.models.libraries.torchvision_networks import other, resnet

        if self.model in RESNETS:
            return resnet(self.model, shape[0], classes, width=self.width, small_stem=self.stem == "cifar")
        return other(self.model, shape, classes, width=self.width if self.model in MOBILENETS else None)
