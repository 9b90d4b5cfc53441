"""Modes: how a learner is obtained."""

from gtn_bench.modes.base import Mode
from gtn_bench.modes.distilled import Distilled
from gtn_bench.modes.gtn import GTN, TenStepGTN
from gtn_bench.modes.real_data import Adversarial, RandomLabels, Vanilla

MODES: dict[str, type[Mode]] = {
    cls.name: cls for cls in (TenStepGTN, GTN, Vanilla, Distilled, Adversarial, RandomLabels)
}

__all__ = ["MODES", "Mode"]
