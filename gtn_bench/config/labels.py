"""Labels: how results name things, and the names that tables and figures reserve."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

# The teacher of a mode without one, the accepted architectures pooled, the per-image minimum over perturbations.
NO_TEACHER, ACCEPTED, WORST = "none", "accepted", "worst"
OWN_ARCHITECTURES = "model"  # the architecture, in results, of a suite whose modes each have their own

RESERVED = {
    "teachers": (NO_TEACHER,),
    "architectures": (ACCEPTED,),
    "modes": ("teacher", "architecture", ACCEPTED, "reason"),
    "controls": ("teacher", "architecture", ACCEPTED, "reason"),
    "perturbations": (WORST, "over-l2", "over-linf", "teacher", "architecture", "mode"),
}

# Labels also name files.
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100)]
