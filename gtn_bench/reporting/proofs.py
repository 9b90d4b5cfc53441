"""Tables of certified lower bounds, and of the images that an attack or a certificate settles."""

from __future__ import annotations

import pandas as pd

from gtn_bench.analysis.acceptance import for_each_teacher, pooled_or_all
from gtn_bench.analysis.results import Results
from gtn_bench.reporting import numbers
from gtn_bench.reporting.accuracies import few
from gtn_bench.reporting.grading import CURVE

_CERTIFIER = ["certifier", "about", "teacher", "architecture", "mode", "norm"]


def settled_table(results: Results) -> pd.DataFrame:
    """Return the share of settled images of each mode with certificates, and its proven strengths.

    Perturbations in the same balls share a row, unless their proven strengths differ.

    Args:
        results: The results of a run.

    Returns:
        Columns teacher, architecture, mode, perturbations, `certified accuracy`, `settled images`, `proven at beta`; no
        rows without certificates.
    """
    summary = results.summary
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, curve in pooled_or_all(results.pooled).groupby(CURVE, sort=False):
        certified, shares, proven = [], [], []
        for beta, point in curve.groupby("beta"):
            cells = summary.loc[[row for rows in point["rows"] for row in rows]]
            if cells["certified_accuracy"].notna().all():
                certified.append(float(cells["certified_accuracy"].mean()))
                shares.append(float(cells["settled"].mean()))
                proven += [f"{beta:g}"] if cells["proven"].eq(True).all() else []
        if shares:
            key = (*name[:-1], _span(certified), _span(shares), ", ".join(proven))
            groups.setdefault(key, []).append(results.display_name(str(name[-1])))
    rows = [(*key[:3], ", ".join(labels), *key[3:]) for key, labels in groups.items()]
    columns = ["perturbations", "certified accuracy", "settled images", "proven at beta"]
    return pd.DataFrame(rows, columns=[*CURVE[:-1], *columns])


def certificate_tables(results: Results) -> dict[str, pd.DataFrame]:
    """Return the certified accuracy of each mode at each radius, a table for each norm.

    Args:
        results: The results of a run.

    Returns:
        By norm, the columns certifier, about, teacher, architecture, mode, n, and one per radius. The accuracy is the
        mean over seeds; that of a single learner has its 95 % confidence interval.
    """
    known = results.certificates
    known = for_each_teacher(known[known["certified_accuracy"].notna()])
    found = {}
    for norm, rows in known.groupby("norm", sort=False):
        radii = few(rows["epsilon"].unique())
        lines = []
        for name, part in rows.groupby(_CERTIFIER, sort=False):
            line = {**dict(zip(_CERTIFIER, name, strict=True)), "n": int(part["n"].max())}
            line |= {f"{radius:g}": _cell(part[part["epsilon"] == radius]) for radius in radii}
            lines.append(line)
        found[str(norm)] = pd.DataFrame(lines).drop(columns="norm")
    return found


def certificate_errors(results: Results) -> list[str]:
    """Return the errors of certifiers, each once.

    Args:
        results: The results of a run.
    """
    errors = results.certificates[["certifier", "error"]].dropna().drop_duplicates()
    return [f"{row.certifier}: {row.error}" for row in errors.itertuples()]


def _cell(rows: pd.DataFrame) -> str:
    if not len(rows):
        return ""
    mean = float(rows["certified_accuracy"].mean())
    low, high = (float(rows[end].iloc[0]) for end in ("ci_low", "ci_high"))
    return numbers.accuracy(mean) if len(rows) > 1 else numbers.with_interval(mean, low, high)


def _span(values: list[float]) -> str:
    low, high = numbers.accuracy(min(values)), numbers.accuracy(max(values))
    return low if low == high else f"{low} to {high}"
