"""Records of cells that never ran, and output folders of runs that never took place, with every grade."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from gtn_bench.analysis.acceptance import AcceptanceRule
from gtn_bench.analysis.checks import Evidence
from gtn_bench.analysis.comparisons import comparisons
from gtn_bench.analysis.curves import curves
from gtn_bench.analysis.measures import measures
from gtn_bench.analysis.records import CellRecord, Summary, summarize
from gtn_bench.analysis.tables import CERTIFICATE_COLUMNS, IDENTITY, to_csv
from gtn_bench.config.threat import Threat

N = 128
BALL = Threat("linf", 0.1)
PASSED = {
    "more_steps": Evidence(0, N),
    "second_attack": Evidence(0, N),
    "gradient_free": Evidence(0, N),
    "binarization": Evidence(0, N),
}  # what `reliable` needs


def record(
    fooled: Any = 0,
    *,
    n: int = N,
    perturbation: str = "pgd",
    beta: float = 0.1,
    region: Threat | None = BALL,
    moved: float | None = None,
    mode: str = "m",
    seed: int = 0,
    architecture: str = "linear",
    **more: Any,
) -> CellRecord:
    """Return the record of a finished cell of images of class 0.

    Args:
        fooled: Mask of the fooled images, or the number of the first ones.
        n: Number of images.
        perturbation, beta, mode, seed, architecture: Identity of the cell.
        region: The ball.
        moved: Distance in both norms; by default the radius, or 0.5 without a ball.
        more: Further fields.
    """
    distance = moved if moved is not None else region.epsilon if region else 0.5
    mask = np.arange(n) < fooled if isinstance(fooled, int) else np.asarray(fooled)
    samples = {
        "label": np.zeros(n, int),
        "clean_prediction": np.zeros(n, int),
        "prediction": mask.astype(int),
        "confidence": np.full(n, 0.75),
        "linf": np.full(n, distance),
        "l2": np.full(n, distance),
        "zero_gradient": np.zeros(n, bool),
    }
    identity = dict(zip(IDENTITY, ("digits", "none", architecture, mode, seed, perturbation, beta), strict=True))
    fields = {"attack": perturbation, "cost": {"forwards": 1000.0, "backwards": 10.0, "seconds": 0.1}, **more}
    if "samples" in fields:
        samples |= fields.pop("samples")
    return CellRecord(identity, n, "done", samples=samples, search_region=region, **fields)


def write_run(folder: Path, summary: Summary, certificates: pd.DataFrame | None = None, **provenance: Any) -> Path:
    """Write the output folder of a run with given records.

    Args:
        folder: The folder.
        summary: The summary of the records.
        certificates: The table of certificates; by default there is none.
        provenance: Further content of provenance.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table, rule = summary.table, AcceptanceRule(0.0)
    points = curves(table, rule, summary.correct)
    tables = {"summary": table, "checks": summary.checks, "curves": points}
    tables["measures"] = measures(table, rule, summary.correct, points)
    tables["comparisons"] = comparisons(table, rule, summary.correct)
    if certificates is not None:
        tables["certificates"] = certificates
    for name, content in tables.items():
        (folder / f"{name}.csv").write_bytes(to_csv(content))
    labels = [str(label) for label in table["perturbation"].unique()]
    entries = [{"name": "noise", "label": label, "samples": N, "beta": [0.1]} for label in labels]
    suite = {
        **{"name": "graded", "dataset": "digits", "acceptance": 0.0, "perturbations": entries},
        **{name + "s": list(map(str, table[name].unique())) for name in ("architecture",)},
        "modes": [{"name": "vanilla", "label": str(mode)} for mode in table["mode"].unique()],
        "seeds": [int(seed) for seed in table["seed"].unique()],
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    known = {
        **{"cells": len(table), "suite": "graded", "acceptance": 0.0, "controls": [], "note": "", "seconds": 9.0},
        "perturbations": dict.fromkeys(labels, "radius, pixel value"),
        "details": {},
        "errors": summary.errors,
        "versions": {"gtn-bench": "0.1.0", "torch": "2", "python": "3.11"},
        "machine": {"cores": 2, "device": "cpu"},
    }
    (folder / "provenance.json").write_text(json.dumps({**known, **provenance}))
    return folder


BETAS = (0.02, 0.04, 0.06, 0.08, 0.1, 0.12)


def graded_records(
    modes: Mapping[str, float], *, seeds: Sequence[int] = (0, 1), certified: bool = True, evidence: bool = True
) -> list[CellRecord]:
    """Return records of a run: a strong attack, a weak one, a black-box one, and noise, over several strengths.

    Args:
        modes: For each mode, the largest radius at which no image is fooled.
        seeds: Seeds of the learners.
        certified: Whether images are certified.
        evidence: Whether the strong attack has evidence at the first three strengths.
    """
    records = []
    for mode, robust in modes.items():
        for seed in seeds:
            margin = robust + np.linspace(0, 0.12, N) + 0.004 * seed  # radius at which an image is fooled
            for name in ("apgd", "fgsm", "square", "noise"):
                for place, beta in enumerate(BETAS):
                    region = None if name == "noise" else Threat("linf", beta)
                    weaker = {"apgd": 0.0, "fgsm": 0.02 * place / 2, "square": 0.001, "noise": 0.05}[name]
                    fields: dict[str, Any] = {"access": {"square": "black", "noise": "none"}.get(name, "white")}
                    if certified and region:
                        fields["certified"] = margin > beta * (1 + beta) + 0.001
                    if evidence and name == "apgd" and place < 3:
                        fields["evidence"] = PASSED
                    fooled = margin + weaker <= beta
                    records.append(
                        record(fooled, perturbation=name, beta=beta, region=region, mode=mode, seed=seed, **fields)
                    )
    return records


def certificates_of(records: Sequence[CellRecord]) -> pd.DataFrame:
    """Return the table of certificates of records, those of one attack, and bounds of a smoothed model."""
    rows = []
    for one in records:
        if one.certified is not None and one.identity["perturbation"] == "apgd":
            shared = {name: one.identity[name] for name in IDENTITY[:5]} | {"norm": "linf", "epsilon": 0.0, "n": N}
            shared |= {"epsilon": one.identity["beta"], "ci_low": 0.4, "ci_high": 0.6}
            rows.append({**shared, "certifier": "crown", "about": "model", "certified_accuracy": one.certified.mean()})
            smoothed = {"certifier": "smoothing", "about": "smoothed model", "norm": "l2", "certified_accuracy": 0.5}
            rows.append({**shared, **smoothed})
    error = {**rows[-1], "certified_accuracy": np.nan, "certifier": "interval", "error": "UnsupportedLayerError: x"}
    return pd.DataFrame([*rows, error], columns=CERTIFICATE_COLUMNS)


def graded_run(folder: Path, modes: Mapping[str, float], *, certified: bool = True, evidence: bool = True) -> Path:
    """Write the output folder of the run that `graded_records` describes."""
    records = graded_records(modes, certified=certified, evidence=evidence)
    return write_run(folder, summarize(records), certificates_of(records) if certified else None)
