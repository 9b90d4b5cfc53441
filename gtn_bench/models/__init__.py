"""Architectures of the networks that are trained and attacked, and their layers."""

from gtn_bench.models.architectures import (
    Architecture,
    Base,
    BaseFC,
    BaseLarger,
    BaseLarger2,
    BaseLarger3,
    BaseLarger3GlobalPooling,
    BaseLarger4,
    BaseLarger4GlobalPooling,
    Linear3,
)
from gtn_bench.models.distillation.architectures import MLP, VGG11, AlexNet, ConvNetD, LeNet, ResNet18
from gtn_bench.models.libraries.robustbench import RobustBenchModel
from gtn_bench.models.libraries.timm import TimmModel
from gtn_bench.models.libraries.torchvision import TorchvisionModel

ARCHITECTURES: dict[str, type[Architecture]] = {
    cls.name: cls
    for cls in (
        Base,
        BaseFC,
        Linear3,
        BaseLarger,
        BaseLarger2,
        BaseLarger3,
        BaseLarger3GlobalPooling,
        BaseLarger4,
        BaseLarger4GlobalPooling,
        ConvNetD,
        ResNet18,
        VGG11,
        AlexNet,
        LeNet,
        MLP,
        TorchvisionModel,
        TimmModel,
        RobustBenchModel,
    )
}

__all__ = ["ARCHITECTURES", "Architecture"]
