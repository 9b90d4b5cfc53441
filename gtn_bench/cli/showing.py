"""What the commands print: tables, findings, estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from gtn_bench import console
from gtn_bench.config.errors import escaped
from gtn_bench.config.labels import ACCEPTED, NO_TEACHER
from gtn_bench.execution.plain_progress import duration

if TYPE_CHECKING:
    import pandas as pd

    from gtn_bench.analysis.results import Results
    from gtn_bench.execution.estimates import Estimate
    from gtn_bench.execution.upkeep import Entry
    from gtn_bench.teaching.history import History


def show_findings(models: Sequence[Mapping[str, Any]]) -> None:
    """Print what the checks of models found, one line per finding.

    Args:
        models: Mode, architecture, seed and findings of each model.
    """
    for model in models:
        for sentence in model["findings"]:
            console.warn(f"{model['mode']} of {model['architecture']}, seed {model['seed']}: {sentence}")


def show_examination(models: Sequence[Mapping[str, Any]], *, quiet: bool = False) -> None:
    """Print the findings about every examined model, or that there are none.

    Args:
        models: Mode, architecture, seed and findings of each model.
        quiet: Whether to print problems only, no notes.
    """
    colors = {"error": "red", "warning": "yellow"}
    for model in models:
        who = f"{model['mode']}, seed {model['seed']}"
        if not model["findings"] and not quiet:
            console.say(f"{who}: no problem found")
        for finding in model["findings"]:
            if quiet and finding["severity"] == "note":
                continue
            color = colors.get(finding["severity"], "dim")
            line = Text.assemble(f"{who}: ", (finding["severity"], color), f": {escaped(finding['sentence'])}")
            console.show(line, wrap=False)


def show_table(frame: pd.DataFrame) -> None:
    """Print a table, numbers with four decimals.

    Args:
        frame: The table.
    """
    table = Table(*frame.columns, box=None, pad_edge=False)
    for row in frame.astype(object).to_numpy().tolist():
        table.add_row(*(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row))
    console.show(table)


def show_results(results: Results) -> None:
    """Print what came out of a run: notes, findings about models, mean accuracies, suspect curves.

    Args:
        results: The results of a run.
    """
    provenance = results.provenance
    for note in (provenance["note"], provenance.get("hardware", "")):
        if note:
            console.warn(note)
    show_findings(provenance["models"])
    if (results.summary["status"] == "rejected").all():
        accepted = f"no architecture is accepted at clean accuracy {results.rule.threshold:g}"
        console.say(f"{accepted}; nothing was attacked")
    show_overview(results)
    show_suspects(results)


def show_stored(entries: Sequence[Entry]) -> None:
    """Print the kinds of files in the cache.

    Args:
        entries: Number, size and times of the files of each kind.
    """
    table = Table("kind", "files", "size", "written from", "to", box=None, pad_edge=False)
    for entry in entries:
        times = (datetime.fromtimestamp(seconds).isoformat(" ", "minutes") for seconds in (entry.oldest, entry.newest))
        table.add_row(entry.kind, str(entry.files), console.in_bytes(entry.bytes), *times)
    console.show(table)


def show_estimate(estimate: Estimate) -> None:
    """Print what a run would compute, how long that takes about, and what the estimate rests on.

    Args:
        estimate: The estimate.
    """
    table = Table("results", "missing", "of", "time in one worker", box=None, pad_edge=False)
    for kind, number in estimate.parts.items():
        seconds = estimate.worker_seconds.get(kind)
        time_text = "unknown" if seconds is None and estimate.missing[kind] else duration(seconds or 0)
        table.add_row(kind, str(estimate.missing[kind]), str(number), time_text)
    console.show(table)
    unknown = f", without {' and '.join(estimate.unknown)}" if estimate.unknown else ""
    memory = f", {console.in_bytes(estimate.memory)} of memory" if estimate.memory else ""
    workers = console.count({"workers": estimate.workers})
    console.say(f"about {duration(estimate.seconds)} with {workers}{memory}{unknown} ({estimate.basis})")


def show_overview(results: Results) -> None:
    """Print clean accuracy and mean accuracy over each sweep, one column per mode.

    Args:
        results: The results of a run.
    """
    from gtn_bench.analysis.measures import overview
    from gtn_bench.reporting.numbers import accuracy

    table = overview(results.summary, results.rule)
    known = results.summary["architecture"].unique()
    pooled = str(known[0]) if len(known) == 1 else "accepted architectures"
    for (teacher, architecture), part in table.groupby(["teacher", "architecture"], sort=False):
        what = pooled if architecture == ACCEPTED else str(architecture)
        title = what if teacher == NO_TEACHER else f"{what}, teacher {teacher}"
        shown = Table("mean accuracy", *part["mode"], title=title, box=None, pad_edge=False)
        shown.title_justify = "left"
        for measure in part.columns[3:]:
            name = "clean" if measure == "clean accuracy" else f"over {results.display_name(str(measure))}"
            shown.add_row(name, *(accuracy(value, missing="nan") for value in part[measure]))
        console.show(shown)


def show_suspects(results: Results) -> None:
    """Print the number of cells of each grade, and the perturbations with suspect ones, with the checks that failed.

    Args:
        results: The results of a run.
    """
    done = results.summary[results.summary["status"] == "done"]
    counts = done["grade"].value_counts()
    said = [f"{counts[grade]} {grade}" for grade in ("suspect", "reliable", "unknown", "n/a") if grade in counts]
    if said:
        console.say(f"grades of {len(done)} cells: {', '.join(said)}")
    failed = results.checks[results.checks["outcome"] == "failed"]
    suspect = done[done["grade"] == "suspect"]
    for perturbation, cells in suspect.groupby("perturbation", sort=False):
        name = results.display_name(str(perturbation))
        flags = sorted({flag for text in cells["flags"] for flag in text.split("; ")})
        rows = failed[failed["perturbation"] == perturbation].sort_values("measured", na_position="first")
        reason = f": {rows['text'].iloc[-1]}" if len(rows) else ""
        console.warn(f"suspect: {len(cells)} cells of {name}: {', '.join(flags)}{reason} See the report.")


def show_validation(history: History) -> None:
    """Print the last meta-loss and the last validation of a meta-training.

    Args:
        history: Its history.
    """
    point = history.checks[-1]
    accuracies = ", ".join(f"{value:.3f} after {steps}" for steps, value in point.accuracy.items())
    loss = f"meta-step {point.meta_step}: meta-loss {history.losses[-1]:.3f}"
    console.complain(f"{loss}, validation accuracy {accuracies} inner steps")
