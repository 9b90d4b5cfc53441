"""The history of a meta-training, and how it is monitored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

FEW_STEPS = 10  # the reference study evaluates learners after ten inner steps, and after all of them


class ValidationPoint(NamedTuple):
    """Validation accuracy of one fresh learner, by the number of inner steps that it was trained for."""

    meta_step: int
    accuracy: dict[int, float]


@dataclass
class History:
    """The progress of a meta-training.

    Attributes:
        losses: Meta-loss of every meta-step so far.
        checks: Validation accuracies in between.
        made_by: Versions and code that computed it; more than one entry if other code continued it.
    """

    losses: list[float] = field(default_factory=list)
    checks: list[ValidationPoint] = field(default_factory=list)
    made_by: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the history as plain data."""
        checks = [{"meta_step": step, "accuracy": accuracy} for step, accuracy in self.checks]
        return {"losses": self.losses, "checks": checks, "made_by": self.made_by}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> History:
        """Return the history that `to_dict` has written.

        Args:
            data: Plain data.
        """
        checks = [
            ValidationPoint(check["meta_step"], {int(steps): value for steps, value in check["accuracy"].items()})
            for check in data["checks"]
        ]
        return History(list(data["losses"]), checks, list(data["made_by"]))


class Monitor(NamedTuple):
    """Checkpoints, validation and processes of a meta-training. None of it changes the teacher.

    Attributes:
        checkpoint: File to continue from and to write; None for no checkpoints.
        checkpoint_every: Meta-steps between checkpoints.
        check_every: Meta-steps between validations of a fresh learner; 0 for none.
        progress: Called with the history after every meta-step.
        rank: Rank of this process.
        ranks: Number of processes that share the learners of a meta-step.
        checkpoint_key: Key of the checkpoint in a cache, in which it must have the key that its name says.
    """

    checkpoint: Path | None = None
    checkpoint_every: int = 10
    check_every: int = 0
    progress: Callable[[History], None] = lambda _: None
    rank: int = 0
    ranks: int = 1
    checkpoint_key: str = ""
