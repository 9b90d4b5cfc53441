"""Teachers: meta-trained generators of synthetic lessons, and the training of learners on them."""

from gtn_bench.teaching.teachers import CurriculumGTN, Diverged, Teacher

TEACHERS: dict[str, type[Teacher]] = {cls.name: cls for cls in (CurriculumGTN,)}

__all__ = ["TEACHERS", "CurriculumGTN", "Diverged", "Teacher"]
