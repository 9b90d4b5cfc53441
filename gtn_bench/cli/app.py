"""The application of the command line, and its exit codes."""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, NamedTuple, Never

import typer

from gtn_bench import __version__, console
from gtn_bench.cli import comparing, evaluating, listing, reading, running, starting, stored, teaching
from gtn_bench.cli.options import epilog
from gtn_bench.config.errors import ConfigError, RunError
from gtn_bench.execution.interrupts import ignore_interrupts
from gtn_bench.store.progress import reporting_to
from gtn_bench.usage import UnusableCommand, line_about

EXIT_CODES = (
    "Exit codes: 0 done; 1 some cells failed, or a computation failed; 2 wrong usage, suite or input; "
    "3 --fail-on or --fail-if fired; 130 interrupted."
)
app = typer.Typer(
    help="Are networks trained on synthetic data less robust?",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Command(NamedTuple):
    """A command.

    Attributes:
        function: What it does; its signature has the arguments and options.
        panel: The panel of the help text that lists it.
        examples: Command lines.
    """

    function: Callable[..., None]
    panel: str
    examples: tuple[str, ...]


_EVALUATE, _TEACH, _READ, _ABOUT = "Evaluate", "Teachers", "Reports and comparisons", "Suites"
COMMANDS = {
    "run": Command(
        running.run,
        _EVALUATE,
        (
            "gtn-bench run suite.yaml",
            "gtn-bench run suite.yaml --seeds 0-9 --out results/ten-seeds",
            "gtn-bench run suite.yaml --perturbation fgsm --mode gtn --mode vanilla --limit 100",
            "gtn-bench run suite.yaml --json --fail-on suspect",
        ),
    ),
    "demo": Command(running.demo, _EVALUATE, ("gtn-bench demo", "gtn-bench demo --limit 20 --seeds 0,1")),
    "evaluate": Command(
        evaluating.evaluate,
        _EVALUATE,
        ("gtn-bench evaluate --architecture resnet18 --weights model.pth --data test.npz --suite quick",),
    ),
    "doctor": Command(
        evaluating.doctor,
        _EVALUATE,
        ("gtn-bench doctor --architecture resnet18 --weights model.pth --data test.npz",),
    ),
    "merge": Command(
        running.merge,
        _EVALUATE,
        ("gtn-bench merge results/mnist-1-of-2 results/mnist-2-of-2 --out results/mnist",),
    ),
    "teach": Command(
        teaching.teach,
        _TEACH,
        ("gtn-bench teach base_larger", "gtn-bench teach teacher.yaml --out teachers/mine --learners 10"),
    ),
    "retrain": Command(
        teaching.retrain,
        _TEACH,
        ("gtn-bench retrain mnist-base_larger --architecture linear --learners 5",),
    ),
    "report": Command(
        reading.report, _READ, ("gtn-bench report results/demo", "gtn-bench report results/demo --bands simultaneous")
    ),
    "compare": Command(
        comparing.compare, _READ, ("gtn-bench compare results/before results/after --fail-if worse:0.02",)
    ),
    "board": Command(comparing.board, _READ, ("gtn-bench board results/* --by worst-case --out board.html",)),
    "init": Command(starting.init, _ABOUT, ("gtn-bench init suite.yaml",)),
    "validate": Command(reading.validate, _ABOUT, ("gtn-bench validate suite.yaml",)),
    "list": Command(listing.list_, _ABOUT, ("gtn-bench list perturbations", "gtn-bench list perturbations pgd")),
    "schema": Command(reading.schema, _ABOUT, ("gtn-bench schema > suite.schema.json",)),
}
for name, command in COMMANDS.items():
    app.command(name, epilog=epilog(*command.examples), rich_help_panel=command.panel)(command.function)
app.add_typer(stored.app, name="cache", rich_help_panel=_ABOUT)


def command_line() -> None:
    """Run the command line and end the process at once: Python takes a second to finalize PyTorch after a run.

    Functions that are registered with `atexit` are called.
    """
    try:
        main()
    except SystemExit as stop:
        if not isinstance(stop.code, int | None):
            raise
        atexit._run_exitfuncs()
        try:
            _flush()
        except OSError:  # the reader of the output has ended
            raise stop from None
        os._exit(stop.code or 0)


def main() -> None:
    """Run the command line.

    `EXIT_CODES` says what its exit codes mean.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):  # names that the encoding of the terminal or the pipe lacks are escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with console.bar_for_long_work() as report, reporting_to(report):
            code = app(prog_name="gtn-bench", standalone_mode=False)
            _flush()
            sys.exit(code)
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
    except OSError as error:
        if error.filename is not None or (failure := _failure_of_output()) is None:
            raise
        if isinstance(failure, BrokenPipeError):  # the reader of the output has ended, such as head
            sys.exit(141)
        console.complain(f"standard output cannot be written ({failure.strerror})", "failed:")
        sys.exit(1)
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


def _flush() -> None:
    """Write what standard output and standard error still hold; either can be closed."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _failure_of_output() -> OSError | None:
    """Return the error of writing to standard output or standard error; None if both can be written.

    After an error, nothing more is written to either.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            print(end=" ", file=stream, flush=True)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # nothing is left to flush at exit
            return error
    return None


def _interrupt(number: int, frame: object) -> Never:
    """Let a termination end the command as Ctrl-C does."""
    raise KeyboardInterrupt
