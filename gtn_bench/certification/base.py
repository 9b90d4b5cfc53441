"""The interface of certifiers: frozen descriptions that prove which images no perturbation in a ball can change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from gtn_bench.config.description import Description, PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.threat import Norm, Threat

if TYPE_CHECKING:
    from torch import Tensor, nn


class Certifier(Description):
    """A lower bound on the accuracy that any attack in a ball can leave.

    Attributes:
        norms: Norms of the balls.
        about: What the proof holds for: the model itself, or its smoothed version.
        pixel_fields: Fields in pixel values, which a suite in normalized units scales.
        samples: Number of test images to certify, the first ones; None for all. `__call__` certifies all that it gets.
    """

    norms: ClassVar[tuple[Norm, ...]]
    about: ClassVar[Literal["model", "smoothed model"]]
    pixel_fields: ClassVar[tuple[str, ...]] = ()

    samples: PositiveInt | None = None

    def in_pixels(self, std: float) -> Self:
        """Return the certifier with its pixel fields converted from standard deviations to pixel values.

        Args:
            std: Standard deviation of the training pixels, in pixel values.
        """
        return self.model_copy(update={field: getattr(self, field) * std for field in self.pixel_fields})

    def __call__(
        self, network: nn.Module, x: Tensor, y: Tensor, threats: Sequence[Threat], seeds: Tensor
    ) -> list[Tensor]:
        """Return which images are proven robust, for each threat on its own.

        Args:
            network: A network from images to logits (N, K), in float32 or float64. It is used in evaluation mode and
                does not change.
            x: Images (N, C, H, W) in [0, 1].
            y: True labels (N,) int64.
            threats: Norms and radii.
            seeds: One seed per image (N,) int64, the source of all randomness. The result for an image does not
                depend on the other images.

        Returns:
            A mask (N,) for each threat: whether the image is classified correctly and so is every image in [0, 1] in
            its ball.

        Raises:
            UnsupportedLayerError: If there are no bounds for one of the layers of the network.
            ConfigError: If there are no bounds for a norm, or an image has pixels outside of [0, 1].
        """
        import torch

        for threat in threats:
            if threat.norm not in self.norms:
                known = ", ".join(self.norms)
                raise ConfigError(f"certifier '{self.name}' expects one of the norms {known}, got {threat.norm!r}")
        if not ((x >= 0) & (x <= 1)).all():  # NaN included
            raise ConfigError(f"certifier '{self.name}' expects pixels in [0, 1]")
        if not len(x) or not threats:
            return [torch.zeros(len(x), dtype=torch.bool, device=x.device) for _ in threats]
        with torch.no_grad():
            return self.certify(network, x, y, threats, seeds)

    def certify(
        self, network: nn.Module, x: Tensor, y: Tensor, threats: Sequence[Threat], seeds: Tensor
    ) -> list[Tensor]:
        """Return the masks of `__call__` for at least one image. Its input has been checked.

        Args:
            network: The network.
            x: Images (N, C, H, W).
            y: True labels (N,).
            threats: Norms and radii, at least one.
            seeds: One seed per image (N,).
        """
        raise NotImplementedError
