"""An ensemble of short gradient ascents with several losses and targets, and of the Square attack for what survives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import Field

from gtn_bench.config.description import PositiveInt
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.inference.losses import LOSSES, LossName, margin, others
from gtn_bench.perturbations.adaptive import Ascent, ascend_adaptively
from gtn_bench.perturbations.apgd import gap
from gtn_bench.perturbations.ascent import NORMS
from gtn_bench.perturbations.base import Perturbation
from gtn_bench.perturbations.counters import uniform_rows
from gtn_bench.perturbations.draws import seeds_of_run
from gtn_bench.perturbations.square import Square

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier

_OTHER_WINDOWS = 0x5851F42D4C957F2D  # distinguishes the windows of Square from the starts


class _Run(NamedTuple):
    """One ascent.

    Attributes:
        loss: The loss.
        rank: Rank of the class to lead to, by the logits of the clean image without that of the label; None to lead
            away from the label.
        stripes: Whether the start consists of vertical stripes; if not, of independent pixels.
    """

    loss: LossName
    rank: int | None
    stripes: bool


# In the order of successes per pass, on networks that are trained adversarially. Losses differ in the images on which
# the ascent gets stuck, so that consecutive runs differ in loss and start. Every further cycle takes further ranks.
_RUNS = (
    _Run("margin", None, stripes=False),
    _Run("cross-entropy", None, stripes=True),
    _Run("margin", 1, stripes=False),
    _Run("cross-entropy", None, stripes=False),
    _Run("margin", None, stripes=True),
    _Run("dlr", 0, stripes=False),
    _Run("margin", 2, stripes=True),
    _Run("cross-entropy", None, stripes=True),
    _Run("margin", 3, stripes=False),
    _Run("dlr", 1, stripes=True),
    _Run("margin", 4, stripes=False),
    _Run("margin", 0, stripes=True),
)

# A margin is relative to that of the clean image: -1 without a change, 0 where the prediction changes. On networks that
# are trained adversarially, an image whose largest one is below a threshold was rarely fooled by what would follow.
_RUN_FLOORS = {3: -0.75, 8: -0.25}  # by the number of ascents so far
_LONG_FLOOR, _LONG = -0.2, 4  # of a longer ascent from the best iterate, with so many times the steps
_QUERY_FLOORS = (
    (0.05, -0.65),
    (0.1, -0.4),
    (0.2, -0.25),
    (0.3, -0.17),
    (0.4, -0.1),
    (0.6, -0.05),
    (0.8, -0.02),
)  # by the share of the queries so far


class Strong(Perturbation):
    """Ensemble of attacks in the ball of radius beta: ascents like those of `apgd`, then `square`.

    The ascents start at random corners of the ball, and follow the margin, the cross-entropy, and the difference of
    logits ratio, away from the label or towards other classes. Every image is attacked until it is misclassified, and
    returns this iterate, or else the one with the largest margin; one that is misclassified without a change stays as
    it is. Images whose margin does not come near zero skip the later ascents, and leave Square early. The others
    are led on from their best iterate, in four times as many steps, before Square.

    Attributes:
        norm: The norm of the ball.
        runs: Largest number of ascents from random starts.
        steps: Number of steps of an ascent.
        queries: Largest number of queries of Square; zero to leave it out.
    """

    name = "strong"
    source = "https://arxiv.org/abs/2003.01690"
    beta_meaning = "radius"
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")
    uses_gradient = True
    pixel_fields = ("beta",)
    refills = True

    norm: Literal["linf", "l2"] = "linf"
    runs: PositiveInt = 12
    steps: PositiveInt = 25
    queries: Annotated[int, Field(ge=0)] = 3000

    def axis_label(self, unit: str = "pixel value") -> str:
        return f"{self.norm} {super().axis_label(unit)}"

    @property
    def threat_model(self) -> Threat:
        return Threat(self.norm, self.beta)

    @property
    def passes(self) -> float:
        return 1 + self.runs * (2 * self.steps + 2) + (2 * _LONG * self.steps + 2) + self.queries

    @property
    def needs_gradient(self) -> bool:
        return not self.queries

    def with_steps(self, factor: int) -> Self | None:
        return self.variant(steps=self.steps * factor, queries=self.queries * factor)

    def with_restart(self) -> Self:
        return self

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        import torch

        if self.beta == 0:
            return x
        with torch.no_grad():
            logits = classifier(x)
        clean, best, result = margin(logits, y), margin(logits, y), x.clone()
        left = rows = (logits.argmax(dim=1) == y).nonzero().squeeze(1)
        for number in range(self.runs + 1):
            floor = _RUN_FLOORS.get(number) if number < self.runs else _LONG_FLOOR
            if floor is not None:
                rows = rows[best[rows] >= floor * clean[rows].abs()]
            if not len(rows):
                continue
            run = self._ascend(classifier, x, y, seeds, rows, logits, number, result)
            with torch.no_grad():
                values = margin(classifier(run.x_adv), y[rows])
            changed = run.found | (values > best[rows])
            result[rows[changed]], best[rows[changed]] = run.x_adv[changed], values[changed]
            left, rows = left[~torch.isin(left, rows[run.found])], rows[~run.found]
        if self.queries and len(left):
            found = self._search(classifier, x[left], y[left], seeds[left.to(seeds.device)], clean[left].abs())
            with torch.no_grad():
                logits = classifier(found)
            values = margin(logits, y[left])
            changed = (logits.argmax(dim=1) != y[left]) | (values > best[left])
            result[left[changed]] = found[changed]
        return result

    def _ascend(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        seeds: Tensor,
        rows: Tensor,
        clean: Tensor,
        number: int,
        best: Tensor,
    ) -> Ascent:
        """Run one ascent on some images.

        Args:
            classifier: The classifier under attack.
            x: Images (N, C, H, W).
            y: Labels (N,).
            seeds: Seeds (N,).
            rows: Numbers of the images (n,).
            clean: Logits (N, K) of the images.
            number: Number of the ascent; the last one is longer, and starts from the best iterates.
            best: The images with the largest margins so far (N, C, H, W).
        """
        last, norm, classes = number == self.runs, NORMS[self.norm], None
        run = _RUNS[0] if last else _run(number, clean.shape[1])
        x, y, seeds = x[rows], y[rows], seeds.to(x.device)[rows]
        corners = x + norm.project(2 * self.beta * _signs(x, seeds, number, run.stripes), self.beta)
        if run.rank is not None:
            classes = others(clean[rows], y).argsort(dim=1, descending=True, stable=True)[:, run.rank]

        def objective(logits: Tensor, rows: Tensor) -> Tensor:
            if classes is None:
                return LOSSES[run.loss](logits, y[rows])
            return gap(logits, y[rows], classes[rows], run.loss)

        return ascend_adaptively(
            classifier,
            x,
            start=best[rows] if last else corners,
            objective=objective,
            reached=lambda logits, rows: logits.argmax(dim=1) != y[rows],
            steps=_LONG * self.steps if last else self.steps,
            norm=norm,
            epsilon=self.beta,
        )

    def _search(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor, clean: Tensor) -> Tensor:
        """Run Square on images (n, C, H, W) with the magnitudes of their clean margins (n,)."""
        square = Square(beta=self.beta, norm=self.norm, queries=self.queries)
        floors = {math.ceil(share * self.queries): floor * clean for share, floor in _QUERY_FLOORS}
        return square.search(classifier, x, y, seeds ^ _OTHER_WINDOWS, floors)


def _run(number: int, classes: int) -> _Run:
    """Return an ascent that a number of classes admits."""
    run = _RUNS[number % len(_RUNS)]
    ranks = classes - 1
    if run.rank is not None:
        run = run._replace(rank=(run.rank + 4 * (number // len(_RUNS))) % ranks)
    return run._replace(loss="margin") if run.loss == "dlr" and classes < 4 else run


def _signs(x: Tensor, seeds: Tensor, number: int, stripes: bool) -> Tensor:
    """Return random signs in the shape of images (N, C, H, W), the same along a column of a channel for stripes."""
    n, channels, height, width = x.shape
    rows = 1 if stripes else height
    draws = uniform_rows(seeds_of_run(seeds, number), 0, 1, channels * rows * width)
    return (1 - 2 * (draws.view(n, channels, rows, width) < 0.5).to(x)).expand_as(x)
