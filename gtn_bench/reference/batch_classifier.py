"""A learner as the reference study attacked it: in training mode."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from gtn_bench.classifiers import Classifier
from gtn_bench.description import Precision
from gtn_bench.learners.folding import fold
from gtn_bench.learners.layers import BatchStatistics


class BatchClassifier(Classifier):
    """A network in training mode: its batch norms subtract the statistics of the batch that they are shown.

    Logits and gradients of an image depend on the images beside it, so they are always handed over 1000 at a time.
    """

    batch = 1000

    @staticmethod
    def prepare(network: nn.Module, precision: Precision) -> nn.Module:
        """The weights folded, the batch norms left as they are."""
        network = copy.deepcopy(network)
        if isinstance(network, nn.Sequential):
            layers = [_Left(layer) if isinstance(layer, BatchStatistics) else layer for layer in network]
            network = fold(nn.Sequential(*layers))
        return network

    def train(self, mode: bool = True) -> BatchClassifier:
        nn.Module.train(self, True)
        return self


class _Left(nn.Module):
    """A layer that is not folded."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y
