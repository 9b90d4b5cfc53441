"""Matching of the weights in a file to the keys of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset
from gtn_bench.models.architectures import Architecture
from gtn_bench.models.weights.checkpoints import check_finite
from gtn_bench.models.weights.recognition import recognized

# Names that wrappers of networks put in front of keys. PyTorch's own, for parallel and compiled networks, may stand
# anywhere in a key, because parts of a network can be wrapped too.
_WRAPPERS = frozenset({"module", "_orig_mod", "model", "net", "network", "backbone"})
_ANYWHERE = frozenset({"module", "_orig_mod"})

_STEMS = {3: "cifar", 7: "imagenet"}  # by kernel size of the first convolution


class Misfit(NamedTuple):
    """A weight that the network needs in another form.

    Attributes:
        name: Its key in the network.
        expected: The tensor in the network.
        got: The tensor in the file.
    """

    name: str
    expected: Tensor
    got: Tensor


def load_state(
    network: nn.Module,
    state: Mapping[str, Tensor],
    who: str,
    *,
    dataset: Dataset,
    architecture: Architecture | None = None,
) -> dict[str, Tensor]:
    """Return weights under the keys of a network.

    Prefixes of wrappers, such as ``module.`` and ``_orig_mod.``, are removed where the keys match the network without
    them. Floating-point weights are converted to the type of the network. Counters of batches, which no output depends
    on, may be missing.

    Args:
        network: The network, which may be on the meta device; then so are the results.
        state: Weights by name, such as `gtn_bench.models.weights.checkpoints.read_state` returns them.
        who: Name of their file in messages.
        dataset: The data set of the network, for messages.
        architecture: The architecture of the network, for messages.

    Returns:
        A state dict of the network, on its device.

    Raises:
        ConfigError: If weights are missing, unexpected, or of another shape or type; the line names the first three of
            each kind, and the cause where it is certain. If a weight is not finite in the type of the network.
    """
    own: dict[str, Tensor] = network.state_dict()
    originals = _renamed(state, own)
    given = {name: state[original] for name, original in originals.items()}
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in own and not _is_idle(name, own)]
    both = [Misfit(name, own[name], given[name]) for name in own if name in given]
    misshapen = [each for each in both if each.expected.shape != each.got.shape]
    mistyped = [each for each in both if each.expected.is_floating_point() != each.got.is_floating_point()]
    if missing or unexpected or misshapen or mistyped:
        causes = list(_causes(own, misshapen, {name: given[name] for name in unexpected}, dataset, architecture))
        if architecture and (missing or unexpected or not causes):
            title = recognized(given, dataset, architecture)
            causes = [f"its keys are those of architecture {title}"] if title else causes
        problems = [
            _counted("missing", [f"{name} {_shape(own[name])}" for name in missing]),
            _counted("unexpected", [f"{originals[name]} {_shape(given[name])}" for name in unexpected]),
            _counted("misshapen", [_difference(each, _shape) for each in misshapen]),
            _counted("of another type", [_difference(each, _dtype) for each in mistyped]),
            *causes,
        ]
        fits = f"architecture '{architecture.identity()['name']}'" if architecture else "the network"
        raise ConfigError(f"{who} does not fit {fits}: {'; '.join(filter(None, problems))}")
    found = {name: given.get(name, value).to(value.device, value.dtype) for name, value in own.items()}
    for name, value in found.items():  # float64 may exceed the range of the network
        check_finite(value, f"{who}: {name}")
    return found


def _renamed(names: Iterable[str], own: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the names in the file by the names without prefixes that match the most keys of the network."""
    best: dict[str, str] = {}
    most = -1
    for renamed in _renamings(list(names)):
        matched = sum(name in own for name in renamed)
        if matched > most:
            best, most = renamed, matched
    return best


def _renamings(names: list[str]) -> Iterator[dict[str, str]]:
    """Yield ways to remove prefixes, the fewest first: the names in the file by the new names."""
    inner = [".".join(part for part in name.split(".") if part not in _ANYWHERE) for name in names]
    for current in (names, inner):
        for prefix in ("", *sorted({prefix for name in current for prefix in _prefixes(name)}, key=len)):
            renamed = {name.removeprefix(prefix): original for name, original in zip(current, names, strict=True)}
            if len(renamed) == len(names):
                yield renamed


def _prefixes(name: str) -> Iterator[str]:
    """Yield ``a.`` and ``a.b.`` of ``a.b.c``, as far as the parts are names of wrappers."""
    prefix = ""
    for part in name.split(".")[:-1]:
        if part not in _WRAPPERS:
            return
        prefix += f"{part}."
        yield prefix


def _is_idle(name: str, own: Mapping[str, Tensor]) -> bool:
    """Check that no output depends on a key that the network lacks: a counter of batches, or of averaged weights."""
    home = name.removesuffix("num_batches_tracked")
    return name == "n_averaged" or (home != name and f"{home}running_mean" in own)


def _causes(
    own: Mapping[str, Tensor],
    misshapen: list[Misfit],
    unexpected: Mapping[str, Tensor],
    dataset: Dataset,
    architecture: Architecture | None,
) -> Iterator[str]:
    """Yield why weights do not fit, where that is certain."""
    channels = dataset.input_shape[0]
    fields = type(architecture).model_fields.keys() - architecture.idle_fields() if architecture else set()
    first = next((name for name, value in own.items() if value.ndim == 4), None)
    last = next((name for name, value in reversed(list(own.items())) if value.ndim > 1), None)
    for name, expected, got in ((each.name, each.expected.shape, each.got.shape) for each in misshapen):
        if name == first and len(got) == 4:
            if got[1] != expected[1] == channels:
                yield f"the checkpoint expects {got[1]} channels, the data set has {channels}"
            if "stem" in fields and got[2:] != expected[2:] and got[2] in _STEMS:
                yield f"set stem: {_STEMS[got[2]]}"
        if name == last and got[1:] == expected[1:] and expected[0] == dataset.num_classes:
            remedy = ""
            if got[0] > expected[0] and "num_classes" in type(dataset).model_fields:
                remedy = f"; set num_classes: {got[0]} of the data set, or --num-classes {got[0]}"
            yield f"the checkpoint has {got[0]} classes, the data set {expected[0]}{remedy}"
    constants = {name.rpartition(".")[2] for name, value in unexpected.items() if value.numel() in (1, channels)}
    if {"mean", "std"} <= {name.removeprefix("new_") for name in constants}:
        yield "the checkpoint holds a normalization: save the network without it, and set mean and std"


def _counted(kind: str, lines: list[str]) -> str:
    """Return the number of lines and the first three of them; an empty text for none."""
    more = ", ..." if len(lines) > 3 else ""
    return f"{len(lines)} {kind} ({', '.join(lines[:3])}{more})" if lines else ""


def _difference(misfit: Misfit, text: Callable[[Tensor], str]) -> str:
    return f"{misfit.name}: expects {text(misfit.expected)}, got {text(misfit.got)}"


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
