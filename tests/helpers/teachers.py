"""Teachers before their meta-training."""

from __future__ import annotations

from typing import NamedTuple
from unittest import mock

from gtn_bench.data.base import Split
from gtn_bench.data.digits import Digits
from gtn_bench.teaching import MetaTrained, meta_training
from gtn_bench.teaching.curricula import CurriculumModule
from gtn_bench.teaching.meta_training import MetaTraining


class Untrained(NamedTuple):
    """The input of a meta-training on digits."""

    training: MetaTraining
    module: CurriculumModule
    train: Split


def untrained(teacher: MetaTrained) -> Untrained:
    """Return what a teacher passes to `meta_train`: its parameters, the initial curriculum, the training images."""
    with mock.patch.object(meta_training, "meta_train") as meta_train:
        teacher(Digits(), Digits()(), device="cpu")
    training, module, splits = meta_train.call_args.args
    return Untrained(training, module, splits["train"])
