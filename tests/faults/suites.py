"""The suites of the trials: they run in seconds and store every kind of file in the cache."""

from __future__ import annotations

NAME = "faults"

TEACHER = """
  - {name: distillation, label: teacher, architecture: linear, inner_steps: 3, batch_size: 20, meta_batch_size: 10,
     meta_steps: %d}
"""

HEAD = """
name: faults
dataset: digits
architectures: [linear]
seeds: [0, 1]
acceptance: 0
"""

PERTURBATIONS = """
perturbations:
  - {name: pgd, steps: 3, samples: 20, beta: [0.05]}
  - {name: noise, samples: 20, beta: [0.2]}
"""

MODES = """
modes:
  - {name: gtn, inner_steps: 2}
  - {name: vanilla, epochs: 1}
"""

# Stores teachers, learners, examinations, clean predictions, cells, certificates and probes.
ALL_STAGES = (
    HEAD + "attack: accepted\nchecks: full\ncertify: [interval]\nteachers:" + TEACHER % 2 + MODES + PERTURBATIONS
)

# The meta-training takes long enough to be killed after a checkpoint, which is written every ten meta-steps.
CHECKPOINTED = HEAD + "checks: none\nteachers:" + TEACHER % 40 + MODES + PERTURBATIONS

# Learners are trained on real data, and attacks are not checked.
SMALL = HEAD + "checks: none\nmodes: [{name: vanilla, steps: 20}]" + PERTURBATIONS

THREE_LINES = """
{name: three, dataset: digits, architectures: [linear], modes: [vanilla], seeds: [0],
 perturbations: [{name: noise, samples: 20, beta: [0.2]}]}
"""
