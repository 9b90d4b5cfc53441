"""Architectures of public checkpoints.

gtn-bench run benchmarks/public-models/trades.yaml --plugin benchmarks/public-models/public_models.py
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

import gtn_bench


@gtn_bench.architecture(name="convex-adversarial")
def convex_adversarial() -> nn.Module:
    """The MNIST network of E. Wong, J. Z. Kolter, https://arxiv.org/abs/1711.00851."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1568, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


@gtn_bench.architecture(name="trades-smallcnn")
class SmallCNN(nn.Module):
    """The MNIST network of TRADES, https://arxiv.org/abs/1901.08573."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_extractor = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(1, 32, 3),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(32, 32, 3),
                relu2=nn.ReLU(),
                maxpool1=nn.MaxPool2d(2),
                conv3=nn.Conv2d(32, 64, 3),
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(64, 64, 3),
                relu4=nn.ReLU(),
                maxpool2=nn.MaxPool2d(2),
            )
        )
        self.classifier = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(1024, 200),
                relu1=nn.ReLU(),
                drop=nn.Dropout(0.5),
                fc2=nn.Linear(200, 200),
                relu2=nn.ReLU(),
                fc3=nn.Linear(200, 10),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.feature_extractor(x).flatten(1))
        return logits
