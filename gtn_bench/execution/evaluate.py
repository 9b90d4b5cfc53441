"""Evaluation of existing networks, on any data, without a suite of their own."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gtn_bench.config.errors import ConfigError, ModelWarning
from gtn_bench.config.keywords import names_keywords
from gtn_bench.config.paths import user_path
from gtn_bench.config.suite import Entry, Suite
from gtn_bench.data.arrays import from_arrays
from gtn_bench.execution.environment import Device
from gtn_bench.execution.runner import run
from gtn_bench.execution.scheduler import Progress
from gtn_bench.modes.live import LiveNetwork
from gtn_bench.planning.adapting import check_folder_of, default_folder, entry, labeled, suite_for
from gtn_bench.planning.planner import Limit, plan
from gtn_bench.reporting import report
from gtn_bench.reporting.notebook import Results
from gtn_bench.store.one_writer import one_writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    Network = nn.Module | Callable[[Tensor], Tensor]


@names_keywords
def evaluate(
    models: Network | Sequence[Network] | Mapping[str, Network | Sequence[Network]],
    data: Any,
    suite: str | os.PathLike[str] | Mapping[str, Any] | Suite = "quick",
    out: str | os.PathLike[str] | None = None,
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    layout: Literal["NCHW", "NHWC"] | None = None,
    classes: Sequence[str] = (),
    num_classes: int | None = None,
    samples_per_forward: int = 1,
    eight_bit: bool = False,
    save_adversarial: bool = False,
    target: str | int | None = None,
    limit: Limit = None,
    device: Device = "auto",
    workers: int | None = None,
    scheduler: str | None = None,
    cell_timeout: float | None = None,
    strict_hardware: bool = False,
    accept_changes: bool = False,
    cache: str | Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Results:
    """Evaluate networks under the perturbations of a suite, and write tables and report.md.

    Args:
        models: A network from images (N, C, H, W) to logits (N, K), or several networks of one mode, one per seed, or a
            mapping from the label of each mode to either. Networks are copied and evaluated in evaluation mode.
        data: Test images and labels: arrays or tensors ``(x, y)``, a torch data set or data loader, the path of a file
            or folder, or the name of a data set.
        suite: The suite whose perturbations are evaluated: its name, file, content, or the loaded suite. Its data set,
            architectures and modes are replaced; it may have `perturbations` alone.
        out: Output folder; by default one that only runs of the same models, data and suite share.
        mean: Mean that the networks expect to be subtracted from pixels in [0, 1], one value or one per channel.
        std: Standard deviation that they expect pixels to be divided by.
        layout: Layout of the images, where it is ambiguous.
        classes: Names of the classes.
        num_classes: Number of classes; by default the largest label plus one.
        samples_per_forward: Number of forward passes that are averaged, for networks with random outputs.
        eight_bit: Whether perturbed images are rounded to 8 bits per pixel before they are judged.
        save_adversarial: Whether all perturbed images are kept, in the folder `adversarial` of the output.
        target: The goal of every attack that can have one: a class, "next", "least-likely" or "random".
        limit: At most this many test images per cell (an integer), or a share of them in (0, 1] (a float).
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        workers: Number of processes; by default one per core, or one per GPU.
        scheduler: Address of a Dask scheduler that runs the tasks, such as "tcp://host:8786", or "local-cluster"; by
            default processes of this machine.
        cell_timeout: Time limit of a cell in seconds.
        strict_hardware: Whether stored results of other kinds of processors are computed again.
        accept_changes: Whether files of the folder that were changed after an earlier evaluation are replaced.
        cache: Folder of the cache; by default `GTN_BENCH_CACHE`, or else the user's cache folder.
        progress: Called with the name of a stage, the number of its finished parts and of all its parts.

    Returns:
        The results in the output folder. A `ModelWarning` says what the checks of a model found.

    Raises:
        ConfigError: If a network, the data or the suite is invalid, one line per problem; if the device or a folder is
            not available.
    """
    from torch import nn

    groups = labeled(models, nn.Module)
    if (mean is None) != (std is None):
        raise ConfigError(
            f"evaluate expects both mean and std, or neither; got {'std' if mean is None else 'mean'} alone"
        )
    dataset = from_arrays(data, layout=layout, classes=classes, num_classes=num_classes)
    modes = {
        f"model '{label}'": _given(label, group, mean, std, samples_per_forward) for label, group in groups.items()
    }
    planned = plan(
        suite_for(
            suite,
            dataset,
            modes,
            max(map(len, groups.values())),
            eight_bit=eight_bit,
            save_adversarial=save_adversarial,
            target=target,
        ),
        limit,
    )
    folder = user_path(out) if out is not None else default_folder(planned.suite)
    check_folder_of(planned.suite, folder)
    with one_writer(folder):  # until the report is written
        results = run(
            planned,
            folder,
            device=device,
            workers=workers,
            scheduler=scheduler,
            cell_timeout=cell_timeout,
            strict_hardware=strict_hardware,
            accept_changes=accept_changes,
            cache=cache,
            progress=progress,
        )
        report(results.folder, accept_changes=accept_changes)
    for model in results.provenance["models"]:
        for sentence in model["findings"]:
            if not sentence.startswith("note: "):
                found = f"model '{model['mode']}', seed {model['seed']}: {sentence}"
                warnings.warn(found, ModelWarning, stacklevel=3)
    return results


def _given(
    label: str,
    networks: Sequence[Any],
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
    samples_per_forward: int,
) -> Entry:
    """Return the mode of networks in memory."""
    live = []
    for position, network in enumerate(networks):
        try:
            live.append(LiveNetwork(network))
        except ConfigError as error:
            where = f"[{position}]" if len(networks) > 1 else ""
            raise ConfigError(f"model '{label}'{where}: {error}") from None
    fields: dict[str, Any] = {"networks": tuple(live), "samples_per_forward": samples_per_forward}
    fields |= {name: value for name, value in (("mean", mean), ("std", std)) if value is not None}
    return entry({"name": "given", "label": label, **fields}, f"model '{label}'")
