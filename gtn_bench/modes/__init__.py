"""Modes: how a learner is obtained."""

from gtn_bench.modes.base import Mode, TrainingMode
from gtn_bench.modes.checkpoint import Checkpoint
from gtn_bench.modes.distilled import Distilled
from gtn_bench.modes.gtn import GTN, TenStepGTN
from gtn_bench.modes.pretrained import Pretrained
from gtn_bench.modes.real_data import Adversarial, RandomLabels, Vanilla

MODES: dict[str, type[Mode]] = {
    cls.name: cls for cls in (TenStepGTN, GTN, Vanilla, Distilled, Checkpoint, Pretrained, Adversarial, RandomLabels)
}

__all__ = ["MODES", "Mode", "TrainingMode"]
