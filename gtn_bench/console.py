"""Terminal output: messages, tables, progress bars."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gtn_bench.config.labels import ACCEPTED, NO_TEACHER
from gtn_bench.execution.plain_progress import PlainProgress, duration

if TYPE_CHECKING:
    import pandas as pd
    from rich.progress import Progress

    from gtn_bench.analysis.results import Results
    from gtn_bench.execution.estimates import Estimate
    from gtn_bench.execution.upkeep import Entry
    from gtn_bench.teaching.history import History

# Names and paths are printed as they are: "[x]" and ":x:" have no meaning.
_output = Console(markup=False, emoji=False, highlight=False)
_errors = Console(markup=False, emoji=False, highlight=False, stderr=True)


def say(text: str) -> None:
    """Print a line.

    Args:
        text: The line.
    """
    _output.print(printable(text), soft_wrap=True)


def warn(text: str) -> None:
    """Print a line in red.

    Args:
        text: The line.
    """
    _output.print(printable(text), style="red", soft_wrap=True)


def complain(text: str, prefix: str = "") -> None:
    """Print a line to standard error.

    Args:
        text: The line.
        prefix: A word in red that precedes it.
    """
    line = Text.assemble((prefix, "red"), " " if prefix else "", printable(text))
    _errors.print(line, soft_wrap=True)


def printable(text: str) -> str:
    """Return text without the bytes of file names that are not UTF-8.

    Args:
        text: The text.
    """
    return text.encode(errors="backslashreplace").decode()


def show_findings(models: Sequence[Mapping[str, Any]]) -> None:
    """Print what the checks of models found, one line per finding.

    Args:
        models: Mode, architecture, seed and findings of each model.
    """
    for model in models:
        for sentence in model["findings"]:
            warn(f"{model['mode']} of {model['architecture']}, seed {model['seed']}: {sentence}")


def show_examination(models: Sequence[Mapping[str, Any]]) -> None:
    """Print the findings about every examined model, or that there are none.

    Args:
        models: Mode, architecture, seed and findings of each model.
    """
    colors = {"error": "red", "warning": "yellow"}
    for model in models:
        who = f"{model['mode']}, seed {model['seed']}"
        if not model["findings"]:
            say(f"{who}: no problem found")
        for finding in model["findings"]:
            color = colors.get(finding["severity"], "dim")
            line = Text.assemble(f"{who}: ", (finding["severity"], color), f": {printable(finding['sentence'])}")
            _output.print(line, soft_wrap=True)


def show_table(frame: pd.DataFrame) -> None:
    """Print a table, numbers with four decimals.

    Args:
        frame: The table.
    """
    table = Table(*frame.columns, box=None, pad_edge=False)
    for row in frame.astype(object).to_numpy().tolist():
        table.add_row(*(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row))
    _output.print(table)


def show_catalog(rows: list[dict[str, str]]) -> None:
    """Print the rows of a catalog; one line per library attack.

    Args:
        rows: Rows of `gtn_bench.planning.catalog`, of the zoo or of the shipped files.
    """
    for row in rows:
        fields = dict(row)
        name, summary = fields.pop("name"), fields.pop("summary")
        if fields.get("library") and not summary:
            line = f"{fields['access']}, norm {fields['norm']}, beta: {fields['beta']}, {fields['source']}"
            _output.print(Text.assemble(f"    {name}  ", (line, "dim")), soft_wrap=True)
            continue
        _output.print(Text.assemble((name, "bold"), f"  {summary}"), soft_wrap=True)
        for what, value in fields.items():
            if value and value != "-":
                _output.print(Text.assemble("    ", (f"{what}:", "dim"), f" {value}"), soft_wrap=True)


def show_results(results: Results) -> None:
    """Print what came out of a run: notes, findings about models, mean accuracies, suspect curves.

    Args:
        results: The results of a run.
    """
    provenance = results.provenance
    for note in (provenance["note"], provenance.get("hardware", "")):
        if note:
            warn(note)
    show_findings(provenance["models"])
    if (results.summary["status"] == "rejected").all():
        accepted = f"no architecture is accepted at clean accuracy {results.rule.threshold:g}"
        say(f"{accepted}; nothing was attacked")
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
        table.add_row(entry.kind, str(entry.files), in_bytes(entry.bytes), *times)
    _output.print(table)


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
    _output.print(table)
    unknown = f", without {' and '.join(estimate.unknown)}" if estimate.unknown else ""
    memory = f", {in_bytes(estimate.memory)} of memory" if estimate.memory else ""
    workers = count({"workers": estimate.workers})
    say(f"about {duration(estimate.seconds)} with {workers}{memory}{unknown} ({estimate.basis})")


def in_bytes(size: float) -> str:
    """Return a size as text, with the unit that fits.

    Args:
        size: Number of bytes.
    """
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"


def show_overview(results: Results) -> None:
    """Print clean accuracy and mean accuracy over each sweep, one column per mode.

    Args:
        results: The results of a run.
    """
    from gtn_bench.analysis.measures import overview

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
            shown.add_row(name, *(f"{value:.3f}" for value in part[measure]))
        _output.print(shown)


def show_suspects(results: Results) -> None:
    """Print the number of cells of each grade, and the perturbations with suspect ones, with the checks that failed.

    Args:
        results: The results of a run.
    """
    done = results.summary[results.summary["status"] == "done"]
    counts = done["grade"].value_counts()
    said = [f"{counts[grade]} {grade}" for grade in ("suspect", "reliable", "unknown", "n/a") if grade in counts]
    if said:
        say(f"grades of {len(done)} cells: {', '.join(said)}")
    failed = results.checks[results.checks["outcome"] == "failed"]
    suspect = done[done["grade"] == "suspect"]
    for perturbation, cells in suspect.groupby("perturbation", sort=False):
        name = results.display_name(str(perturbation))
        flags = sorted({flag for text in cells["flags"] for flag in text.split("; ")})
        rows = failed[failed["perturbation"] == perturbation].sort_values("measured", na_position="first")
        reason = f": {rows['text'].iloc[-1]}" if len(rows) else ""
        warn(f"suspect: {len(cells)} cells of {name}: {', '.join(flags)}{reason} See the report.")


def show_validation(history: History, bars: Progress) -> None:
    """Print the last meta-loss and the last validation above progress bars.

    Args:
        history: The history of a meta-training.
        bars: The progress bars.
    """
    point = history.checks[-1]
    accuracies = ", ".join(f"{value:.3f} after {steps}" for steps, value in point.accuracy.items())
    loss = f"meta-step {point.meta_step}: meta-loss {history.losses[-1]:.3f}"
    bars.console.print(f"{loss}, validation accuracy {accuracies} inner steps")


@contextmanager
def bar_for_long_work() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a progress callback that shows a bar on a terminal for a stage that takes longer than a second."""
    from rich.errors import LiveError

    starts: dict[str, float] = {}
    shown: dict[str, Progress] = {}
    with ExitStack() as stack:

        def report(stage: str, done: int, total: int) -> None:
            start = starts.setdefault(stage, time.monotonic())
            if stage not in shown and _errors.is_terminal and time.monotonic() - start > 1:
                with suppress(LiveError):  # another bar is on the screen
                    shown[stage] = stack.enter_context(progress_bars())
                    shown[stage].add_task(stage, total=total)
            if stage in shown:
                shown[stage].update(shown[stage].task_ids[0], completed=done, total=total)
            if done == total:
                stack.close()
                starts.clear()
                shown.clear()

        yield report


def progress_bars(*, quiet: bool = False) -> Progress:
    """Return progress bars that show parts done, elapsed and remaining time.

    Args:
        quiet: Whether to show nothing.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    return Progress(*columns, console=_errors, disable=quiet)


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a progress callback that shows one bar per stage on a terminal, and else prints a line every 30 seconds.

    Args:
        quiet: Whether to show nothing.
    """
    if not quiet and not _errors.is_terminal:
        yield PlainProgress(complain)
        return
    with progress_bars(quiet=quiet) as bars:
        yield stage_reporter(bars)


def stage_reporter(bars: Progress) -> Callable[[str, int, int], None]:
    """Return a progress callback that shows one bar per stage.

    Args:
        bars: The progress bars.
    """
    tasks: dict[str, Any] = {}

    def report(stage: str, done: int, total: int) -> None:
        if total == 0:
            return
        if stage not in tasks:
            for task in tasks.values():
                bars.stop_task(task)
            tasks[stage] = bars.add_task(stage, total=total, completed=done)
        bars.update(tasks[stage], completed=done)

    return report


def count(counts: Mapping[str, int]) -> str:
    """Return counts as text: ``2 teachers, 1 learner``.

    Args:
        counts: Numbers by plural name.
    """
    return ", ".join(f"{number} {what if number != 1 else what[:-1]}" for what, number in counts.items())
