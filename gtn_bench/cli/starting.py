"""The command init: a first suite to edit."""

from __future__ import annotations

import os
import re
import shlex
from typing import Annotated

import typer

from gtn_bench import console
from gtn_bench.cli.options import Quiet
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.paths import user_path
from gtn_bench.store.files import write_atomically


def init(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to write.")] = "suite.yaml",
    quiet: Quiet = False,
) -> None:
    """Write a commented suite to start from. Never replaces a file."""
    path = user_path(file)
    if os.path.lexists(path):
        raise ConfigError(f"{path} exists already; choose another file: gtn-bench init other.yaml")
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{path}: expects a name that ends in .yaml")
    name = path.stem if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", path.stem) else "suite"
    write_atomically(path, SUITE.replace("NAME", name, 1).encode())
    if not quiet:
        name = shlex.quote(file)
        console.say(f"written: {path}; check it with: gtn-bench validate {name}; run it with: gtn-bench run {name}")


SUITE = """\
# A suite: what is trained, what it is attacked with, and how strongly. Check it with `gtn-bench validate FILE`.
name: "NAME"
description: Are learners of a teacher less robust than learners of the real images?

# `gtn-bench list datasets` lists the data sets. Your own images: {name: files, test: test.npz, train: train.npz}.
dataset: digits

# What the modes gtn and 10_gtn learn from. `gtn-bench list teachers` explains every parameter.
teachers:
  - name: cgtn               # meta-trained when the suite runs; {name: trained, teaching_set: FILE} loads one
    label: small
    architecture: linear     # the architecture that the teacher is optimized for
    inner_steps: 16
    batch_size: 64
    meta_batch_size: 64
    latent_size: 32
    meta_steps: 30

# One learner per architecture, mode and seed. `gtn-bench list architectures`, `gtn-bench list modes`.
architectures: [linear, base]
modes:
  - gtn                      # trained from the teacher
  - {name: vanilla, epochs: 3}   # trained from the real images
  # - {name: adversarial, label: robust}
seeds: [0, 1, 2]             # more seeds later: gtn-bench run FILE --seeds 0-9

# Architectures with a lower mean clean accuracy in any mode are not pooled.
acceptance: 0.5

# Each with its sweep of strengths `beta`, in pixel values of images in [0, 1]. `gtn-bench list perturbations`.
# Include 0 for the clean accuracy. {linspace: [first, last, count]} and fractions such as 8/255 are numbers too.
perturbations:
  - {name: pgd, steps: 10, samples: 100, beta: [0, 0.02, 0.05, 0.1]}
  - {name: noise, beta: {linspace: [0, 0.6, 4]}}
  # - {name: torchattacks.PGD, steps: 10, beta: [0.05]}   # any attack of foolbox, torchattacks, ART

# More that a suite can say: checks: full, certify: [crown], units: normalized, eight_bit: true.
# Editors complete and check all keys with the schema that `gtn-bench schema` prints.
"""
