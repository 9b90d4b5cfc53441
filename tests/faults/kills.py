"""Killed processes: the command itself, its workers, and the command while its workers compute."""

from __future__ import annotations

import functools
import shutil
import signal
import time

from faults.comparing import RESULTS, computed_again, stamps
from faults.places import Command, Place
from faults.processes import kill, survivors, wait_until, workers
from faults.suites import ALL_STAGES
from faults.trials import Trial, Workplace, draws, tracebacks, trial, unlike, unlike_success

STOP_SECONDS = 5.0  # within which all processes of a run end


def kill_command(work: Workplace, index: int, suite: str = ALL_STAGES) -> Trial:
    """Kill a run at a random moment, then run the same command again.

    Args:
        work: Where the trial takes place.
        index: Its number.
        suite: The suite.
    """
    clean, seconds = work.clean(suite)
    place = work.place(f"kill-command-{index}", suite)
    command = _interrupt(place, signal.SIGKILL, seconds, draws("kill-command", index).random())
    code = command.wait(60).code
    left = survivors(command.session, STOP_SECONDS)
    before = stamps(place.cache)
    again = place.run()
    wrong = unlike_success(again) + unlike(place, clean) + _staying(left)
    return trial(1, int(code == -signal.SIGKILL), computed_again(before, place.cache), wrong)


def stop_command(work: Workplace, index: int, suite: str = ALL_STAGES) -> Trial:
    """Stop a run with SIGTERM at a random moment, then run the same command again.

    Args:
        work: Where the trial takes place.
        index: Its number.
        suite: The suite.
    """
    clean, seconds = work.clean(suite)
    place = work.place(f"stop-command-{index}", suite)
    share = draws("stop-command", index).uniform(0.1, 0.8)
    while True:
        command = _interrupt(place, signal.SIGTERM, seconds, share)
        left = survivors(command.session, STOP_SECONDS)
        outcome = command.wait(0)
        if outcome.code or left or share < 0.1:
            break
        share *= 0.7  # all work was done before the signal
        place.clear()
    before = stamps(place.cache)
    wrong = tracebacks(outcome) + _staying(left)
    answered = outcome.code == 130 and len(outcome.errors) == 1
    if not answered:
        wrong.append(f"expected exit code 130 and one line, got {outcome}")
    again = place.run()
    wrong += unlike_success(again) + unlike(place, clean)
    return trial(1, int(answered), computed_again(before, place.cache), wrong)


def kill_worker(work: Workplace, index: int, suite: str = ALL_STAGES) -> Trial:
    """Kill a worker at a random moment of its life. The run has to finish by itself.

    Args:
        work: Where the trial takes place.
        index: Its number.
        suite: The suite.
    """
    clean, seconds = work.clean(suite)
    place, random = work.place(f"kill-worker-{index}", suite, cache=clean.cache), draws("kill-worker", index)
    for kind in set(RESULTS) - {"teachers"}:  # a teacher is trained without workers
        shutil.rmtree(place.cache / kind, ignore_errors=True)
    command = place.start_run()
    wait_until(lambda: bool(workers(command.session)) or has_ended(command), 120)
    _wait(command, random.uniform(0, 0.4 * seconds))
    victims = workers(command.session)
    before = stamps(place.cache)
    for victim in random.sample(victims, min(1, len(victims))):
        kill(victim.pid)
    outcome = command.wait()
    wrong = unlike_success(outcome) + unlike(place, clean) + _staying(survivors(command.session, STOP_SECONDS))
    killed = int(bool(victims))
    return trial(killed, killed, computed_again(before, place.cache), wrong)


def orphan_workers(work: Workplace, index: int, suite: str = ALL_STAGES) -> Trial:
    """Kill a run while its workers compute. They have to end, and to write nothing more.

    Args:
        work: Where the trial takes place.
        index: Its number.
        suite: The suite.
    """
    seconds = work.clean(suite)[1]
    place, random = work.place(f"orphans-{index}", suite), draws("orphans", index)
    command = place.start_run()
    wait_until(lambda: bool(workers(command.session)) or has_ended(command), 120)
    _wait(command, random.uniform(0, 0.3 * seconds))
    computing = workers(command.session)
    kill(command.session)
    command.wait(60)
    left = survivors(command.session, STOP_SECONDS)
    return trial(len(computing), len(computing) - left, (), _staying(left))


def _interrupt(place: Place, number: signal.Signals, seconds: float, share: float) -> Command:
    """Start a run and send it a signal when a share of the time of a clean run has passed.

    If it has ended by then, start over with a shorter time.
    """
    while True:
        command = place.start_run()
        wait_until(functools.partial(_has_started, place, command), 60)
        _wait(command, share * seconds)
        if command.process.poll() is None:
            command.process.send_signal(number)
            return command
        share *= 0.7
        place.clear()


def _has_started(place: Place, command: Command) -> bool:
    return bool(list(place.cache.iterdir())) or has_ended(command)


def _wait(command: Command, seconds: float) -> None:
    """Wait for a time, or for the end of a command."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end or has_ended(command), seconds + 1)


def has_ended(command: Command) -> bool:
    """Return whether a command has ended.

    Args:
        command: The command.
    """
    return command.process.poll() is not None


def _staying(left: int) -> list[str]:
    return [f"{left} processes still ran after {STOP_SECONDS:g} s"] if left else []
