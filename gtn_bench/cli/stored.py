"""Commands about the cache: list, verify, prune, path."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gtn_bench import console
from gtn_bench.cli import showing
from gtn_bench.cli.options import Json, Quiet, epilog

EXAMPLES = {
    "list": ("gtn-bench cache list", "gtn-bench cache list --json"),
    "verify": ("gtn-bench cache verify",),
    "prune": ("gtn-bench cache prune --older-than 90 --dry-run", "gtn-bench cache prune --corrupt"),
    "path": ("gtn-bench cache path",),
}
app = typer.Typer(
    help="Show, verify and clean the cache.",
    epilog=epilog(*(lines[0] for lines in EXAMPLES.values())),
    no_args_is_help=True,
)


@app.command("list", epilog=epilog(*EXAMPLES["list"]))
def list_(as_json: Json = False) -> None:
    """List the kinds of files in the cache, with their number, size and age."""
    from gtn_bench.execution.upkeep import entries
    from gtn_bench.store.cache import Store, cache_folder

    found = entries(Store(cache_folder()))
    if as_json:
        print(json.dumps([entry._asdict() for entry in found], indent=2))
    else:
        showing.show_stored(found)


@app.command(epilog=epilog(*EXAMPLES["verify"]))
def verify(
    keep: Annotated[bool, typer.Option("--keep", help="Leave damaged files where they are.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Verify every file of the cache. Damaged ones are renamed, so that the next run computes them again."""
    from gtn_bench.execution import upkeep
    from gtn_bench.store.cache import Store, cache_folder

    with console.progress(quiet=quiet or as_json) as report:
        found = upkeep.verify(Store(cache_folder()), rename=not keep, progress=report)
    if as_json:
        damaged = {str(path): problem for path, problem in found.damaged.items()}
        print(json.dumps({**found._asdict(), "damaged": damaged}, indent=2))
    else:
        for path, problem in found.damaged.items():
            console.complain(f"{path}: {problem}", "damaged:")
        older = f"; {found.older} of earlier versions are computed again when they are needed" if found.older else ""
        if not quiet:
            size = console.in_bytes(found.bytes)
            console.say(f"{found.files} files verified, {size}, {len(found.damaged)} damaged{older}")
    if found.damaged:
        raise typer.Exit(1)


@app.command(epilog=epilog(*EXAMPLES["prune"]))
def prune(
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", min=0, help="Remove files that were not used for so many days.")
    ] = None,
    corrupt: Annotated[bool, typer.Option("--corrupt", help="Remove damaged files that were renamed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be removed.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Remove old or damaged files of the cache. Leftovers of killed processes are removed after a day."""
    from gtn_bench.execution import upkeep
    from gtn_bench.store.cache import Store, cache_folder

    removed = upkeep.prune(Store(cache_folder()), older_than_days=older_than, corrupt=corrupt, dry=dry_run)
    if as_json:
        print(json.dumps([{**each._asdict(), "path": str(each.path)} for each in removed], indent=2))
    elif not quiet:
        size = console.in_bytes(sum(each.bytes for each in removed))
        console.say(f"{len(removed)} files {'would be ' if dry_run else ''}removed, {size}")


@app.command(epilog=epilog(*EXAMPLES["path"]))
def path() -> None:
    """Print the folder of the cache."""
    from gtn_bench.store.cache import cache_folder

    console.say(str(cache_folder()))
