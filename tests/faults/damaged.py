"""Damaged files in the cache: several at a time, of every kind, then the same command again."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from faults.comparing import computed_again, stamps, stored
from faults.damage import DAMAGES, Damage, flip_bit_of_payload
from faults.kills import has_ended
from faults.places import Outcome, Place
from faults.processes import kill, survivors, wait_until
from faults.suites import ALL_STAGES, CHECKPOINTED
from faults.trials import Trial, Workplace, draws, trial, unlike, unlike_success

# The kinds of the files of a trial. Each meets each kind of damage within as many trials as there are kinds of damage.
KINDS = (
    *("teachers", "learners", "learners", "examinations", "clean", "cells", "cells", "cells"),
    *("certificates", "certificates", "probes", "probes", "probes"),
)
CHECKPOINT_TRIALS = 8


def damage_files(work: Workplace, index: int, suite: str = ALL_STAGES, kinds: tuple[str, ...] = KINDS) -> Trial:
    """Damage files of a cache that holds all results, then run the suite again.

    Args:
        work: Where the trial takes place.
        index: Its number.
        suite: The suite.
        kinds: The kind of each file.
    """
    clean, _ = work.clean(suite)
    place, draw = work.place(f"damage-{index}", suite, cache=clean.cache), draws("damage", index)
    damaged: dict[Path, str] = {}
    for number, kind in enumerate(kinds):
        damage = DAMAGES[(index + 3 * number) % len(DAMAGES)]
        path = draw.choice([path for path in stored(place.cache, (kind,)) if path not in damaged])
        path.write_bytes(_damaged(path, damage, place, draw))
        damaged[path] = f"{kind}, {damage.__name__}"
    intact = {name: stamp for name, stamp in stamps(place.cache).items() if place.cache / name not in damaged}
    outcome = place.run()
    unseen = [path for path in damaged if not _is_reported(path, outcome)]
    wrong = unlike_success(outcome) + unlike(place, clean)
    notes = [f"not reported: {damaged[path]}" for path in unseen]
    return trial(len(damaged), len(damaged) - len(unseen), computed_again(intact, place.cache), wrong, notes)


def damage_checkpoint(work: Workplace, index: int) -> Trial:
    """Damage the checkpoint of a meta-training that was killed, then run the suite again.

    Args:
        work: Where the trial takes place.
        index: Its number.
    """
    clean, _ = work.clean(CHECKPOINTED)
    interrupted = work.folder / "checkpoint"
    if not interrupted.exists():
        _interrupt_meta_training(work, interrupted)
    place, draw = work.place(f"checkpoint-{index}", CHECKPOINTED, cache=interrupted), draws("checkpoint", index)
    (path,) = stored(place.cache, ("checkpoints",))
    damage = DAMAGES[index % len(DAMAGES)]
    other = draw.choice(stored(clean.cache)).read_bytes()
    path.write_bytes(damage(path.read_bytes(), other, draw))
    outcome = place.run()
    seen = _is_reported(path, outcome)
    wrong = unlike_success(outcome) + unlike(place, clean)
    return trial(1, int(seen), (), wrong, [] if seen else [f"not reported: checkpoints, {damage.__name__}"])


def _interrupt_meta_training(work: Workplace, target: Path) -> None:
    """Kill a run when its meta-training has written a checkpoint, and keep its cache."""
    place = work.place("interrupted", CHECKPOINTED)
    command = place.start_run()
    wait_until(lambda: bool(stored(place.cache, ("checkpoints",))) or has_ended(command), 120)
    kill(command.session)
    survivors(command.session)
    shutil.copytree(place.cache, target)


def _damaged(path: Path, damage: Damage, place: Place, draw: random.Random) -> bytes:
    """Return the damaged content of a file; with a swap, that of another file of the same kind if there is one.

    A damage that leaves the content as it is, such as zeros in place of zeros, is replaced by a flipped bit.
    """
    content = path.read_bytes()
    others = [other for other in stored(place.cache, (path.parts[-3],)) if other != path]
    other = draw.choice(others or stored(place.cache, ("cells",))).read_bytes()
    changed = damage(content, other, draw)
    return changed if changed != content else flip_bit_of_payload(content, other, draw)


def _is_reported(path: Path, outcome: Outcome) -> bool:
    """Return whether a damaged file was set aside and named in a line."""
    aside = list(path.parent.glob(f"{path.name}.corrupt*"))
    return bool(aside) and any(path.name in line for line in outcome.errors)
