"""Output folders of a small suite: their state, and results that are written into them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import gtn_bench
from gtn_bench.analysis.manifest import INTERRUPTED
from gtn_bench.analysis.results import Results
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.suite import parse
from gtn_bench.execution.output import OutputFolder

SMALL = """
name: small
dataset: digits
seeds: [0, 1]
architectures: [linear]
modes: [{name: vanilla, steps: 2}, {name: random-labels, steps: 2}]
acceptance: 0
save_adversarial: true
perturbations: [{name: noise, samples: 5, beta: [0.1, 0.3]}, {name: blur, samples: 5, beta: [1]}]
"""
LESS = SMALL.replace(", {name: blur, samples: 5, beta: [1]}", "")
TABLES = [f"{name}.csv" for name in ("summary", "curves", "measures", "comparisons", "checks", "certificates")]
FILES = [*TABLES, "samples.parquet", "examples.safetensors", "suite.yaml", "suite.schema.json"]


def copied(folder: Path, to: Path) -> Path:
    """Copy a folder with its links."""
    return shutil.copytree(folder, to, symlinks=True)


def rewrite(folder: Path, source: Path, **options: Any) -> None:
    """Write the results in a folder into another one, as a run does."""
    with OutputFolder(folder, parse(SMALL), **options) as output, output.writing() as stage:
        content = json.loads((source / "provenance.json").read_text())
        for name in content["manifest"]:
            (stage / name).parent.mkdir(exist_ok=True)
            shutil.copy(source / name, stage / name)
        kept = {name: value for name, value in content.items() if name not in ("manifest", "complete", "checksum")}
        (stage / "provenance.json").write_text(json.dumps(kept))


def manifest_of(folder: Path) -> dict[str, str]:
    """Return the digests that a run has recorded."""
    found: dict[str, str] = json.loads((folder / "provenance.json").read_text())["manifest"]
    return found


def files_in(folder: Path) -> dict[str, str]:
    """Return the digests of all files that are not hidden."""
    paths = [path for path in folder.rglob("*") if path.is_file() and ".gtn-bench" not in path.parts]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def state(folder: Path, **whole: Path) -> str:
    """Return which results are in a folder, or `interrupted`; anything else fails."""
    try:
        results = Results(folder)
        results.check()
    except ConfigError as error:
        assert str(error) == f"{folder}: {INTERRUPTED}"
        with pytest.raises(ConfigError, match=INTERRUPTED):
            gtn_bench.report(folder)
        with pytest.raises(ConfigError, match=INTERRUPTED):
            gtn_bench.open(folder, accept_changes=True)
        return "interrupted"
    found = files_in(folder)
    (name,) = (name for name, source in whole.items() if manifest_of(source).items() <= found.items())
    pd.testing.assert_frame_equal(results.samples, Results(whole[name]).samples)
    return name


def message(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    """Return the only line of the error that a call raises."""
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
