"""A learner as the reference study attacked it: in train mode."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from gtn_bench.config.description import Precision
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.folding import fold
from gtn_bench.models.layers import BatchStatistics


class BatchClassifier(Classifier):
    """A network in train mode, whose batch norms use the statistics of the batch.

    Logits and gradients of an image depend on the other images of the batch. Batches therefore always hold 1000 images.
    """

    batch = 1000

    @staticmethod
    def prepare(network: nn.Module, precision: Precision, input_shape: tuple[int, int, int]) -> nn.Module:
        """Return a network with folded weights and unchanged batch norms.

        Args:
            network: The network. It is not changed.
            precision: Not used: the study computes in float32.
            input_shape: Not used.
        """
        network = copy.deepcopy(network)
        if isinstance(network, nn.Sequential):
            layers = [_Unfolded(layer) if isinstance(layer, BatchStatistics) else layer for layer in network]
            network = fold(nn.Sequential(*layers))
        return network

    def train(self, mode: bool = True) -> BatchClassifier:
        """Stay in train mode.

        Args:
            mode: Not used.
        """
        nn.Module.train(self, True)
        return self


class _Unfolded(nn.Module):
    """A layer that `fold` leaves unchanged."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y
