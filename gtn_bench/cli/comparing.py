"""Commands that compare runs: compare, board."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtn_bench import console
from gtn_bench.cli.options import OUTPUT, Json, Quiet
from gtn_bench.cli.targets import check_target
from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.store.files import write_atomically

if TYPE_CHECKING:
    from gtn_bench.reporting.comparing import Comparison

FIRED = 3  # the exit code of --fail-if


class Format(StrEnum):
    """Values of ``--format``."""

    text = "text"
    json = "json"
    markdown = "markdown"
    html = "html"


class By(StrEnum):
    """Values of ``--by``."""

    area = "area"
    worst_case = "worst-case"
    grade = "grade"


_ENDINGS = {
    **{".html": Format.html, ".htm": Format.html, ".md": Format.markdown, ".json": Format.json},
    **{".txt": Format.text, "": Format.text},
}

FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Form of the output; by default that of the ending of --out, or text.")
]
FileOut = Annotated[str | None, typer.Option("--out", metavar="FILE", help="File to write; by default it is printed.")]
AcceptChanges = Annotated[
    bool,
    typer.Option(
        "--accept-changes",
        help="Read files that were changed after their run; replace a file that this command has not written.",
        rich_help_panel=OUTPUT,
    ),
]


def compare(
    baseline: Annotated[str, typer.Argument(metavar="BASELINE", help="Output folder of the run to compare with.")],
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Output folder of the run that is compared.")],
    form: FormatOption = None,
    as_json: Json = False,
    out: FileOut = None,
    fail_if: Annotated[
        str | None,
        typer.Option(
            metavar="worse[:MARGIN]",
            help="Exit with code 3 if a curve is significantly worse, by more than MARGIN if it is given.",
        ),
    ] = None,
    accept_changes: AcceptChanges = False,
    quiet: Quiet = False,
) -> None:
    """Compare a run with a baseline: what differs, and whether any curve is significantly better or worse."""
    from gtn_bench.reporting.comparing import compare as compare_runs
    from gtn_bench.reporting.notebook import open
    from gtn_bench.reporting.run_sentences import gate_sentence, power_sentence

    margin = parse_fail_if(fail_if) if fail_if is not None else 0.0
    target = check_target(out, "compare", accept_changes=accept_changes) if out is not None else None
    chosen = _format(form, as_json, out)
    first, second = (open(path, accept_changes=accept_changes) for path in (baseline, folder))
    comparison = compare_runs(first, second, margin=margin)
    _write(_rendered(comparison, chosen), target, chosen, quiet=quiet)
    if fail_if is None:
        return
    if too_few := power_sentence(comparison):
        console.complain(too_few, "warning: --fail-if cannot find a difference:")
    if found := gate_sentence(comparison):
        console.complain(found, f"--fail-if {fail_if}:")
        raise typer.Exit(FIRED)


def board(
    folders: Annotated[list[str], typer.Argument(metavar="DIR...", help="Output folders of runs.")],
    by: Annotated[By, typer.Option(help="What the rows are ranked by.")] = By.area,
    form: FormatOption = None,
    as_json: Json = False,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FILE", help="Page to write, .html or .md; the table is written beside it, as CSV."
        ),
    ] = None,
    accept_changes: AcceptChanges = False,
    quiet: Quiet = False,
) -> None:
    """Rank the modes of many runs by area, smallest area, or grade. Runs of unlike suites are ranked apart."""
    from gtn_bench.reporting.board import boards
    from gtn_bench.reporting.board_page import as_html
    from gtn_bench.reporting.board_table import as_json as plain
    from gtn_bench.reporting.board_table import as_text, board_csv
    from gtn_bench.reporting.notebook import open

    if out is not None and Path(out).suffix.lower() == ".csv":
        page = str(Path(out).with_suffix(".html"))
        raise ConfigError(f"--out names the page, the table is written beside it, got {shown(out)}; use --out {page}")
    target = check_target(out, "board", table=True, accept_changes=accept_changes) if out is not None else None
    chosen = _format(form, as_json, out)
    found = boards([open(path, accept_changes=accept_changes) for path in folders], by.value)
    if chosen is Format.json:
        text = json.dumps(plain(found), indent=2)
    elif chosen is Format.html:
        text = as_html(found, by.value)
    else:
        text = as_text(found, by.value, markdown=chosen is Format.markdown)
    _write(text, target, chosen, quiet=quiet)
    if target is not None:
        beside = target.with_suffix(".csv")
        write_atomically(beside, board_csv(found))
        if not quiet:
            console.say(f"table: {beside}")


def parse_fail_if(text: str) -> float:
    """Return the margin of ``--fail-if``: ``worse`` is 0, ``worse:0.02`` is 0.02.

    Args:
        text: The value of the option.

    Raises:
        ConfigError: If it has another form.
    """
    condition, separator, margin = text.partition(":")
    try:
        value = float(margin) if separator else 0.0
    except ValueError:
        value = math.nan
    if condition != "worse" or not 0 <= value < 1:
        raise ConfigError(
            "--fail-if expects worse or worse:MARGIN, a difference of areas from 0 to 1 such as worse:0.02, got "
            f"{shown(text)}"
        )
    return value


def _format(form: Format | None, as_json: bool, out: str | None) -> Format:
    """Return the form of the output.

    Raises:
        ConfigError: If two options ask for different ones, or the ending of the file is that of no form.
    """
    if as_json and form not in (None, Format.json):
        raise ConfigError(f"--json and --format {form} exclude each other; leave one out")
    if as_json:
        return Format.json
    if form is not None:
        return form
    ending = Path(out).suffix.lower() if out is not None else ""
    if ending not in _ENDINGS:
        endings = "a name that ends in .html, .md, .json or .txt"
        raise ConfigError(f"--out expects {endings}, got {shown(out)}; for another name, choose a form with --format")
    return _ENDINGS[ending]


def _rendered(comparison: Comparison, form: Format) -> str:
    from gtn_bench.reporting import run_comparison_text as texts

    match form:
        case Format.json:
            return json.dumps(texts.as_json(comparison), indent=2, default=str)
        case Format.markdown:
            return texts.as_markdown(comparison)
        case Format.html:
            from gtn_bench.reporting.compare_page import as_html

            return as_html(comparison)
    return texts.as_text(comparison)


def _write(text: str, target: Path | None, form: Format, *, quiet: bool) -> None:
    """Print a text, or write it to a file and say where. `quiet` prints only what is for another program."""
    if target is None:
        if not quiet or form is not Format.text:
            print(text)
        return
    write_atomically(target, (text.rstrip("\n") + "\n").encode(errors="backslashreplace"))
    if not quiet:
        console.say(f"written: {target}")
