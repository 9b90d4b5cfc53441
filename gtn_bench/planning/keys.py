"""The content keys of everything in a plan, on one type of device."""

from __future__ import annotations

from typing import NamedTuple

from gtn_bench.planning.cells import Cell, Certification, Learner, Plan
from gtn_bench.store.parsing import save_what_was_read


class Keys(NamedTuple):
    """Content keys of the parts of a plan.

    Attributes:
        teachers: Keys of the teachers, by label.
        learners: For each learner its key, followed by that of its teacher if it has one.
        cells: For each cell, in the order of the plan, its key, followed by the keys of its learner.
        clean: For each learner the key of its predictions on clean images, and the cell with the most images.
        certifications: For each certification its key, followed by the keys of its learner.
    """

    teachers: dict[str, str]
    learners: dict[Learner, tuple[str, ...]]
    cells: list[tuple[str, ...]]
    clean: dict[Learner, tuple[str, Cell]]
    certifications: dict[Certification, tuple[str, ...]]


def keys_of(plan: Plan, device: str) -> Keys:
    """Return the content keys of a plan.

    Args:
        plan: The plan.
        device: Type of the device.
    """
    teachers = {taught_by: taught_by.key(device) for taught_by in plan.teachers}
    learners = {}
    for learner in plan.learners:
        teacher = [teachers[learner.taught_by]] if learner.taught_by else []
        learners[learner] = (learner.key(device), *teacher)
    cells = [(cell.key(device, learners[cell.learner][0]), *learners[cell.learner]) for cell in plan.cells]
    widest: dict[Learner, Cell] = {}
    for cell in plan.cells:
        if cell.learner not in widest or cell.samples > widest[cell.learner].samples:
            widest[cell.learner] = cell
    clean = {learner: (cell.clean_key(device, learners[learner][0]), cell) for learner, cell in widest.items()}
    certifications = {
        each: (each.key(device, learners[each.learner][0]), *learners[each.learner]) for each in plan.certifications
    }
    save_what_was_read()
    labels = {taught_by.label: key for taught_by, key in teachers.items()}
    return Keys(labels, learners, cells, clean, certifications)
