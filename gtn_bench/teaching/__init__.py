"""Teachers: meta-trained generators of synthetic lessons, and the training of learners on them."""

from gtn_bench.teaching.imitating import ContinuedGTN, RealInitGTN
from gtn_bench.teaching.optimizers import OPTIMIZERS, InnerOptimizer
from gtn_bench.teaching.teachers import (
    FEW_STEPS,
    CurriculumGTN,
    DatasetDistillation,
    MetaTrained,
    PlainGTN,
    RealData,
    ShuffledGTN,
    Teacher,
)
from gtn_bench.teaching.zoo import Trained, decoded, zoo, zoo_catalogue

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

__all__ = [
    "FEW_STEPS",
    "OPTIMIZERS",
    "TEACHERS",
    "ContinuedGTN",
    "CurriculumGTN",
    "InnerOptimizer",
    "MetaTrained",
    "RealInitGTN",
    "Teacher",
    "Trained",
    "decoded",
    "zoo",
    "zoo_catalogue",
]
