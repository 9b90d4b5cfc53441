"""Teachers: sources of synthetic training data, their meta-training, and the differentiable training of learners."""

from gtn_bench.teaching.initialized import ContinuedGTN, RealInitGTN
from gtn_bench.teaching.optimizers import OPTIMIZERS, InnerOptimizer
from gtn_bench.teaching.teachers import (
    CurriculumGTN,
    DatasetDistillation,
    MetaTrained,
    PlainGTN,
    RealData,
    ShuffledGTN,
    Teacher,
)
from gtn_bench.teaching.zoo import Trained

TEACHERS: dict[str, type[Teacher]] = {
    cls.name: cls
    for cls in (
        CurriculumGTN,
        RealInitGTN,
        ContinuedGTN,
        ShuffledGTN,
        PlainGTN,
        DatasetDistillation,
        RealData,
        Trained,
    )
}

__all__ = ["OPTIMIZERS", "TEACHERS", "InnerOptimizer", "MetaTrained", "Teacher"]
