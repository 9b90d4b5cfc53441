"""A classifier whose outputs are random: attacks see expectations over its draws."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gtn_bench.config.description import Precision
from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.inference.classifier import Classifier, Draws
from gtn_bench.inference.draws import draw_seed, seeded

LARGEST_BATCH, SMALLEST_BATCH = 128, 8  # images
PIXELS = 2**20  # in a batch


class RandomClassifier(Classifier):
    """A network with random outputs, such as dropout or noise that stays active in evaluation mode.

    Logits are the mean over several forward passes, each with its own draws (expectation over transformation, EOT).
    The mean of the logits and the mean of the log-probabilities differ by one constant per image. The softmax, and
    with it every loss and prediction, is the same for both: the normalized geometric mean of the probabilities.

    Every forward pass continues a sequence of draws that `restart` restarts before each batch. Each step of an attack
    sees new draws, and equal batches have equal results. An attack does not see the draws of the sequence that decides
    about its success. Draws come from the global generators of torch, NumPy and Python, which are seeded for each pass
    and restored after it. Other generators are not seeded.

    Draws fill the tensors of a batch in order, so the logits of an image depend on its position. Batches therefore
    always hold `batch` images, a number that depends on the shape of the images alone. Passes are recomputed for the
    gradient, so that memory does not grow with their number.

    Source: https://arxiv.org/abs/1707.07397, and section 4.2 of https://arxiv.org/abs/1802.00420.

    Args:
        network: The network, or a function from images to logits.
        input_shape: Channels, height, width.
        num_classes: Number of classes K.
        precision: "bfloat16" is faster and less accurate.
        samples: Number of forward passes whose logits are averaged.

    Attributes:
        samples_per_forward: This number.

    Raises:
        ConfigError: If the number of forward passes is not positive.
    """

    def __init__(
        self,
        network: nn.Module | Callable[[Tensor], Tensor],
        input_shape: tuple[int, int, int],
        num_classes: int,
        precision: Precision = "float32",
        *,
        samples: int,
    ) -> None:
        if samples < 1:
            raise ConfigError(f"samples_per_forward expects a positive integer, got {shown(samples)}")
        super().__init__(network, input_shape, num_classes, precision)
        self.samples_per_forward = samples
        self.batch = images_per_batch(input_shape)
        self._sequence: Draws = "attack"

    def forward(self, x: Tensor) -> Tensor:
        passes = [super(RandomClassifier, self).forward(x) for _ in range(self.samples_per_forward)]
        return torch.stack(passes).mean(dim=0)

    def compute(self, x: Tensor) -> Tensor:
        seed = draw_seed(self._sequence, self.next_draw)
        self.next_draw += 1
        if not (x.requires_grad and torch.is_grad_enabled()):
            return self._seeded_pass(x, seed)
        logits: Tensor = checkpoint(self._seeded_pass, x, seed, use_reentrant=False, preserve_rng_state=False)
        return logits

    def restart(self, draws: Draws = "attack") -> None:
        self._sequence, self.next_draw = draws, 0

    def cache_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the gradient of the cross-entropy. It is not cached, because later calls see other draws.

        Args:
            x: Images (N, C, H, W) in [0, 1].
            y: Labels (N,).

        Returns:
            Gradients (N, C, H, W).
        """
        return self.loss_gradient(x, y)

    def _seeded_pass(self, x: Tensor, seed: int) -> Tensor:
        with seeded(seed, x.device):
            logits: Tensor = self.network(x)
        return logits


def images_per_batch(input_shape: tuple[int, int, int]) -> int:
    """Return the number of images per batch of a network with random outputs: a power of two.

    Args:
        input_shape: Channels, height, width.
    """
    fitting = 2 ** int(math.log2(max(1.0, PIXELS / math.prod(input_shape))))
    return min(LARGEST_BATCH, max(SMALLEST_BATCH, fitting))
