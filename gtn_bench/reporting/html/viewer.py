"""The viewer of samples: which images there are, and what the learners predict for them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from gtn_bench.analysis.results import Results
from gtn_bench.reporting import numbers
from gtn_bench.reporting.html.samples import SampleFacts
from gtn_bench.reporting.html.sprites import class_names, sprite

_MOST_BYTES = 4_000_000  # of all sprites of a page, in base64


def viewer_data(results: Results, samples: SampleFacts | None) -> list[dict[str, Any]]:
    """Return the images of each perturbation for the viewer of a page.

    Args:
        results: The results of a run.
        samples: Its samples; without them, predictions are not known.

    Returns:
        One entry per perturbation; none without example images. Perturbations that would make the page too large have
        no `png`.
    """
    images = results.examples
    if not images:
        return []
    names, found, size = results.provenance.get("classes", ()), [], 0
    for label, perturbed in _example_images(results).items():
        made = sprite(images["clean"], perturbed)
        size += len(made.png)
        labels: list[int] = []
        modes = []
        for mode, places in made.places.items():
            strengths = []
            for beta, row in places.items():
                facts = _facts(results, samples, label, mode, beta)
                entry: dict[str, Any] = {"beta": beta, "row": row}
                if facts is not None and len(facts.label) >= made.columns:
                    labels = [int(each) for each in facts.label[: made.columns]]
                    entry["before"] = class_names([int(each) for each in facts.clean_prediction[: made.columns]], names)
                    entry["after"] = class_names([int(each) for each in facts.prediction[: made.columns]], names)
                    if facts.confidence is not None:
                        entry["confidence"] = [numbers.accuracy(each) for each in facts.confidence[: made.columns]]
                strengths.append(entry)
            modes.append({"mode": mode, "strengths": strengths})
        found.append(
            {
                **{"perturbation": label, "width": made.width, "height": made.height, "columns": made.columns},
                **{"amplified": made.amplified, "reduced": made.reduced, "labels": class_names(labels, names)},
                **{"modes": modes, "png": made.png if size <= _MOST_BYTES else None},
            }
        )
    return found


def _facts(results: Results, samples: SampleFacts | None, label: str, mode: str, beta: float) -> Any:
    """Return the facts of the cell that an example image comes from; None if they are not known."""
    if samples is None:
        return None
    chosen, summary = results.provenance["examples"], results.summary
    here = (summary["perturbation"] == label) & (summary["mode"] == mode) & (summary["seed"] == chosen["seed"])
    here &= (summary["architecture"] == chosen["architecture"]) & summary["teacher"].isin(chosen["teachers"])
    rows = summary.index[here & np.isclose(summary["beta"], beta, rtol=1e-9, atol=0)]
    return next((samples.cells[row] for row in rows if row in samples.cells), None)


def _example_images(results: Results) -> dict[str, dict[str, dict[float, Any]]]:
    """Return the example images (k, C, H, W) by perturbation, mode and strength. Names can contain the separator."""
    labels = (results.summary[column].unique() for column in ("perturbation", "mode"))
    pairs = {f"{one}/{mode}": (str(one), str(mode)) for one, mode in itertools.product(*labels)}
    found: dict[str, dict[str, dict[float, Any]]] = {}
    for key, value in results.examples.items():
        pair, _, beta = key.rpartition("/")
        if pair in pairs and len(value):
            label, mode = pairs[pair]
            found.setdefault(label, {}).setdefault(mode, {})[float(beta)] = value
    return found
