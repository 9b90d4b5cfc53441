"""Binary readouts, which tell one point on the boundary of a ball from points inside."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gtn_bench.checks.attacks.challenge import as_judged
from gtn_bench.checks.attacks.points import boundary_points, inner_points
from gtn_bench.checks.attacks.readout import features_of
from gtn_bench.checks.attacks.separation import Separation, separate
from gtn_bench.checks.attacks.situation import Situation
from gtn_bench.evaluation.batching import in_batches
from gtn_bench.inference.classifier import Classifier


class Binary(NamedTuple):
    """Binary readouts, one for each of n images.

    Attributes:
        separation: The linear functions.
        scale: Factor on their values (n,), so that the clean image is as certain as with the old readout: the
            difference of the two outputs is that of the two largest old ones.
        low: Output (n,) of the classes but the first two, far below these.
        middle: Mean (n,) of the two outputs.
    """

    separation: Separation
    scale: Tensor
    low: Tensor
    middle: Tensor

    def outputs(self, features: Tensor, rows: Tensor, num_classes: int) -> Tensor:
        """Return the outputs of the new readout.

        Args:
            features: Features (m, F).
            rows: The image that each belongs to (m,).
            num_classes: Number of outputs K.

        Returns:
            Outputs (m, K): class 0 for inner points, class 1 for the boundary point. The others are constant, so that
            losses and attacks for K classes apply.
        """
        half = self.scale[rows] * self.separation.scores(features, rows) / 2
        two = torch.stack((self.middle[rows] - half, self.middle[rows] + half), dim=1)
        return torch.cat((two, self.low[rows, None].expand(-1, num_classes - 2)), dim=1)


def fit(situation: Situation, readout: nn.Linear, points: int, count: int) -> tuple[Binary, Tensor]:
    """Fit the binary readouts of the first images.

    Args:
        situation: The images and the ball.
        readout: The readout.
        points: Number of inner points of each image.
        count: Number of images.

    Returns:
        The readouts, and the mask (n,) of the images that have one.
    """
    x, seeds, ball = situation.x[:count], situation.seeds[:count], situation.ball
    inner, outer = inner_points(ball, x, seeds, points), boundary_points(ball, x, seeds)
    cloud = as_judged(situation, torch.cat((inner, outer), dim=1))
    features, outputs = features_of_points(situation.classifier, readout, cloud)
    separation = separate(features)
    low, high = outputs.double().amin(dim=(1, 2)), outputs.double().amax(dim=(1, 2))
    rows = torch.arange(count, device=x.device)
    largest = outputs[:, 0].double().topk(2, dim=1).values
    distance = separation.scores(features[:, 0], rows).abs().clamp_min(torch.finfo(torch.float64).tiny)
    scale = (largest[:, 0] - largest[:, 1]) / distance
    binary = Binary(separation, scale, 3 * low - 2 * high - 10, (low + high) / 2)
    solvable = torch.zeros_like(situation.survivors)
    solvable[:count] = separation.found & (scale > 0)
    # The features of single points differ by rounding from those of a batch.
    for place, boundary in ((0, False), (points, True)):
        scores = separation.scores(
            features_of_points(situation.classifier, readout, cloud[:, place : place + 1])[0][:, 0], rows
        )
        solvable[:count] &= (scores > 0) == boundary
    return binary, solvable


def features_of_points(classifier: Classifier, readout: nn.Linear, cloud: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inputs and the outputs of a readout for several points of each image.

    Args:
        classifier: The classifier.
        readout: Its readout.
        cloud: Points (n, P, C, H, W).

    Returns:
        Features (n, P, F) and outputs (n, P, K).
    """

    def of_batch(images: Tensor) -> tuple[Tensor, Tensor]:
        return features_of(classifier, readout, images)

    parts = in_batches(of_batch, classifier, "any", cloud.flatten(0, 1))
    features, outputs = (torch.cat(each) for each in zip(*parts, strict=True))
    return features.view(*cloud.shape[:2], -1), outputs.view(*cloud.shape[:2], -1)
