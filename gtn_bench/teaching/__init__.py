"""Teachers: meta-trained generators of synthetic lessons, and the training of learners on them."""

from gtn_bench.teaching.generator import Curriculum, Lesson
from gtn_bench.teaching.inner_loop import train
from gtn_bench.teaching.meta_training import CurriculumGTN, Diverged, Teacher

TEACHERS: dict[str, type[Teacher]] = {cls.name: cls for cls in (CurriculumGTN,)}

__all__ = ["TEACHERS", "Curriculum", "CurriculumGTN", "Diverged", "Lesson", "Teacher", "train"]
