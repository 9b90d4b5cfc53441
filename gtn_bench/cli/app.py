"""The application of the command line, and its exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Never

import typer

from gtn_bench import __version__, console
from gtn_bench.cli import reading, running, stored, teaching
from gtn_bench.config.errors import ConfigError, RunError
from gtn_bench.execution.interrupts import ignore_interrupts
from gtn_bench.store.progress import reporting_to
from gtn_bench.usage import UnusableCommand, line_about

app = typer.Typer(
    help="Are networks trained on synthetic data less robust?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
COMMANDS: dict[str, Callable[..., None]] = {
    "run": running.run,
    "demo": running.demo,
    "evaluate": running.evaluate,
    "doctor": running.doctor,
    "teach": teaching.teach,
    "retrain": teaching.retrain,
    "report": reading.report,
    "merge": running.merge,
    "validate": reading.validate,
    "list": reading.list_,
    "schema": reading.schema,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(stored.app, name="cache")


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 some cells failed, 2 invalid usage, suite or input, 130 interrupted.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with console.bar_for_long_work() as report, reporting_to(report):
            sys.exit(app(prog_name="gtn-bench", standalone_mode=False))
    except UnusableCommand as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # typer has printed the help
            sys.exit(2)
        console.complain(line_about(error, sys.argv[1:]), "error:")
        sys.exit(2)
    except ConfigError as error:
        for line in str(error).splitlines():
            console.complain(line, "error:")
        sys.exit(2)
    except RunError as error:
        console.complain(str(error), "failed:")
        sys.exit(1)
    except BrokenPipeError:  # the reader of the output has ended, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush at exit
        sys.exit(141)
    except (KeyboardInterrupt, typer.Abort, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != 130:  # typer's code for an interruption
            raise
        console.complain("Interrupted. Finished work is cached; rerun the same command to resume.")
        sys.exit(130)
    finally:
        ignore_interrupts()
        if local := sys.modules.get("gtn_bench.execution.executors.local"):
            local.end_workers()


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def _interrupt(number: int, frame: object) -> Never:
    """Let a termination end the command as Ctrl-C does."""
    raise KeyboardInterrupt
