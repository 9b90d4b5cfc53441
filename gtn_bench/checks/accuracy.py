"""Checks of the accuracy: whether a common mistake keeps it low."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.special import bdtrc
from torch import Tensor

from gtn_bench.checks.changes import Change, changes
from gtn_bench.checks.findings import Finding, finding
from gtn_bench.checks.probe import FaultyOutputError, Probe, listed_names
from gtn_bench.checks.table import CHECKS

BATCH = 64  # images per forward pass
FINALISTS = 5  # changes that are tried on all images
LARGE = 0.1  # a smaller rise must repair half of the errors: other contrasts suit some badly trained networks
CLEARLY = 0.02  # difference of accuracies by which a later change is preferred to an earlier one
SIGNIFICANT = 1e-3  # largest p-value, over all changes together
_NORMALIZATIONS = ("not_normalized", "normalized_twice")
PERMUTED = 0.5  # smallest accuracy with renamed classes


def check_accuracy(
    probe: Probe, classes: Sequence[str], mean: Sequence[float] | None, std: Sequence[float] | None
) -> list[Finding]:
    """Check that the accuracy exceeds chance, and that no change of the images raises it.

    Args:
        probe: The network, with labeled images.
        classes: Names of the classes; empty if they have none.
        mean: Mean of the training pixels, per channel, if known.
        std: Standard deviation of the training pixels, per channel, if known.

    Returns:
        At most one finding: what raises the accuracy most, that it is near chance, or what raises it a little.

    Raises:
        FaultyOutputError: If the forward pass fails.
    """
    predicted = _predict(probe, probe.x)
    correct = predicted == probe.y
    tried = changes(probe.classifier.network, probe.x, mean, std)
    found = _best_change(probe, correct, tried)
    found = found or _permutation(probe, predicted, classes) or _near_chance(probe, correct)
    return found or _small_rise(probe, correct, [change for change in tried if change.check in _NORMALIZATIONS])


def _best_change(probe: Probe, correct: Tensor, tried: Sequence[Change]) -> list[Finding]:
    """Try all changes on a few images, the best of them on all images."""
    accuracy, count = _share(correct), len(correct)
    if 1 - accuracy < CHECKS["not_normalized"].threshold:
        return []
    step = max(1, count // probe.screened)
    x, y = probe.x[::step], probe.y[::step]
    hits = [_hits(probe, change, x, y) for change in tried]
    order = sorted(range(len(tried)), key=lambda index: -int(hits[index].sum()))
    promising = [index for index in order if hits[index].sum() > correct[::step].sum()][:FINALISTS]
    best: tuple[float, Change] | None = None
    for change in (tried[index] for index in sorted(promising)):
        other = _hits(probe, change, probe.x, probe.y)
        rise = _share(other) - accuracy
        p = len(tried) * max(paired_test(other, correct), _chance_test(probe, other))
        large = rise >= CHECKS[change.check].threshold and rise >= min(LARGE, (1 - accuracy) / 2)
        if large and p < SIGNIFICANT and (best is None or rise > best[0] + CLEARLY):
            best = rise, change
    if best is None:
        return []
    rise, change = best
    details = {"images": count, "accuracy": accuracy, "other": accuracy + rise}
    return [finding(change.check, rise, **details, change=change.text, hint=change.hint)]


def _small_rise(probe: Probe, correct: Tensor, tried: Sequence[Change]) -> list[Finding]:
    """Find a normalization with which significantly more images are correct, and the cross-entropy is lower."""
    step = max(1, len(correct) // probe.screened)
    x, y = probe.x[::step], probe.y[::step]
    given = float(_losses(probe, x, y).mean())
    better = [change for change in tried if float(_losses(probe, change.apply(x), y).mean()) < given]
    hits = [(_hits(probe, change, probe.x, probe.y), change) for change in better]
    if not hits:
        return []
    other, change = max(hits, key=lambda each: int(each[0].sum()))
    if len(tried) * paired_test(other, correct) >= SIGNIFICANT:
        return []
    details = {"images": len(correct), "accuracy": _share(correct), "other": _share(other)}
    return [finding("normalization", _share(other) - _share(correct), **details, change=change.text)]


def _losses(probe: Probe, x: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy of each image (N,), infinite if the network refuses the images."""
    try:
        with torch.no_grad():
            logits = torch.cat([probe.logits(images) for images in x.split(BATCH)])
    except FaultyOutputError:
        return torch.full((len(y),), torch.inf)
    return torch.nn.functional.cross_entropy(logits.float(), y, reduction="none")


def _permutation(probe: Probe, predicted: Tensor, classes: Sequence[str]) -> list[Finding]:
    """Rename the predicted classes so that half of the images are correct, and measure the accuracy on the others."""
    from scipy.optimize import linear_sum_assignment  # a quarter of a second to import

    half, rest = slice(0, None, 2), slice(1, None, 2)
    if len(predicted) < 2:
        return []
    confusion = torch.zeros(probe.num_classes, probe.num_classes, dtype=torch.int64)
    pairs = predicted[half].cpu(), probe.y[half].cpu()
    confusion.index_put_(pairs, torch.ones(len(pairs[0]), dtype=torch.int64), accumulate=True)
    _, columns = linear_sum_assignment(confusion.numpy(), maximize=True)
    names = torch.as_tensor(columns, device=predicted.device)
    before, after = predicted[rest] == probe.y[rest], names[predicted[rest]] == probe.y[rest]
    rise = _share(after) - _share(before)
    if _share(after) <= PERMUTED or rise < CHECKS["permuted_labels"].threshold:
        return []
    if max(paired_test(after, before), _chance_test(probe, after)) >= SIGNIFICANT:
        return []
    moved = [(output, label) for output, label in enumerate(columns.tolist()) if output != label]
    shown = [f"output {output} is {classes[label] if classes else f'class {label}'}" for output, label in moved]
    details = {"images": len(after), "accuracy": _share(before), "other": _share(after)}
    return [finding("permuted_labels", rise, **details, change=listed_names(shown))]


def _near_chance(probe: Probe, correct: Tensor) -> list[Finding]:
    chance = _chance(probe.y, probe.num_classes)
    p = _chance_test(probe, correct)
    if p <= CHECKS["near_chance"].threshold or _share(correct) > (1 + chance) / 2:  # with few images nothing is exact
        return []
    return [finding("near_chance", _share(correct), images=len(correct), chance=chance)]


def paired_test(other: Tensor, correct: Tensor) -> float:
    """Return the one-sided p-value of McNemar's exact test that more images are correct than before.

    Source: Q. McNemar, Psychometrika 12, 1947.

    Args:
        other: Whether each image is correct (N,).
        correct: Whether it was before (N,).
    """
    won, lost = int((other & ~correct).sum()), int((correct & ~other).sum())
    return float(bdtrc(won - 1, won + lost, 0.5))


def _chance_test(probe: Probe, correct: Tensor) -> float:
    """Return the one-sided p-value of a binomial test that the accuracy exceeds chance."""
    return float(bdtrc(int(correct.sum()) - 1, len(correct), _chance(probe.y, probe.num_classes)))


def _chance(y: Tensor, num_classes: int) -> float:
    """Return the best accuracy without a look at the images: the share of the most frequent class."""
    return max(1 / num_classes, int(y.bincount().max()) / len(y))


def _hits(probe: Probe, change: Change, x: Tensor, y: Tensor) -> Tensor:
    """Return which changed images are classified correctly (N,): none if the network refuses them."""
    try:
        return _predict(probe, change.apply(x)) == y
    except FaultyOutputError:
        return torch.zeros_like(y, dtype=torch.bool)


def _predict(probe: Probe, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([probe.logits(images).argmax(dim=1) for images in x.split(BATCH)])


def _share(correct: Tensor) -> float:
    return float(correct.double().mean())
