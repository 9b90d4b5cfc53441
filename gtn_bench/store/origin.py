"""Where numbers came from: the processor, its instructions, threads, numba, versions.

Results are bit-identical on identical hardware with identical versions. Other processors round differently, because
libraries choose the kernels of matrix products by the instructions.
"""

from __future__ import annotations

import functools
import os
import platform
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from gtn_bench.store.cache import Store

# Libraries choose the kernels of matrix products, and with them the rounding, by these instructions.
INSTRUCTIONS = "avx2", "avx512f", "avx512_bf16", "amx_bf16", "sve", "bf16", "i8mm"
_PACKAGES = "gtn-bench", "torch", "numpy", "torchvision", "scipy"


class Origin(NamedTuple):
    """The hardware and versions that computed a result, as far as they can change bits.

    Attributes:
        processor: Name of the processor.
        instructions: Its type and the instruction sets by which libraries choose kernels.
        threads: Threads of torch in the process that computed it.
        numba: Version of numba, or "absent", or "disabled".
        versions: Names and versions of Python and of packages.
    """

    processor: str
    instructions: tuple[str, ...]
    threads: int
    numba: str
    versions: tuple[tuple[str, str], ...]

    def to_plain(self) -> dict[str, Any]:
        """Return the origin as plain data."""
        return {**self._asdict(), "instructions": list(self.instructions), "versions": dict(self.versions)}

    @staticmethod
    def from_plain(data: Mapping[str, Any]) -> Origin:
        """Return the origin that `to_plain` has written.

        Args:
            data: Plain data.
        """
        versions = tuple(data["versions"].items())
        return Origin(data["processor"], tuple(data["instructions"]), data["threads"], data["numba"], versions)


Origins = dict[Origin, Counter[str]]  # how many results of each kind have an origin


def current_origin() -> Origin:
    """Return the origin of what this process computes now."""
    torch = sys.modules.get("torch")  # without it, nothing was computed
    return Origin(*_hardware(), torch.get_num_threads() if torch else 1, numba_version(), _versions())


def processor() -> tuple[str, tuple[str, ...]]:
    """Return the name of the processor, its type, and those of `INSTRUCTIONS` that it has, as far as Linux knows."""
    name, flags = _facts()
    return name, (platform.machine(), *(instruction for instruction in INSTRUCTIONS if instruction in flags))


def numba_version() -> str:
    """Return the version of numba, or "absent", or "disabled" by its environment variable."""
    found = _installed("numba")
    disabled = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    return "disabled" if disabled and found != "absent" else found


def origins(store: Store, pairs: Iterable[tuple[str, str]]) -> Origins:
    """Return the origins of results in the cache. Results that it does not hold are left out.

    Args:
        store: The cache.
        pairs: Kind and key of each result.
    """
    found: Origins = defaultdict(Counter)
    for kind, key in dict.fromkeys(pairs):
        origin = store.origin(kind, key)
        if origin is not None:
            found[origin][kind] += 1
    return dict(found)


def origins_to_plain(found: Origins) -> list[dict[str, Any]]:
    """Return origins as plain data, those of the most results first: fields of `Origin`, and `results` by kind.

    Args:
        found: The origins.
    """
    ordered = sorted(found.items(), key=lambda item: (-item[1].total(), item[0]))
    return [{**origin.to_plain(), "results": dict(sorted(counts.items()))} for origin, counts in ordered]


def kinds_of_origin(found: Origins, here: Origin | None = None) -> list[str]:
    """Return how the origins of results differ in what can change bits, one sentence each; empty if they do not.

    Keys of results hold the versions of the packages that compute them, so versions are not compared.

    Args:
        found: The origins.
        here: The origin of what this machine computes, if it is to be compared, too.
    """
    processors: Counter[str] = Counter()
    numbas: Counter[str] = Counter()
    threads: dict[str, set[int]] = defaultdict(set)
    for origin, counts in found.items():
        processors[_described(origin)] += counts.total()
        is_used = origin.numba not in ("absent", "disabled")
        numbas[f"with numba {origin.numba}" if is_used else "without numba"] += counts.total()
        for kind in counts:
            threads[kind].add(origin.threads)
    sentences = []
    if len(processors) > 1:
        sentences.append(f"computed on {len(processors)} kinds of processors: {_counted(processors)}")
    elif here is not None and processors and _described(here) not in processors:
        sentences.append(f"computed on another kind of processor, {next(iter(processors))}; this is {_described(here)}")
    if len(numbas) > 1:
        sentences.append(f"computed {_counted(numbas)}")
    for kind, numbers in sorted(threads.items()):
        if len(numbers) > 1:
            sentences.append(f"{kind} computed with {' and '.join(map(str, sorted(numbers)))} threads")
    return sentences


def _described(origin: Origin) -> str:
    return f"{origin.processor} ({' '.join(origin.instructions)})"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name}: {count} results" for name, count in counts.most_common())


@functools.cache
def _hardware() -> tuple[str, tuple[str, ...]]:
    return processor()


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    return ("python", platform.python_version()), *((name, _installed(name)) for name in _PACKAGES)


@functools.cache
def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _facts() -> tuple[str, list[str]]:
    """Return the name of the processor and its features, as far as Linux reports them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    info = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = info.get("model name") or platform.processor() or platform.machine()
    return name, info.get("flags", info.get("Features", "")).split()
