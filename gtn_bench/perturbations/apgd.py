"""AutoPGD: projected gradient descent without a step size to choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from gtn_bench.config.description import PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.data.base import Dataset
from gtn_bench.inference.losses import LOSSES, LossName, others
from gtn_bench.perturbations.adaptive import Ascent, ascend_adaptively
from gtn_bench.perturbations.ascent import NORMS, check_classes, check_loss
from gtn_bench.perturbations.draws import seeds_of_run
from gtn_bench.perturbations.targets import Targeted

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier


class AutoPGD(Targeted):
    """AutoPGD: gradient ascent in the ball of radius beta, with momentum and a step size that adapts to each image.

    An image stops at its first misclassified iterate and returns it, or else the iterate with the largest loss. One
    that is misclassified without a change stays as it is. With `targets`, an image that no iterate misclassifies is
    attacked again, towards each of the most likely other classes in turn. With a `target`, an image stops where this
    class is predicted.

    Attributes:
        norm: The norm of the ball and of the steps.
        steps: Number of steps.
        loss: The loss to maximize. Towards a class it is the difference of the logits of this class and of the label;
            `dlr` divides it by differences of the largest logits.
        targets: Number of further runs, each towards another class; at most one for each of the other classes.
        random_start: Whether to start at a random point of the ball.
        restarts: How often all runs are made, each time from other random points. Images that are misclassified by
            then are left out.
    """

    name = "apgd"
    source = "https://arxiv.org/abs/2003.01690"
    beta_meaning = "radius"
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")
    uses_gradient = True
    pixel_fields = ("beta",)
    refills = True

    norm: Literal["linf", "l2"] = "linf"
    steps: PositiveInt = 100
    loss: LossName = "cross-entropy"
    targets: Annotated[int, Field(ge=0)] = 0
    random_start: bool = True
    restarts: PositiveInt = 1

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_loss(self.name, self.loss, self.target)
        return self

    def idle_fields(self) -> dict[str, str]:
        idle = {"targets": "target leads to one class"} if self.targeted else {}
        if not self.random_start:
            idle["restarts"] = "each would begin at the image itself without random_start"
        return idle

    def axis_label(self, unit: str = "pixel value") -> str:
        return f"{self.norm} {super().axis_label(unit)}"

    @property
    def threat_model(self) -> Threat:
        return Threat(self.norm, self.beta)

    @property
    def passes(self) -> float:
        runs = self.restarts * (1 + self.targets)
        return 1 + runs * (2 * self.steps + 1) + (self.target == "least-likely")

    @property
    def needs_ce_gradient(self) -> bool:
        return self.loss == "cross-entropy" and not self.targets and not self.targeted

    def rng_identity(self) -> dict[str, Any]:
        """Return what the random numbers depend on: not the number of restarts, whose seeds follow from the first."""
        content = super().rng_identity()
        del content["restarts"]
        return content

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        check_classes(self.name, self.loss, dataset)
        if self.loss == "dlr" and self.targets and dataset.num_classes < 4:
            raise ConfigError(
                f"'apgd' with loss: dlr and targets requires at least 4 classes, data set '{dataset.name}' has "
                f"{dataset.num_classes}; set loss: margin"
            )

    def with_steps(self, factor: int) -> Self | None:
        return self.variant(steps=self.steps * factor)

    def with_loss(self, loss: LossName) -> Self | None:
        return self.variant(loss=loss)

    def with_restart(self) -> Self | None:
        return self.variant(random_start=True)

    def once(self) -> Self:
        return self if self.restarts == 1 else self.model_copy(update={"restarts": 1})

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        import torch

        label = self.labels(classifier, x, y, seeds)
        with torch.no_grad():
            logits = classifier(x)
        left = (logits.argmax(dim=1) == label) ^ self.targeted
        result, rows = x.clone(), left.nonzero().squeeze(1)
        targets = min(self.targets, classifier.num_classes - 1)
        ranked = others(logits, y).argsort(dim=1, descending=True, stable=True)[:, :targets]
        for number in range(self.restarts * (1 + targets)):
            if not len(rows):
                break
            towards = label if self.targeted else None
            if place := number % (1 + targets):
                towards = ranked[:, place - 1]
            run = self._run(classifier, x, y, seeds, rows, towards, number)
            changed = run.found | (number == 0)
            result[rows[changed]] = run.x_adv[changed]
            rows = rows[~run.found]
        return result

    def _run(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        seeds: Tensor,
        rows: Tensor,
        towards: Tensor | None,
        number: int,
    ) -> Ascent:
        """Run one ascent on some images.

        Args:
            classifier: The classifier under attack.
            x: Images (N, C, H, W).
            y: Labels (N,).
            seeds: Seeds (N,).
            rows: Numbers of the images (n,).
            towards: The classes to lead to (N,); None to lead away from the labels.
            number: Number of the run, which changes the random start.
        """
        x, y, norm = x[rows], y[rows], NORMS[self.norm]
        other = seeds_of_run(seeds[rows.to(seeds.device)], number)
        to = None if towards is None else towards[rows]

        def objective(logits: Tensor, rows: Tensor) -> Tensor:
            if to is None:
                return LOSSES[self.loss](logits, y[rows])
            return -LOSSES[self.loss](logits, to[rows]) if self.targeted else gap(logits, y[rows], to[rows], self.loss)

        def reached(logits: Tensor, rows: Tensor) -> Tensor:
            prediction = logits.argmax(dim=1)
            return prediction == to[rows] if self.targeted and to is not None else prediction != y[rows]

        return ascend_adaptively(
            classifier,
            x,
            start=x + norm.sample(x, other, self.beta) if self.random_start else x,
            objective=objective,
            reached=reached,
            steps=self.steps,
            norm=norm,
            epsilon=self.beta,
        )


def gap(logits: Tensor, y: Tensor, to: Tensor, loss: LossName) -> Tensor:
    """Return the loss that leads from labels to other classes.

    Args:
        logits: Logits (N, K).
        y: Labels (N,).
        to: The other classes (N,).
        loss: "dlr" to divide the difference of both logits by differences of the largest ones, of at least four.

    Returns:
        Losses (N,).
    """
    difference = (logits.gather(1, to[:, None]) - logits.gather(1, y[:, None])).squeeze(1)
    if loss != "dlr":
        return difference
    ranked = logits.topk(4, dim=1).values
    return difference / (ranked[:, 0] - ranked[:, 2:].mean(dim=1)).clamp_min(1e-12)
