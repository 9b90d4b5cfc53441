"""Examination of a network before its evaluation."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from gtn_bench.checks.accuracy import check_accuracy
from gtn_bench.checks.findings import Finding, describe, finding
from gtn_bench.checks.gradients import check_gradients
from gtn_bench.checks.normalizations import check_normalizations
from gtn_bench.checks.outputs import check_outputs
from gtn_bench.checks.probe import FaultyOutputError, Probe, one_line
from gtn_bench.checks.repetition import check_repetition
from gtn_bench.checks.train_mode import check_train_mode
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Split
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.draws import seeded

__all__ = ["SAMPLES", "describe", "examine"]

SAMPLES = 500  # images for accuracies

# Largest number of pixels of an image, and the number of images for most checks, for the first trial of a change of
# the images, and for accuracies.
BUDGETS = ((3 * 32 * 32, 32, 64, SAMPLES), (3 * 64 * 64, 32, 64, 200), (math.inf, 8, 16, 64))

Network = nn.Module | Callable[[Tensor], Tensor]


def examine(
    network: Network,
    images: Split | tuple[Tensor, Tensor],
    *,
    num_classes: int,
    classes: Sequence[str] = (),
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    samples: int = SAMPLES,
    forward_samples: int = 1,
) -> list[Finding]:
    """Return what is wrong with a network, or with its data, that would make an evaluation meaningless.

    The network is examined as it is evaluated: a folded copy in evaluation mode, on the device of its parameters.
    Images are chosen at even distances. Fewer are used if they are larger than 32x32 pixels in color. The network, the
    global random generators and the images do not change, and results do not depend on the time that a pass takes.

    Args:
        network: The network, or a function from images to logits.
        images: A split, or images (N, C, H, W) in [0, 1] and their labels (N,).
        num_classes: Number of classes K.
        classes: Names of the classes; empty if they have none.
        mean: Mean of the training pixels, per channel, which is tried as a normalization.
        std: Standard deviation of the training pixels, per channel.
        samples: Largest number of images for accuracies.
        forward_samples: Number of forward passes that the evaluation averages. A random network needs more than one.

    Returns:
        The findings; an empty list if there are none. No fault of the network raises an exception.
    """
    with warnings.catch_warnings(), seeded(0, torch.device("cpu")):
        warnings.simplefilter("ignore")
        try:
            probe, problems = _probe(network, images, num_classes, samples, forward_samples)
            with seeded(0, probe.classifier.device):
                if isinstance(network, nn.Module):
                    problems += check_train_mode(network, probe.classifier.network) + check_normalizations(network)
                return [*problems, *_examine(probe, classes, mean, std)]
        except Exception as error:  # any code can be a network
            return [finding("unusable", 1, error=one_line(error))]


def _examine(
    probe: Probe, classes: Sequence[str], mean: Sequence[float] | None, std: Sequence[float] | None
) -> list[Finding]:
    """Return the findings of all checks. Without logits, only the first one."""
    found: list[Finding] = []
    with _recorded(found):
        found += check_outputs(probe)
        for check in (check_repetition, check_gradients):
            with _recorded(found):
                found += check(probe)
        if probe.labeled:
            with _recorded(found):
                found += check_accuracy(probe, classes, mean, std)
    return found


@contextlib.contextmanager
def _recorded(found: list[Finding]) -> Iterator[None]:
    """End the block at the first failing forward pass, and add it to the findings once."""
    try:
        yield
    except FaultyOutputError as error:
        if error.finding.name not in {one.name for one in found}:
            found.append(error.finding)


def _probe(
    network: Network,
    images: Split | tuple[Tensor, Tensor],
    num_classes: int,
    samples: int,
    forward_samples: int,
) -> tuple[Probe, list[Finding]]:
    """Return what the checks need, and findings about the labels."""
    shape, total = (
        (images.levels.shape, len(images)) if isinstance(images, Split) else (images[0].shape, len(images[1]))
    )
    if len(shape) != 4 or total == 0:
        raise ConfigError(f"expects at least one image (N, C, H, W), got {total} of shape {tuple(shape)}")
    pixels = math.prod(shape[1:])
    few, screened, most = next(budget for largest, *budget in BUDGETS if pixels <= largest)
    count = min(total, max(1, samples), most)
    index = torch.arange(count) * total // count
    x, y = images[index] if isinstance(images, Split) else (images[0][index], images[1][index])
    channels, height, width = x.shape[1:]
    classifier = Classifier(network, (channels, height, width), num_classes)
    x, y = x.to(classifier.device, classifier.dtype), y.to(classifier.device).long()
    wrong = (y < 0) | (y >= num_classes)
    problems = []
    if wrong.any():
        span = {"low": int(y.min()), "high": int(y.max()), "last": num_classes - 1}
        problems.append(finding("labels", int(wrong.sum()), images=count, **span))
    y = y.where(~wrong, 0)
    return Probe(classifier, x, y, num_classes, not problems, few, screened, forward_samples), problems
