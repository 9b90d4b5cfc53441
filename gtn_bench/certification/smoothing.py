"""Randomized smoothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from gtn_bench.certification.base import Certifier
from gtn_bench.config.description import PositiveFloat, PositiveInt
from gtn_bench.config.threat import Threat

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

CHUNK = 500  # noisy copies of an image in one batch; constant, so that results do not depend on other images


class Smoothing(Certifier):
    """L2 radii of the smoothed model, which returns the most likely class under Gaussian noise.

    The proof is about the smoothed model, not about the model itself. For each image it holds with probability
    ``1 - alpha``. Noisy pixels are not clipped.

    Attributes:
        sigma: Standard deviation of the noise, in pixel values.
        n0: Number of noisy copies of an image from which its class is chosen.
        n: Number of noisy copies from which the probability of this class is estimated.
        alpha: Probability that the proof for an image is wrong.
        samples: Number of test images to certify, the first ones; None for all.
    """

    name = "smoothing"
    source = "https://arxiv.org/abs/1902.02918"
    norms = ("l2",)
    about = "smoothed model"
    packages = ("scipy",)
    pixel_fields = ("sigma",)

    sigma: PositiveFloat
    n0: PositiveInt = 100
    n: PositiveInt = 1000
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.001

    def certify(
        self, network: nn.Module, x: Tensor, y: Tensor, threats: Sequence[Threat], seeds: Tensor
    ) -> list[Tensor]:
        import torch

        classes, radii = self.radii(network, x, seeds)
        # The proof holds at every distance below the radius.
        return [(classes == y) & (radii > torch.tensor(threat.epsilon, dtype=radii.dtype)) for threat in threats]

    def radii(self, network: nn.Module, x: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Return the classes that the smoothed model predicts, and the certified L2 radii.

        Args:
            network: The network.
            x: Images (N, C, H, W) in [0, 1].
            seeds: One seed per image (N,) int64.

        Returns:
            Classes (N,) and radii (N,) float64; 0 if the class is too uncertain.
        """
        import torch

        from gtn_bench.inference.copying import independent_copy

        copied = independent_copy(network).to(x.device).eval()
        found = []
        with torch.no_grad():
            for image, seed in zip(x, seeds.tolist(), strict=True):
                generator = torch.Generator(x.device).manual_seed(seed)
                guess = self._counts(copied, image, self.n0, generator).argmax()
                counts = self._counts(copied, image, self.n, generator)
                found.append(torch.stack([guess, counts.gather(0, guess[None])[0]]))
        classes, hits = torch.stack(found).unbind(1)  # read once, so that no image waits for a GPU
        radii = [radius(hit, self.n, self.alpha, self.sigma) for hit in hits.tolist()]
        return classes, torch.tensor(radii, dtype=torch.float64, device=x.device)

    def _counts(self, network: nn.Module, image: Tensor, copies: int, generator: torch.Generator) -> Tensor:
        """Return how often each class is predicted under noise. A copy with logits that are not finite has none."""
        import torch

        counts = []
        for size in _chunks(copies):
            shape = size, *image.shape
            noise = torch.randn(shape, dtype=image.dtype, device=image.device, generator=generator)
            logits = network(image + self.sigma * noise)
            finite = logits.isfinite().all(dim=1, keepdim=True)
            predicted = logits.argmax(dim=1, keepdim=True) == torch.arange(logits.shape[1], device=logits.device)
            counts.append((predicted & finite).sum(dim=0))
        return torch.stack(counts).sum(dim=0)


def radius(hits: int, n: int, alpha: float, sigma: float) -> float:
    """Return the certified L2 radius of an image.

    Args:
        hits: Number of noisy copies with the predicted class.
        n: Number of noisy copies.
        alpha: One minus the confidence of the Clopper-Pearson lower bound of the probability.
        sigma: Standard deviation of the noise.

    Returns:
        ``sigma`` times the normal quantile of the bound; 0 if the bound is at most 1/2.
    """
    from scipy import stats

    lower = float(stats.beta.ppf(alpha, hits, n - hits + 1)) if hits else 0.0
    return sigma * float(stats.norm.ppf(lower)) if lower > 0.5 else 0.0


def _chunks(total: int) -> Iterator[int]:
    for start in range(0, total, CHUNK):
        yield min(CHUNK, total - start)
