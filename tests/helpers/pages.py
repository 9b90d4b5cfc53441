"""Output folders of runs that never took place, for the tests of pages, and the content of a page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from gtn_bench.analysis.records import CellRecord, summarize
from gtn_bench.analysis.results import Results
from gtn_bench.config.threat import Threat
from gtn_bench.execution.output import SampleWriter
from gtn_bench.reporting import html
from gtn_bench.reporting.drawing import figure_files
from gtn_bench.store.files import write_tensors
from helpers.graded import record, write_run

N, CLASSES, SHAPE = 24, 4, (1, 6, 5)

MARKUP = (
    "</script><script>alert(1)</script>",
    "<!-- x",
    "<img src=x onerror=alert(1)>",
    "\"quoted\" 'names' & <b>&amp;",
    "$x^2$ and \\(y\\)",
    "{{ 7 * 7 }}{% raw %}",
    "line\u2028separator",
    "url(x);}*{display:none}",
)


def page_run(
    folder: Path,
    *,
    modes: Sequence[str] = ("gtn", "vanilla"),
    architectures: Sequence[str] = ("linear",),
    perturbations: Sequence[str] = ("fgsm", "noise"),
    betas: Sequence[float] = (0.02, 0.05, 0.1),
    seeds: Sequence[int] = (0, 1),
    n: int = N,
    failing: Sequence[str] = (),
    wrong: Sequence[str] = (),
    missing: Sequence[tuple[str, float]] = (),
    examples: bool = True,
    **provenance: Any,
) -> Path:
    """Write the output folder of a run with random samples. The accuracy falls with the strength.

    Args:
        folder: The folder.
        modes, architectures, perturbations, betas, seeds: Labels and strengths.
        n: Number of images.
        failing: Perturbations whose cells fail.
        wrong: Modes whose learners classify every clean image wrongly, so that no architecture is accepted.
        missing: Mode and strength of cells that fail.
        examples: Whether the folder has example images.
        provenance: Further content of provenance.json.
    """
    records: list[CellRecord] = []
    generator = np.random.default_rng(0)
    for architecture, (place, mode), seed in itertools.product(architectures, enumerate(modes), seeds):
        label = np.arange(n) % CLASSES
        clean = label if mode not in wrong else (label + 1) % CLASSES
        clean = np.where(generator.random(n) < 0.1, (label + 1) % CLASSES, clean)
        for name, beta in itertools.product(perturbations, betas):
            attack = {"perturbation": name, "beta": beta, "mode": mode, "seed": seed, "architecture": architecture}
            if name in failing or (mode, beta) in missing:
                one = record(0, n=n, region=None, **attack)
                lost = "Traceback\nValueError: <i>no</i> `x` </script>"
                records.append(CellRecord(one.identity, n, "error", traceback=lost))
                continue
            fooled = generator.random(n) < beta * (4 + place)
            samples = {
                "label": label,
                "clean_prediction": clean,
                "prediction": np.where(fooled, (label + 2) % CLASSES, clean),
                "confidence": generator.uniform(0.2, 1, n),
                "linf": np.where(fooled, beta, beta / 2),
                "l2": np.where(fooled, 3 * beta, beta) * generator.uniform(0.5, 1, n),
            }
            region = Threat("linf", beta) if name != "noise" and beta else None
            records.append(record(0, n=n, region=region, samples=samples, **attack))
    summary = summarize(records)
    chosen = {"architecture": architectures[0], "seed": seeds[0], "teachers": ["none"]}
    write_run(folder, summary, **{"examples": chosen, **provenance})
    _write_suite(folder, architectures, modes, perturbations, betas, seeds, n)
    with SampleWriter(folder / "samples.parquet") as writer:
        for one in records:
            if one.status == "done":
                writer.write(one.identity, one.samples)
    if examples:
        write_tensors(folder / "examples.safetensors", example_tensors(modes, perturbations, betas))
    return folder


def example_tensors(modes: Sequence[str], perturbations: Sequence[str], betas: Sequence[float]) -> dict[str, Any]:
    """Return example images (4, C, H, W): the clean ones, and those of each mode and strength."""
    generator = np.random.default_rng(1)
    clean = generator.random((4, *SHAPE)).astype(np.float32)
    moved = generator.uniform(-1, 1, (4, *SHAPE)).astype(np.float32)
    keys = itertools.product(perturbations, modes, betas)
    images = {f"{name}/{mode}/{beta!r}": np.clip(clean + beta * moved, 0, 1) for name, mode, beta in keys}
    return {"clean": clean, **images}


def _write_suite(
    folder: Path,
    architectures: Sequence[str],
    modes: Sequence[str],
    perturbations: Sequence[str],
    betas: Sequence[float],
    seeds: Sequence[int],
    n: int,
) -> None:
    suite = {
        **{"name": "made-up", "description": "Is <b>one</b> mode less robust?", "dataset": "digits"},
        **{"architectures": list(architectures), "modes": list(modes), "seeds": list(seeds), "acceptance": 0.0},
        "perturbations": [{"name": name, "samples": n, "beta": list(betas)} for name in perturbations],
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))


class Sentences(NamedTuple):
    """Sentences at the top of a page."""

    shown: tuple[str, ...]
    folded: tuple[str, ...]


def write_page(folder: Path, shown: Sequence[str] = (), folded: Sequence[str] = ()) -> Path:
    """Write the page of a run without drawing its figures; simple ones stand for them.

    Args:
        folder: The output folder.
        shown, folded: Sentences at the top.
    """
    results = Results(folder)
    names = figure_files(results).values()
    (folder / "figures").mkdir(exist_ok=True)
    for name in (*names, *(f"{name}-examples" for name in names), "over-l2", "over-linf"):
        (folder / "figures" / f"{name}.svg").write_text(_FIGURE)
    sentences = Sentences(tuple(shown), tuple(folded))
    return html.write(results, folder, bands="pointwise", published=None, headlines=sentences)


_FIGURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="400" height="200">'
    '<rect width="400" height="200" fill="#ddd"/><text x="20" y="40">figure</text></svg>'
)


class Page(HTMLParser):
    """The content of a page.

    Attributes:
        tags: Names of the elements, in order.
        attributes: The attributes of each of them.
        texts: The texts of elements by name.
        scripts: The texts of script elements.
        text: All text that is no script and no style sheet.
    """

    _VOID = frozenset({"meta", "link", "img", "br", "input"})

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[Mapping[str, str | None]] = []
        self.texts: dict[str, list[str]] = {}
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append(dict(attrs))
        if tag not in self._VOID:
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")
            if tag == "script":
                self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open[-1] == tag, f"</{tag}> inside {self._open}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            self.scripts[-1] += data
        elif inside != "style":
            self.text += data
            for tag in set(self._open):
                self.texts[tag][-1] += data

    @property
    def data(self) -> Any:
        """The data that the page embeds for its script."""
        return json.loads(self.scripts[0])
