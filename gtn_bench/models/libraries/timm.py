"""Classification models of timm, untrained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from gtn_bench.models.libraries.base import Shape, UntrainedArchitecture, is_installed, registered_models

if TYPE_CHECKING:
    from torch import nn


class TimmModel(UntrainedArchitecture):
    """A classification model of timm with random initial weights."""

    name = "timm"
    source = "https://huggingface.co/docs/timm"
    packages = ("timm",)
    requirement: ClassVar[str] = '"gtn-bench[timm]"'

    @classmethod
    def members(cls) -> Iterable[str]:
        return registered_models("timm") if is_installed("timm") else ()

    def build(self, shape: Shape, classes: int) -> nn.Module:
        import timm

        config = timm.get_pretrained_cfg(self.model)
        # Models that are made for one size of images take it as an argument.
        size: dict[str, Any] = {"img_size": shape[1:]} if config is not None and config.fixed_input_size else {}
        network: nn.Module = timm.create_model(
            self.model, pretrained=False, in_chans=shape[0], num_classes=classes, **size
        )
        return network
